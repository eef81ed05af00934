//! Sides that do not hear each other, or only in one direction, and that meet again.

use std::time::Duration;

use protocol::ring::Guarantee;
use tests::{seed, world::Cluster};

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn messages_cross_a_partition_in_one_order() {
    // A and B are cut off from C while all three send; after the merge, every pair that travelled
    // together has delivered the same messages in the same order.
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.cut(["a", "b"], ["c"]);
    world.each_sends(20, Guarantee::Agreed);
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn both_sides_of_three_and_two_go_on_and_merge_with_traffic_in_both() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    world.each_sends(30, Guarantee::Safe);
    world.run_for(Duration::from_millis(10));
    world.cut(["a", "c", "e"], ["b", "d"]);
    world.run_until_operational();
    world.each_sends(30, Guarantee::Safe);
    world.run_until_delivered();
    world.each_sends(30, Guarantee::Agreed);
    world.heal();
    let took = world.run_until_operational();
    world.each_sends(10, Guarantee::Agreed);
    world.run_until_delivered();
    world.finish();
    assert!(took < Duration::from_secs(6), "the merge took {took:?}");
}

#[test]
fn five_singletons_merge() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    for (index, one) in FIVE.into_iter().enumerate() {
        world.cut([one], FIVE.into_iter().skip(index + 1));
    }
    world.run_until_operational();
    world.each_sends(10, Guarantee::Agreed);
    world.run_until_delivered();
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn a_node_that_hears_nobody_is_left_out_and_comes_back() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    for from in ["a", "b", "d", "e"] {
        world.cut_one_way(from, "c");
    }
    world.each_sends(20, Guarantee::Agreed);
    world.run_until_operational();
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn a_node_that_nobody_hears_is_left_out_and_comes_back() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    for to in ["a", "b", "d", "e"] {
        world.cut_one_way("c", to);
    }
    world.each_sends(20, Guarantee::Agreed);
    world.run_until_operational();
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn one_direction_of_one_pair_is_cut_and_mended() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.cut_one_way("a", "c");
    world.each_sends(20, Guarantee::Safe);
    world.run_for(Duration::from_secs(10));
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn two_that_hear_a_third_but_not_each_other_keep_every_promise() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.cut(["a"], ["c"]);
    world.each_sends(20, Guarantee::Safe);
    world.run_for(Duration::from_secs(20));
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn a_link_that_flaps_settles_when_it_stays() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c", "d"]);
    world.run_until_operational();
    for _ in 0..50 {
        world.each_sends(1, Guarantee::Agreed);
        world.cut(["a", "b"], ["c", "d"]);
        world.run_for(Duration::from_millis(300));
        world.heal();
        world.run_for(Duration::from_millis(300));
    }
    world.run_until_operational();
    world.finish();
}

#[test]
fn halves_that_left_out_others_do_not_answer_each_other_without_end() {
    // Each half has just lost a node of its own when the two meet, so they disagree on who is to be left
    // out, and neither takes a stranger's word for it.
    for step in 0..20 {
        let mut world = Cluster::new(seed!(), ["a", "b", "c", "d"]);
        world.run_until_operational();
        world.cut(["a", "b"], ["c", "d"]);
        world.run_until_operational();
        world.crash("b");
        world.crash("d");
        world.run_for(Duration::from_millis(500 + 100 * step));
        world.heal();
        world.run_until_operational();
        world.finish();
    }
}
