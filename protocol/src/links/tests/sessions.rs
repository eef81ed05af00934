//! Coming up, going down, restarting.

use super::*;

fn up(id: u32) -> LinkEvent {
    LinkEvent::PeerUp(member(id, u64::from(id)))
}

#[test]
fn a_live_peer_is_up_one_round_trip_after_the_first_hello() {
    let mut world = World::new();
    world.start(1, 2, 1);
    world.run(ms(500));
    let start = world.now;
    world.start(2, 2, 2);
    world.run(ms(10));
    assert_eq!(world.host(2).events, [(start + LATENCY * 2, up(1))]);
    assert_eq!(world.host(1).events, [(start + LATENCY * 3, up(2))]);
}

#[test]
fn three_nodes_find_each_other_within_fifty_milliseconds() {
    let mut world = World::new();
    for id in 1..=3 {
        world.start(id, 3, u64::from(id));
        if id < 3 {
            world.run(ms(777));
        }
    }
    world.run(ms(50));
    for id in 1..=3_u32 {
        for peer in (1..=3).filter(|peer| *peer != id) {
            assert_eq!(world.host(u64::from(id)).session_of(peer), Some(BootId(u64::from(peer))));
        }
    }
}

#[test]
fn every_suite_comes_up_and_carries_frames() {
    let key = ClusterKey(Zeroizing::new(vec![7; 32]));
    for protection in [Protection::Aes256Gcm(key.clone()), Protection::HmacSha256(key), Protection::Cleartext]
    {
        let mut world = World::new();
        for id in 1..=2 {
            let settings = LinkSettings { protection: protection.clone(), ..settings(id, 2) };
            world.start_with(settings, u64::from(id), home(id));
        }
        world.run(ms(50));
        world.send(1, Destination::All, b"to all");
        world.send(1, Destination::Node(node(2)), b"to two");
        world.run(LATENCY);
        let expected = [(member(1, 1), b"to all".to_vec()), (member(1, 1), b"to two".to_vec())];
        assert_eq!(world.host(2).frames, expected);
    }
}

#[test]
fn bad_weather_delays_but_does_not_prevent() {
    for seed in 0..20 {
        let weather = Weather { loss: 300, duplication: 200, delay: ms(5) };
        let mut world = World::with_weather(weather, seed);
        for id in 1..=3 {
            world.start(id, 3, u64::from(id));
        }
        world.run(ms(1_000));
        for id in 1..=3_u32 {
            let events = world.host(u64::from(id)).take_events();
            assert_eq!(events.len(), 2, "seed {seed}: {events:?}");
        }
        for number in 0..200_u8 {
            world.send(1, Destination::All, &[number]);
        }
        world.run(ms(20));
        let mut frames: Vec<u8> = world.host(2).frames.iter().map(|(_, frame)| frame[0]).collect();
        let arrived = frames.len();
        frames.sort_unstable();
        frames.dedup();
        assert_eq!(frames.len(), arrived, "seed {seed}: none came twice");
        assert!((80..=190).contains(&arrived), "seed {seed}: {arrived} arrived");
        world.run(ms(5_000));
        for host in &world.hosts {
            assert_eq!(host.events, [], "seed {seed}: bad weather takes nobody down");
        }
    }
}

#[test]
fn a_frame_for_all_is_sealed_once() {
    let mut world = World::together(4);
    world.send(1, Destination::All, &[1; 100]);
    world.send(1, Destination::All, &[2; 100]);
    world.send(1, Destination::Node(node(3)), &[3; 100]);
    let batch = world.host(1).links.transmits();
    assert_eq!(batch.peers(), [home(2), home(3), home(4)]);
    let len = 100 + 28 + 16;
    let expected = [
        Transmit { to: Recipients::All, start: 0, len },
        Transmit { to: Recipients::All, start: len, len },
        Transmit { to: Recipients::One(home(3)), start: 2 * len, len },
    ];
    assert_eq!(batch.transmits(), expected);
    assert_eq!(batch.bytes().len(), 3 * len);
    batch.clear();
    assert!(batch.is_empty());
    assert_eq!(batch.peers().len(), 3, "peers outlive the batch");
}

#[test]
fn the_largest_frame_fits_and_a_larger_one_is_dropped_and_counted() {
    let mut world = World::together(2);
    let max = world.host(1).links.frame_bytes_max();
    assert_eq!(max, 1_428);
    world.send(1, Destination::All, &vec![0; max]);
    assert_eq!(world.host(1).links.transmits().bytes().len(), 1_472);
    world.send(1, Destination::All, &vec![0; max + 1]);
    assert_eq!(world.host(1).links.transmits().transmits().len(), 1);
    assert_eq!(world.host(1).links.stats().too_large, 1);
}

#[test]
fn nothing_goes_to_who_is_not_proven() {
    let mut world = World::new();
    world.start(1, 3, 1);
    for to in [Destination::All, Destination::Node(node(2)), Destination::Node(node(9))] {
        world.send(1, to, b"nobody hears");
    }
    assert!(world.host(1).links.transmits().is_empty());
    assert_eq!(world.host(1).links.stats().unreachable, 3);
}

