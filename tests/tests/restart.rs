//! Nodes that die and come back with their disk.

use std::time::Duration;

use protocol::ring::Guarantee;
use tests::{seed, world::Cluster};

/// A node of a busy ring dies and is back after so long.
fn restart_after(seed: tests::world::Seed, name: &str, wait: Duration) {
    let mut world = Cluster::new(seed, ["a", "b", "c"]);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Safe);
    world.run_for(Duration::from_millis(5));
    world.crash(name);
    world.run_for(wait);
    world.restart(name);
    world.each_sends(20, Guarantee::Agreed);
    world.run_until_operational();
    world.run_until_delivered();
    world.finish();
}

#[test]
fn a_member_back_before_anybody_noticed_is_a_new_member() {
    for wait in [0, 5, 50, 200, 900] {
        restart_after(seed!(), "b", Duration::from_millis(wait));
    }
}

#[test]
fn a_representative_back_before_anybody_noticed_is_a_new_member() {
    for wait in [0, 5, 50, 200, 900] {
        restart_after(seed!(), "a", Duration::from_millis(wait));
    }
}

#[test]
fn a_member_back_after_it_was_left_out_is_taken_in_again() {
    restart_after(seed!(), "c", Duration::from_secs(10));
}

#[test]
fn restart_keeps_ring_ids_unique() {
    // Killed again and again in the middle of its work, around the writes of its ring sequence too.
    for effects in 0..60 {
        let mut world = Cluster::new(seed!(), ["a", "b"]);
        world.run_until_operational();
        world.crash("a");
        world.run_for(Duration::from_millis(500));
        world.restart("a");
        world.crash_after_effects(0, effects);
        world.run_for(Duration::from_secs(2));
        if world.nodes()[0].machine.is_none() {
            world.restart("a");
        }
        world.run_until_operational();
        world.finish();
    }
}

#[test]
fn all_nodes_die_and_come_back() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    for _ in 0..5 {
        world.run_until_operational();
        world.each_sends(5, Guarantee::Agreed);
        world.run_for(Duration::from_millis(8));
        for name in ["a", "b", "c"] {
            world.crash(name);
        }
        world.start_all();
    }
    world.run_until_operational();
    world.finish();
}

#[test]
fn a_node_that_lost_its_disk_gets_no_ring_id_twice() {
    // The others still know how far it was.
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.crash("a");
    world.run_until_operational();
    world.lose_disk("a");
    world.restart("a");
    world.run_until_operational();
    world.finish();
}
