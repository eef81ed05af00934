//! An attacker who has no key but hears, repeats, redirects and delays everything.

use super::*;

const ELSEWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 9, 9)), 5405);

/// A cluster of three that has exchanged frames.
fn busy_world() -> World {
    let mut world = World::together(3);
    for number in 0..50_u8 {
        for id in 1..=3 {
            world.send(id, Destination::All, &[number]);
            world.send(id, Destination::Node(node(id as u32 % 3 + 1)), &[number, 1]);
        }
        world.run(ms(10));
    }
    world
}

/// Hands everything captured so far to a host, whoever it was for, and gives the answers.
fn replay(world: &mut World, boot: u64) -> Vec<Packet> {
    let (now, captured) = (world.now, world.captured.clone());
    let host = world.host(boot);
    let own = host.address;
    let mut answers = Vec::new();
    for packet in captured.iter().filter(|packet| packet.from != own) {
        host.handle(now, packet.from, &packet.octets);
        let said = outgoing(&mut host.links, own);
        assert!(said.len() <= 1);
        for answer in &said {
            assert!(answer.octets.len() <= packet.octets.len(), "no amplification");
            assert_eq!(answer.to, packet.from);
        }
        answers.extend(said);
    }
    answers
}

#[test]
fn a_whole_recorded_session_gives_nothing_at_a_restarted_receiver() {
    let mut world = busy_world();
    for boot in 1..=3 {
        world.kill(boot);
    }
    world.start(1, 3, 11);
    replay(&mut world, 11);
    // Also with everything that the recordings brought about, and a second time.
    replay(&mut world, 11);
    world.run(ms(50));
    replay(&mut world, 11);
    let host = world.host(11);
    assert_eq!(host.events, []);
    assert_eq!(host.frames, []);
    assert!(host.links.transmits().peers().is_empty());
}

#[test]
fn a_recorded_session_gives_nothing_while_it_lasts() {
    let mut world = busy_world();
    for boot in 1..=3 {
        let before = world.host(boot).frames.len();
        assert_eq!(before, 50 * 3);
        let answers = replay(&mut world, boot);
        assert_eq!(answers, [], "not even an answer");
        assert_eq!(world.host(boot).frames.len(), before);
        assert_eq!(world.host(boot).events, []);
    }
}

#[test]
fn the_former_life_cannot_be_brought_back() {
    // All within the five seconds in which its last echoes are fresh.
    let mut world = busy_world();
    world.kill(3);
    let recorded = world.captured.clone();
    world.start(3, 3, 33);
    world.run(ms(100));
    for boot in [1, 2] {
        assert_eq!(world.host(boot).session_of(3), Some(BootId(33)));
        world.host(boot).take_events();
        world.host(boot).frames.clear();
    }
    for packet in recorded.into_iter().filter(|packet| packet.from == home(3)) {
        world.fly(packet);
    }
    world.run(ms(1_000));
    for boot in [1, 2] {
        assert_eq!(world.host(boot).take_events(), []);
        assert_eq!(world.host(boot).frames, []);
    }
    assert_eq!(world.host(33).take_events().len(), 2, "its peers came up, nothing else");
}

#[test]
fn a_dead_peer_is_not_kept_alive_by_its_recordings() {
    let mut world = busy_world();
    world.kill(3);
    for _ in 0..20 {
        world.run(ms(100));
        for packet in world.captured.clone().into_iter().filter(|packet| packet.from == home(3)) {
            world.fly(packet);
        }
    }
    for boot in [1, 2] {
        assert_eq!(world.host(boot).take_events(), [LinkEvent::PeerDown(member(3, 3))]);
    }
}