#[test]
fn a_silent_peer_goes_down_and_comes_back() {
    let mut world = World::together(2);
    let before = world.now;
    world.host(2).mute = true;
    world.run(ms(1_500));
    let [(at, event)] = world.host(1).events[..] else { panic!("one event") };
    assert_eq!(event, LinkEvent::PeerDown(member(2, 2)));
    let silent = at.since(before);
    assert!(silent > ms(800) && silent <= ms(1_000), "{silent:?}");
    assert_eq!(world.host(1).session_of(2), None);
    world.host(1).take_events();
    world.host(2).mute = false;
    world.run(ms(150));
    assert_eq!(world.host(1).take_events(), [up(2)]);
    world.run(ms(3_000));
    assert_eq!(world.host(1).take_events(), []);
    assert_eq!(world.host(2).session_of(1), Some(BootId(1)));
}

#[test]
fn a_peer_that_hears_nothing_goes_down_although_it_is_heard() {
    // Node 1's datagrams get lost, node 2's arrive.
    let mut world = World::together(2);
    world.host(1).mute = true;
    world.run(ms(1_900));
    assert_eq!(world.host(1).take_events(), [], "patient with what needs both ways");
    world.run(ms(1_100));
    assert_eq!(world.host(1).take_events(), [LinkEvent::PeerDown(member(2, 2))]);
    assert_eq!(world.host(2).take_events(), [LinkEvent::PeerDown(member(1, 1))]);
    world.run(ms(10_000));
    assert_eq!(world.host(1).take_events(), [], "and stays down while only one way works");
    world.host(1).mute = false;
    world.run(ms(150));
    assert_eq!(world.host(1).take_events(), [up(2)]);
    assert_eq!(world.host(2).take_events(), [up(1)]);
}

#[test]
fn a_restarted_peer_replaces_its_former_life_at_once() {
    let mut world = World::together(3);
    world.kill(3);
    world.start(3, 3, 33);
    world.run(ms(50));
    for boot in [1, 2] {
        assert_eq!(
            world.host(boot).take_events(),
            [LinkEvent::PeerDown(member(3, 3)), LinkEvent::PeerUp(member(3, 33))]
        );
    }
    let mut seen = world.host(33).take_events();
    seen.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(seen, [up(1), up(2)]);
    world.send(33, Destination::All, b"again");
    world.send(1, Destination::Node(node(3)), b"welcome");
    world.run(LATENCY);
    assert_eq!(world.host(1).frames, [(member(3, 33), b"again".to_vec())]);
    assert_eq!(world.host(33).frames, [(member(1, 1), b"welcome".to_vec())]);
}

#[test]
fn restart_after_restart_in_bad_weather_ends_with_the_last_life() {
    for seed in 0..20 {
        let weather = Weather { loss: 200, duplication: 200, delay: ms(8) };
        let mut world = World::with_weather(weather, seed);
        for id in 1..=3 {
            world.start(id, 3, u64::from(id));
        }
        world.run(ms(1_000));
        let mut boot = 3;
        for life in 30..36 {
            world.kill(boot);
            world.run(ms(seed * 7));
            world.start(3, 3, life);
            boot = life;
            world.run(ms(40 + seed * 13));
        }
        world.run(ms(1_000));
        for host in [1, 2] {
            assert_eq!(world.host(host).session_of(3), Some(BootId(boot)), "seed {seed}");
            let refusals = world
                .host(host)
                .take_events()
                .iter()
                .filter(|event| !matches!(event, LinkEvent::PeerUp(_) | LinkEvent::PeerDown(_)))
                .count();
            assert_eq!(refusals, 0, "seed {seed}: a restart is no duplicate");
        }
        assert_eq!(world.host(boot).session_of(1), Some(BootId(1)), "seed {seed}");
    }
}

#[test]
fn both_ends_may_restart_together() {
    let mut world = World::together(2);
    world.kill(1);
    world.kill(2);
    world.start(1, 2, 11);
    world.start(2, 2, 22);
    world.run(ms(10));
    assert_eq!(world.host(11).take_events(), [LinkEvent::PeerUp(member(2, 22))]);
    assert_eq!(world.host(22).take_events(), [LinkEvent::PeerUp(member(1, 11))]);
}

#[test]
fn the_round_trip_is_measured() {
    let mut world = World::together(2);
    world.run(ms(500));
    let status = world.host(1).links.peers().next().unwrap();
    assert_eq!(
        status,
        PeerStatus { node: node(2), address: home(2), session: Some(BootId(2)), srtt: Some(LATENCY * 2) }
    );
}

#[test]
fn heartbeats_keep_their_pace() {
    let mut world = World::together(2);
    let before = world.host(1).links.stats().sent.datagrams;
    world.run(ms(10_000));
    // A ping of our own and a pong for each of theirs, ten a second.
    let sent = world.host(1).links.stats().sent.datagrams - before;
    assert!((180..=220).contains(&sent), "{sent}");
    assert_eq!(world.host(1).links.stats().dropped, Drops::default());
}

#[test]
fn absent_peers_are_greeted_at_the_pace_of_heartbeats() {
    let mut world = World::new();
    world.start(1, 3, 1);
    world.run(ms(10_000));
    let sent = world.host(1).links.stats().sent.datagrams;
    assert!((2 * 90..=2 * 120).contains(&sent), "{sent}");
}

#[test]
fn the_origin_of_time_is_a_time_like_others() {
    let mut world = World::new();
    world.now = Instant::ZERO;
    world.start(1, 2, 1);
    world.start(2, 2, 2);
    world.run(ms(10));
    assert_eq!(world.host(1).take_events(), [up(2)]);
    assert_eq!(world.host(2).take_events(), [up(1)]);
}
