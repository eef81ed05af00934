//! What happens to messages that are on their way when the ring changes.

use std::time::Duration;

use protocol::ring::Guarantee;
use tests::{
    history::{Content, What},
    network::Quality,
    seed,
    world::Cluster,
};

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn a_message_of_one_mebibyte_survives_a_change_in_its_middle() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c", "d"]);
    world.run_until_operational();
    world.sends("a", 2, 1_047_552, Guarantee::Agreed);
    world.sends("b", 2, 1_047_552, Guarantee::Safe);
    world.run_for(Duration::from_millis(10));
    world.crash("d");
    world.run_until_operational();
    world.run_until_delivered();
    world.finish();
}

#[test]
fn half_a_message_of_a_dead_sender_is_delivered_to_nobody() {
    // 2.5 MB need some hundred visits of the token; the sender dies after a few.
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.sends("c", 1, 900_000, Guarantee::Agreed);
    world.run_for(Duration::from_millis(15));
    world.crash("c");
    world.run_until_operational();
    world.each_sends(5, Guarantee::Agreed);
    world.run_until_delivered();
    world.finish();
    let large = world.history.clients.values().flat_map(|client| &client.seen).filter(
        |seen| matches!(seen.what, What::Delivered { from, content: Content::Sent(_), .. } if from.node == 3),
    );
    assert_eq!(large.count(), 0);
}

#[test]
fn a_process_that_dies_between_two_fragments_leaves_nothing_behind() {
    let mut world = Cluster::new(seed!(), ["a", "b", "c"]);
    world.run_until_operational();
    world.sends("c", 1, 3_000_000, Guarantee::Agreed);
    world.run_for(Duration::from_millis(30));
    let victim = world.clients().find(|client| client.node == 2 && !client.watcher).expect("one a node").id;
    world.kill_client(victim);
    world.each_sends(5, Guarantee::Agreed);
    world.run_until_delivered();
    world.finish();
}

#[test]
fn a_second_crash_during_recovery_loses_nothing_of_the_survivors() {
    // The second node dies at another moment of the first one's removal each time.
    for step in 0..40 {
        let mut world = Cluster::new(seed!(), FIVE);
        world.run_until_operational();
        world.quality(Quality { loss: 50, ..Quality::default() });
        world.each_sends(10, Guarantee::Safe);
        world.run_for(Duration::from_millis(5 + step % 5));
        world.crash("e");
        world.run_for(Duration::from_millis(1000));
        let index = world.index(["a", "b"][usize::try_from(step % 2).expect("0 or 1")]);
        world.crash_after_effects(index, u32::try_from(step).expect("small"));
        world.run_for(Duration::from_secs(3));
        world.heal();
        world.run_until_operational();
        world.finish();
    }
}

#[test]
fn recovery_under_heavy_loss_settles_once_the_loss_ends() {
    let mut world = Cluster::new(seed!(), FIVE);
    world.run_until_operational();
    world.each_sends(100, Guarantee::Safe);
    world.quality(Quality { loss: 400, ..Quality::default() });
    world.run_for(Duration::from_millis(500));
    world.crash("b");
    world.run_for(Duration::from_secs(10));
    world.heal();
    world.run_until_operational();
    world.finish();
}

#[test]
fn one_change_after_the_other_keeps_every_promise() {
    let mut world = Cluster::new(seed!(), FIVE);
    let mut dice = world.dice();
    world.run_until_operational();
    for _ in 0..20 {
        world.each_sends(5, if dice.chance(500) { Guarantee::Safe } else { Guarantee::Agreed });
        let one = *dice.pick(&FIVE);
        let others: Vec<&str> = FIVE.into_iter().filter(|name| *name != one).collect();
        world.cut([one], others);
        world.run_for(dice.duration(Duration::ZERO..Duration::from_secs(3)));
        world.heal();
        world.run_for(dice.duration(Duration::ZERO..Duration::from_millis(700)));
    }
    world.run_until_operational();
    world.finish();
}