#[test]
fn nobody_can_have_a_restarted_node_refused() {
    // The attacker makes a restarted node look like a clone: its datagrams come from two addresses at
    // once, recordings of its former life come as well, and it gets every answer.
    let mut world = busy_world();
    world.kill(3);
    let recorded = world.captured.clone();
    world.relay = Some((home(3), ELSEWHERE));
    world.start(3, 3, 33);
    for _ in 0..10 {
        for packet in recorded.iter().filter(|packet| packet.from == home(3)) {
            world.fly(packet.clone());
        }
        world.run(ms(100));
    }
    for boot in [1, 2] {
        assert_eq!(
            world.host(boot).take_events(),
            [LinkEvent::PeerDown(member(3, 3)), LinkEvent::PeerUp(member(3, 33))]
        );
    }
    assert_eq!(world.host(33).take_events().len(), 2, "its peers came up, nothing else");
}

#[test]
fn nobody_can_have_a_running_node_refused() {
    let mut world = busy_world();
    world.relay = Some((home(3), ELSEWHERE));
    world.run(ms(5_000));
    for boot in 1..=3 {
        assert_eq!(world.host(boot).take_events(), []);
    }
}

#[test]
fn a_frame_for_one_node_cannot_be_handed_to_another() {
    let mut world = World::together(3);
    world.send(1, Destination::Node(node(3)), b"the token");
    let [packet] = &outgoing(&mut world.host(1).links, home(1))[..] else { panic!("one packet") };
    let now = world.now;
    world.host(2).handle(now, packet.from, &packet.octets);
    assert_eq!(world.host(2).frames, []);
    world.host(3).handle(now, packet.from, &packet.octets);
    assert_eq!(world.host(3).frames, [(member(1, 1), b"the token".to_vec())]);
}

#[test]
fn a_nodes_own_datagrams_do_not_come_back_to_it() {
    let mut world = World::together(2);
    world.send(1, Destination::All, b"echo?");
    let packets = outgoing(&mut world.host(1).links, home(1));
    let now = world.now;
    for source in [home(1), home(2)] {
        world.host(1).handle(now, source, &packets[0].octets);
    }
    assert_eq!(world.host(1).errors, [DatagramError::Reflected; 2]);
}

#[test]
fn an_old_echo_proves_nothing() {
    // Node 2 answers, but the answer is kept back for longer than challenges are fresh.
    let mut world = World::new();
    world.start(1, 2, 1);
    world.start(2, 2, 2);
    world.weather.delay = Duration::ZERO;
    world.run(LATENCY);
    world.collect();
    let pong = world.captured.iter().rfind(|packet| packet.from == home(2)).unwrap().clone();
    world.kill(2);
    world.flying.clear();
    world.run(heartbeat::CHALLENGE_AGE_MAX + ms(1));
    let now = world.now;
    world.host(1).handle(now, pong.from, &pong.octets);
    assert_eq!(world.host(1).errors, [DatagramError::Stale { node: node(2) }]);
    assert_eq!(world.host(1).events, []);
}

#[test]
fn what_was_accepted_before_a_silence_is_not_accepted_after_it() {
    // The session stays the same, but its window was given up together with the peer.
    let mut world = busy_world();
    world.host(3).mute = true;
    world.run(ms(2_500));
    world.host(3).mute = false;
    world.run(ms(200));
    for boot in [1, 2] {
        assert_eq!(world.host(boot).session_of(3), Some(BootId(3)));
        let before = world.host(boot).frames.len();
        replay(&mut world, boot);
        assert_eq!(world.host(boot).frames.len(), before);
    }
}

#[test]
fn a_recorded_refusal_refuses_nobody_else() {
    let mut world = busy_world();
    world.start_with(settings(3, 3), 33, ELSEWHERE);
    world.run(ms(1_000));
    let told = |event: &LinkEvent| matches!(event, LinkEvent::Refused { .. });
    assert!(world.host(33).take_events().iter().any(told), "there is something to record");
    for boot in [1, 2, 3, 33] {
        world.kill(boot);
    }
    world.start(3, 3, 333);
    replay(&mut world, 333);
    assert_eq!(world.host(333).events, []);
    assert!(world.host(333).links.stats().dropped.stale > 0);
}
