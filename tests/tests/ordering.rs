//! One total order, whatever the network does to single datagrams.

use protocol::ring::Guarantee;
use tests::{
    network::Quality,
    seed,
    workload::{Sizes, Workload},
    world::{Cluster, Options},
};

use std::time::Duration;

/// Three nodes whose clients send 200 mixed messages each, over a network like this.
fn traffic_over(seed: tests::world::Seed, quality: Quality) {
    let options = Options { quality, groups: vec!["alpha", "beta"], ..Options::default() };
    let mut world = Cluster::started(seed, ["a", "b", "c"], options);
    world.run_until_operational();
    world.each_sends(100, Guarantee::Agreed);
    world.each_sends(100, Guarantee::Safe);
    world.run_until_delivered();
    world.finish();
}

#[test]
fn all_members_deliver_everything_in_one_order() {
    traffic_over(seed!(), Quality::default());
}

#[test]
fn one_percent_of_loss_is_repaired() {
    traffic_over(seed!(), Quality { loss: 10, ..Quality::default() });
}

#[test]
fn ten_percent_of_loss_are_repaired() {
    traffic_over(seed!(), Quality { loss: 100, ..Quality::default() });
}

#[test]
fn thirty_percent_of_loss_may_change_the_ring_but_never_the_order() {
    // Rings come and go; what matters is that everything holds, and that it settles when the loss ends.
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.quality(Quality { loss: 300, ..Quality::default() });
    world.each_sends(50, Guarantee::Agreed);
    world.run_for(Duration::from_secs(20));
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn duplicated_datagrams_are_delivered_once() {
    traffic_over(seed!(), Quality { duplicate: 300, ..Quality::default() });
}

#[test]
fn reordered_datagrams_change_nothing() {
    let reorder_delay = Duration::from_millis(30);
    traffic_over(seed!(), Quality { reorder: 300, reorder_delay, ..Quality::default() });
}

#[test]
fn everything_at_once_changes_nothing() {
    let reorder_delay = Duration::from_millis(30);
    traffic_over(
        seed!(),
        Quality { loss: 50, duplicate: 50, reorder: 50, reorder_delay, ..Quality::default() },
    );
}

#[test]
fn every_size_around_the_limits_arrives_whole() {
    // One octet, around one frame, around the largest message in one piece, and above it in fragments.
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    for len in [1, 2, 15, 16, 17] {
        world.sends("a", 1, len, Guarantee::Agreed);
    }
    (1200..1500).step_by(7).for_each(|len| world.sends("b", 1, len, Guarantee::Agreed));
    for len in [1_047_551, 1_047_552, 1_047_553, 2_095_104, 2_095_105, 2_500_000] {
        world.sends("c", 1, len, Guarantee::Agreed);
    }
    world.run_until_delivered();
    world.finish();
    let fragmented = world.history.clients.values().flat_map(|client| &client.sent);
    assert_eq!(fragmented.filter(|sent| sent.accepted && sent.payload.len() > 1_047_552).count(), 4);
}

#[test]
fn small_messages_are_not_held_up_by_large_ones() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.sends("a", 5, 1_000_000, Guarantee::Agreed);
    world.run_for(Duration::from_millis(5));
    world.sends("b", 1, 10, Guarantee::Agreed);
    let start = world.now();
    while world.not_delivered().is_some_and(|problem| problem.contains("#0 is not delivered to 2/")) {
        world.run_for(Duration::from_millis(1));
    }
    let took = world.now().since(start);
    world.finish();
    assert!(took < Duration::from_millis(200), "10 octets took {took:?} behind 5 MB");
}

#[test]
fn eight_nodes_order_everything() {
    let every = Duration::from_millis(1)..Duration::from_millis(50);
    let workload = Workload { every, sizes: Sizes::Mixed, safe: 300, leaves: 20, dies: 20 };
    let options = Options { workload: Some(workload), ..Options::default() };
    let mut world = Cluster::started(seed!(), ["a", "b", "c", "d", "e", "f", "g", "h"], options);
    world.run_until_operational();
    world.run_for(Duration::from_secs(3));
    world.finish();
}
