//! Processes that do not run for a while, and then find everything that came meanwhile at once.

use std::time::Duration;

use protocol::ring::Guarantee;
use tests::{
    seed,
    world::{Cluster, Timing},
};

/// How many rings a node's watcher was told of.
fn rings_seen(world: &Cluster) -> usize {
    let watcher = world.history.clients.values().find(|client| client.watcher).expect("every node has one");
    watcher.seen.iter().filter(|seen| matches!(seen.what, tests::history::What::Totem { .. })).count()
}

/// Pauses a member of a busy ring for so many per cent of the token timeout.
fn pause_of(seed: tests::world::Seed, name: &str, percent: u32) -> (usize, usize) {
    let mut world = Cluster::new(seed, ["a", "b", "c"]);
    world.run_until_operational();
    // Whatever the start needed in the way of rings is over.
    world.run_for(Duration::from_secs(2));
    let before = rings_seen(&world);
    world.each_sends(20, Guarantee::Safe);
    world.run_for(Duration::from_millis(5));
    world.pause(name, Timing::default().token_timeout * percent / 100);
    world.each_sends(20, Guarantee::Agreed);
    world.run_for(Timing::default().token_timeout * percent / 100 + Duration::from_millis(1));
    world.run_until_operational();
    world.run_until_delivered();
    world.finish();
    (before, rings_seen(&world))
}

#[test]
fn a_pause_shorter_than_the_token_timeout_changes_no_ring() {
    for name in ["a", "b", "c"] {
        let (before, after) = pause_of(seed!(), name, 60);
        assert_eq!(before, after, "{name} was paused for 60 % of the token timeout");
    }
}

#[test]
fn a_pause_around_the_token_timeout_keeps_every_promise() {
    for percent in [80, 90, 100, 110, 120] {
        pause_of(seed!(), "b", percent);
    }
}

#[test]
fn a_node_paused_for_long_is_left_out_and_comes_back() {
    for percent in [300, 500, 3000] {
        pause_of(seed!(), "c", percent);
    }
}

#[test]
fn a_paused_representative_is_left_out_and_comes_back() {
    pause_of(seed!(), "a", 500);
}

#[test]
fn all_nodes_of_a_host_that_stops_for_ten_seconds_go_on() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Safe);
    for name in ["a", "b", "c"] {
        world.pause(name, Duration::from_secs(10));
    }
    world.run_for(Duration::from_millis(10_001));
    world.run_until_operational();
    world.finish();
}

#[test]
fn what_clients_of_a_paused_node_sent_is_delivered_when_it_goes_on() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.pause("b", Duration::from_secs(5));
    world.sends("b", 50, 100, Guarantee::Agreed);
    world.run_for(Duration::from_secs(5));
    world.run_until_operational();
    world.run_until_delivered();
    world.finish();
}
