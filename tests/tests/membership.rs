//! Who is in the ring, and how fast that is agreed.

use std::time::Duration;

use protocol::ring::Guarantee;
use tests::{
    history::{End, What},
    seed,
    world::{Cluster, Timing},
};

use ipc::message::cpg::Reason;

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Detection, agreement and a second for the rest.
fn crash_bound() -> Duration {
    let timing = Timing::default();
    timing.token_timeout + timing.consensus + 2 * timing.join + Duration::from_secs(1)
}

#[test]
fn three_nodes_start_within_a_second() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    let took = world.run_until_operational();
    world.finish();
    assert!(took < Duration::from_secs(1), "the first ring took {took:?}");
}

#[test]
fn a_single_node_is_a_ring_of_its_own() {
    let mut world = Cluster::new(seed!(), ["a"]);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Safe);
    world.run_until_delivered();
    world.finish();
}

#[test]
fn a_node_that_comes_late_joins_the_ring() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.crash("c");
    world.run_until_operational();
    world.each_sends(50, Guarantee::Agreed);
    world.run_for(Duration::from_secs(2));
    world.restart("c");
    world.each_sends(50, Guarantee::Agreed);
    let took = world.run_until_operational();
    world.finish();
    assert!(took < crash_bound(), "the join took {took:?}");
}

#[test]
fn a_crashed_member_is_left_out_in_time() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Agreed);
    world.run_for(Duration::from_millis(20));
    world.crash("d");
    let took = world.run_until_operational();
    world.finish();
    assert!(took < crash_bound(), "{took:?}");
}

#[test]
fn a_crashed_representative_is_left_out_in_time() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Safe);
    world.run_for(Duration::from_millis(20));
    world.crash("a");
    let took = world.run_until_operational();
    world.finish();
    assert!(took < crash_bound(), "{took:?}");
}

#[test]
fn two_that_crash_together_are_left_out_together() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Safe);
    world.run_for(Duration::from_millis(7));
    world.crash("a");
    world.crash("d");
    let took = world.run_until_operational();
    world.finish();
    assert!(took < crash_bound(), "{took:?}");
}

#[test]
fn a_node_that_leaves_is_gone_at_once() {
    // Nobody waits for a timeout, and its processes are told of as ended, not as lost.
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.each_sends(20, Guarantee::Agreed);
    world.run_until_delivered();
    world.leave("b");
    while world.nodes()[1].machine.is_some() {
        world.run_for(Duration::from_millis(1));
    }
    let took = world.run_until_operational();
    world.finish();
    assert_eq!(world.history.nodes[1].lives[0].end, Some(End::Left));
    assert!(took < Timing::default().token_timeout / 2, "{took:?}");
}

#[test]
fn four_of_five_leave_together() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    for name in ["a", "b", "c", "e"] {
        world.leave(name);
    }
    world.run_for(Duration::from_secs(1));
    world.run_until_operational();
    world.finish();
}

#[test]
fn a_process_that_ends_is_told_of_once_and_so_is_one_that_leaves() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.each_sends(5, Guarantee::Agreed);
    let victim = world.clients().find(|client| client.node == 1 && !client.watcher).expect("one a node").id;
    world.kill_client(victim);
    world.run_until_delivered();
    world.finish();
    let reasons: Vec<Reason> = world
        .history
        .clients
        .values()
        .filter(|client| client.node != 1 && !client.watcher)
        .flat_map(|client| &client.seen)
        .filter_map(|seen| match &seen.what {
            What::View { left, .. } => Some(left),
            _ => None,
        })
        .flatten()
        .map(|(_, reason)| *reason)
        .collect();
    assert_eq!(reasons, [Reason::ProcDown, Reason::ProcDown]);
}

#[test]
fn eight_nodes_that_come_and_go_end_in_one_ring() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut world = Cluster::new(seed!(), names);
    let mut dice = world.dice();
    world.run_until_operational();
    for _ in 0..12 {
        let name = *dice.pick(&names);
        let index = world.index(name);
        if world.nodes()[index].machine.is_some() {
            world.crash(name);
        } else {
            world.restart(name);
        }
        world.each_sends(3, Guarantee::Agreed);
        world.run_for(dice.duration(Duration::ZERO..Duration::from_secs(2)));
    }
    world.start_all();
    world.run_until_operational();
    world.finish();
}
