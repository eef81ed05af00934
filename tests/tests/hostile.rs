//! Datagrams that nobody should have sent.

use std::time::Duration;

use protocol::{
    ring::Guarantee,
    seal::{ClusterKey, Protection},
};
use tests::{
    history::{End, What},
    network::Quality,
    rng::Rng,
    seed,
    world::{Cluster, Options, Seed},
};

fn sealed(seed: Seed, quality: Quality) -> Cluster {
    let protection = Protection::Aes256Gcm(ClusterKey(vec![42; 128].into()));
    Cluster::started(seed, ["a", "b", "c"], Options { protection, quality, ..Options::default() })
}

/// How many rings the watchers at A and C were told of.
fn rings_seen(world: &Cluster) -> usize {
    let clients = world.history.clients.values();
    let watchers = clients.filter(|client| client.watcher && [0, 2].contains(&client.node));
    watchers.flat_map(|client| &client.seen).filter(|seen| matches!(seen.what, What::Totem { .. })).count()
}

#[test]
fn a_node_with_another_key_changes_nothing() {
    let mut world = sealed(seed!(), Quality::default());
    world.run_until_operational();
    world.run_for(Duration::from_secs(2));
    let before = rings_seen(&world);
    world.add("d", 4, false, 1);
    world.start_all();
    world.each_sends(50, Guarantee::Safe);
    world.run_for(Duration::from_secs(10));
    world.finish();
    assert_eq!(rings_seen(&world) - before, 0, "the stranger changed the ring of the others");
}

#[test]
fn a_member_that_comes_back_with_another_key_stays_out() {
    let mut world = sealed(seed!(), Quality::default());
    world.run_until_operational();
    world.crash("b");
    world.run_until_operational();
    let before = rings_seen(&world);
    world.change_key("b", 9);
    world.restart("b");
    world.each_sends(20, Guarantee::Agreed);
    world.run_for(Duration::from_secs(10));
    world.finish();
    let watchers_of_b = world.clients().filter(|client| client.watcher && client.node == 1);
    let of_b = watchers_of_b.filter_map(|client| client.ring.clone()).last();
    assert_eq!(of_b.map(|(_, members)| members), Some(vec![2]), "b is alone");
    assert_eq!(rings_seen(&world), before);
}

#[test]
fn flipped_and_truncated_datagrams_are_dropped() {
    let mut world = sealed(seed!(), Quality { flip: 50, truncate: 50, ..Quality::default() });
    world.run_until_operational();
    world.each_sends(100, Guarantee::Safe);
    world.run_until_delivered();
    world.finish();
    assert!(world.network_view().counts().damaged > 50);
}

#[test]
fn flipped_datagrams_do_not_pass_an_authentication_only_suite_either() {
    let protection = Protection::HmacSha256(ClusterKey(vec![42; 128].into()));
    let quality = Quality { flip: 50, truncate: 50, ..Quality::default() };
    let options = Options { protection, quality, ..Options::default() };
    let mut world = Cluster::started(seed!(), ["a", "b", "c"], options);
    world.run_until_operational();
    world.each_sends(100, Guarantee::Safe);
    world.run_until_delivered();
    world.finish();
}

#[test]
fn replayed_datagrams_change_nothing() {
    let mut world = sealed(seed!(), Quality::default());
    world.run_until_operational();
    world.run_for(Duration::from_secs(2));
    let before = rings_seen(&world);
    for _ in 0..100 {
        world.each_sends(1, Guarantee::Agreed);
        (0..20).for_each(|_| world.replay());
        world.run_for(Duration::from_millis(20));
    }
    world.finish();
    assert_eq!(rings_seen(&world), before, "replayed datagrams changed the ring");
}

#[test]
fn what_was_recorded_before_a_restart_is_worthless_after_it() {
    let mut world = sealed(seed!(), Quality::default());
    world.run_until_operational();
    world.each_sends(20, Guarantee::Agreed);
    world.run_until_delivered();
    for name in ["a", "b", "c"] {
        world.crash(name);
    }
    world.start_all();
    for _ in 0..50 {
        (0..20).for_each(|_| world.replay());
        world.run_for(Duration::from_millis(10));
    }
    world.run_until_operational();
    world.finish();
}

#[test]
fn noise_is_dropped() {
    let mut world = sealed(seed!(), Quality::default());
    world.run_until_operational();
    world.run_for(Duration::from_secs(2));
    let before = rings_seen(&world);
    let mut rng = Rng::new(3);
    world.each_sends(50, Guarantee::Agreed);
    for _ in 0..2000 {
        let octets: Vec<u8> = (0..rng.below(2000)).map(|_| rng.next().to_le_bytes()[0]).collect();
        // From a member's address, or from a stranger's.
        let source = tests::node::address(rng.index(6));
        world.inject(source, rng.index(3), &octets);
        world.run_for(Duration::from_micros(500));
    }
    world.finish();
    assert_eq!(rings_seen(&world), before);
}

#[test]
fn a_second_node_with_a_members_number_is_refused_and_the_ring_stays() {
    let mut world = sealed(seed!(), Quality::default());
    world.run_until_operational();
    world.run_for(Duration::from_secs(2));
    let before = rings_seen(&world);
    world.add("b2", 2, false, 0);
    world.start_all();
    world.each_sends(50, Guarantee::Safe);
    world.run_for(Duration::from_secs(5));
    let newcomer = world.index("b2");
    assert_eq!(world.history.nodes[newcomer].lives[0].end, Some(End::Refused));
    world.finish();
    assert_eq!(rings_seen(&world), before, "the ring of the others changed");
}
