//! One seed is one run; and many seeds, each another cluster with other faults.

use std::time::Duration;

use services::Executive;
use tests::{
    machine::Machine,
    swarm::{self, Limits, Outcome},
    world::Seed,
};

fn run(seed: u64, seconds: u64) -> Outcome {
    let command = format!("cargo run --release -p tests --bin storm -- --seed {seed} --seconds {seconds}");
    let limits = Limits { busy: Duration::from_secs(seconds), nodes: None };
    swarm::run(Seed { value: seed, repeat: command }, limits, <Executive as Machine>::start)
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    let digests = |_| (1000..1050).map(|seed| run(seed, 3).digest).collect::<Vec<u64>>();
    let [first, second] = [0, 1].map(digests);
    assert_eq!(first, second);
    // And different seeds are different runs.
    let distinct: std::collections::BTreeSet<u64> = first.iter().copied().collect();
    assert_eq!(distinct.len(), first.len());
}

#[test]
fn a_swarm_of_random_clusters_satisfies_every_invariant() {
    // `SEEDS` says how many; `FROM` which is the first.
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (from, seeds) = (number("FROM", 0), number("SEEDS", 10));
    for seed in from..from + seeds {
        let outcome = run(seed, 20);
        let stories: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
        assert!(
            stories.is_empty(),
            "{}\nrepeat: cargo run --release -p tests --bin storm -- --seed {seed} --seconds 20",
            stories.join("\n")
        );
    }
}
