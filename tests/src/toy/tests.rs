//! The simulator and the invariants, tried on toys.

use protocol::ring::Guarantee;

use super::*;
use crate::{
    invariants,
    network::Quality,
    workload::{Sizes, Workload},
    world::{Options, Seed, World},
};

fn seed(value: u64) -> Seed {
    Seed { value, repeat: "cargo test -p tests --lib toy".to_owned() }
}

fn options() -> Options {
    let every = Duration::from_millis(1)..Duration::from_millis(40);
    let quality = Quality { loss: 50, duplicate: 50, reorder: 50, ..Quality::default() };
    let workload = Workload { every, sizes: Sizes::Mixed, safe: 300, leaves: 20, dies: 20 };
    Options { quality, workload: Some(workload), groups: vec!["alpha", "beta"], ..Options::default() }
}

fn run(fault: Fault, value: u64) -> World<Toy> {
    let start = move |settings, boot, now| Toy::broken(fault, settings, boot, now);
    let mut world = World::with_options(seed(value), ["a", "b", "c"], options(), start);
    world.start_all();
    world.run_for(Duration::from_secs(3));
    world
}

#[test]
fn a_toy_cluster_without_faults_satisfies_every_invariant() {
    for value in 0..4 {
        let mut world = run(Fault::None, value);
        world.finish();
        let clients = world.history.clients.values();
        let seen: usize = clients.map(|client| client.seen.len()).sum();
        assert!(seen > 2000, "only {seen} events: the clients did not do much");
    }
}

#[test]
fn a_toy_that_does_wrong_is_found_out() {
    let cases = [
        (Fault::Reorders, "total order"),
        (Fault::Duplicates, "no duplicate"),
        (Fault::Loses, "no gap"),
        (Fault::Damages, "integrity"),
        (Fault::WrongView, "group views"),
        (Fault::StoresNothing, "ring ids"),
    ];
    for (fault, property) in cases {
        let mut world = run(fault, 1);
        // What is broken may never come to rest; the properties are what counts here.
        let _ = world.try_finish();
        let violations = invariants::check(&world.history);
        let found: Vec<_> = violations.iter().map(|violation| violation.property).collect();
        assert!(found.contains(&property), "{fault:?} was taken for {found:?}");
    }
}

#[test]
fn one_seed_gives_one_run() {
    let digest = |value| run(Fault::None, value).history.digest();
    assert_eq!(digest(5), digest(5));
    assert_ne!(digest(5), digest(6));
}

#[test]
fn a_paused_toy_gets_everything_when_it_goes_on() {
    let mut world = World::<Toy>::started(seed(1), ["a", "b", "c"], Options::default());
    world.run_until_operational();
    world.pause("b", Duration::from_secs(2));
    world.each_sends(20, Guarantee::Agreed);
    world.run_for(Duration::from_secs(1));
    let waiting = world.nodes()[1].packets.len();
    assert!(waiting > 20, "{waiting} datagrams wait");
    world.run_for(Duration::from_secs(2));
    world.finish();
    assert!(world.history.settled);
}
