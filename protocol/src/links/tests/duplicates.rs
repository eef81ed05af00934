//! Two live nodes with one number.

use super::*;

const ELSEWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 9, 9)), 5405);

fn refusals(host: &mut Host) -> usize {
    host.take_events().iter().filter(|event| matches!(event, LinkEvent::Refused { .. })).count()
}

#[test]
fn a_clone_at_another_address_is_refused_and_both_sides_know() {
    let mut world = World::together(3);
    world.start_with(settings(3, 3), 33, ELSEWHERE);
    world.run(ms(1_000));
    for boot in [1, 2] {
        let duplicate =
            LinkEvent::DuplicateNode { incumbent: member(3, 3), refused: BootId(33), source: ELSEWHERE };
        assert_eq!(world.host(boot).take_events(), [duplicate]);
        let dropped = DatagramError::UnlistedSource { node: node(3), source_address: ELSEWHERE };
        assert!(world.host(boot).errors.contains(&dropped), "the drop itself has a reason, too");
        assert_eq!(world.host(boot).session_of(3), Some(BootId(3)));
    }
    assert_eq!(world.host(3).take_events(), [], "the incumbent notices nothing");
    let told = world.host(33).take_events();
    let [LinkEvent::Refused { by }] = told[..] else { panic!("{told:?}") };
    assert!([member(1, 1), member(2, 2)].contains(&by));
}

#[test]
fn a_refused_node_keeps_silent() {
    let mut world = World::together(3);
    world.start_with(settings(3, 3), 33, ELSEWHERE);
    world.run(ms(1_000));
    let sent = world.host(33).links.stats().sent;
    assert_eq!(world.host(33).links.poll_timeout(), None);
    world.send(33, Destination::All, b"let me in");
    world.run(ms(10_000));
    assert_eq!(world.host(33).links.stats().sent, sent);

    // Also one that has peers, as after a partition in which each side knew one of the two.
    world.host(1).links.refused = true;
    world.send(1, Destination::All, b"business as usual");
    assert!(world.host(1).links.transmits().is_empty());
    assert_eq!(world.host(1).links.stats().unreachable, 1);
}

#[test]
fn a_clone_with_the_same_address_is_refused() {
    // Both machines hear everything that is sent to their address.
    let mut world = World::together(3);
    world.start(3, 3, 33);
    world.run(ms(1_000));
    for boot in [1, 2] {
        let duplicate =
            LinkEvent::DuplicateNode { incumbent: member(3, 3), refused: BootId(33), source: home(3) };
        assert_eq!(world.host(boot).take_events(), [duplicate]);
    }
    assert_eq!(world.host(3).take_events(), []);
    assert_eq!(refusals(world.host(33)), 1);
}

#[test]
fn a_clone_with_the_same_address_is_refused_in_bad_weather() {
    // Loss can hide the incumbent once in a while; then it is the other one that stays. But one of
    // them is refused, and peace returns.
    let mut incumbents = 0;
    for seed in 0..30 {
        let mut world = World::together(3);
        world.weather = Weather { loss: 100, duplication: 50, delay: ms(3) };
        world.dice = Jitter::new(seed);
        world.start(3, 3, 33);
        world.run(ms(3_000));
        let refused = (refusals(world.host(3)), refusals(world.host(33)));
        assert!(matches!(refused, (0, 1) | (1, 0)), "seed {seed}: {refused:?}");
        incumbents += refused.1;
    }
    assert!(incumbents >= 27, "the incumbent stayed in only {incumbents} of 30");
}

#[test]
fn of_two_machines_taking_turns_with_one_address_one_is_refused() {
    for seed in 0..10 {
        let mut world = World::together(3);
        world.takes_turns = true;
        world.weather.delay = ms(2);
        world.dice = Jitter::new(seed);
        world.start(3, 3, 33);
        world.run(ms(5_000));
        let refused = (refusals(world.host(3)), refusals(world.host(33)));
        assert!(matches!(refused, (0, 1) | (1, 0)), "seed {seed}: {refused:?}");
    }
}

#[test]
fn a_clone_at_another_address_waits_outside_until_the_real_node_is_there() {
    let mut world = World::together(2);
    world.kill(2);
    world.start_with(settings(2, 2), 22, ELSEWHERE);
    world.run(ms(5_000));
    assert_eq!(world.host(1).take_events(), [LinkEvent::PeerDown(member(2, 2))]);
    assert_eq!(world.host(22).take_events(), [], "nobody to be refused for");
    world.start(2, 2, 222);
    world.run(ms(500));
    assert_eq!(world.host(22).take_events(), [LinkEvent::Refused { by: member(1, 1) }]);
    assert_eq!(world.host(1).session_of(2), Some(BootId(222)));
}

#[test]
fn a_duplicate_is_reported_at_most_every_ten_seconds() {
    let mut world = World::together(3);
    for life in 0..20 {
        world.start_with(settings(3, 3), 100 + life, ELSEWHERE);
        world.run(ms(1_000));
        world.kill(100 + life);
    }
    assert_eq!(world.host(1).take_events().len(), 2);
    assert_eq!(world.host(3).take_events(), []);
}

#[test]
fn a_node_refuses_its_own_number() {
    // The other machine has copied node 1's number but believes that node 3 lives at 1's address.
    let mut world = World::together(2);
    let mut wrong = settings(1, 3);
    wrong.peers = vec![PeerSettings { node: node(3), address: home(1) }];
    world.start_with(wrong, 11, ELSEWHERE);
    world.run(ms(1_000));
    let duplicate =
        LinkEvent::DuplicateNode { incumbent: member(1, 1), refused: BootId(11), source: ELSEWHERE };
    assert_eq!(world.host(1).take_events(), [duplicate]);
    assert_eq!(world.host(11).take_events(), [LinkEvent::Refused { by: member(1, 1) }]);
    assert_eq!(world.host(2).take_events(), []);
}

#[test]
fn two_nodes_with_one_number_and_no_peers_leave_each_other_alone() {
    let mut world = World::new();
    for (boot, own, other) in [(11, home(1), home(2)), (22, home(2), home(1))] {
        let mut settings = settings(1, 3);
        settings.peers = vec![PeerSettings { node: node(3), address: other }];
        world.start_with(settings, boot, own);
    }
    world.run(ms(3_000));
    for boot in [11, 22] {
        assert_eq!(world.host(boot).take_events(), []);
        assert!(world.host(boot).errors.contains(&DatagramError::Unproven { node: node(1) }));
    }
}

#[test]
fn the_last_words_of_a_former_life_make_no_duplicate() {
    // Its last ping was under way while it died; it arrives when the new life already waits.
    let mut world = World::together(3);
    let now = world.now;
    world.host(3).links.ping(now, 0);
    let [late] = &outgoing(&mut world.host(3).links, home(3))[..] else { panic!("one ping") };
    world.kill(3);
    world.start(3, 3, 33);
    while world.host(1).links.peers[1].contest.is_none() {
        world.run(LATENCY);
    }
    let now = world.now;
    world.host(1).handle(now, late.from, &late.octets);
    world.run(ms(50));
    assert_eq!(
        world.host(1).take_events(),
        [LinkEvent::PeerDown(member(3, 3)), LinkEvent::PeerUp(member(3, 33))]
    );
    assert_eq!(refusals(world.host(33)), 0);
}
