//! Runs the swarm over many seeds and tells of every violation, with the command that repeats it.
//!
//! ```text
//! cargo run --release -p tests --bin storm -- --seeds 1000
//! cargo run --release -p tests --bin storm -- --seed 17
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use services::Executive;
use tests::{
    machine::Machine,
    swarm::{self, Counts, Limits, Outcome},
    world::Seed,
};

/// Random clusters with random faults, in virtual time.
#[derive(Parser)]
struct Arguments {
    /// Run this seed only, twice, and compare the two runs.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Virtual seconds with faults in each.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Nodes in each; from the seed if not given.
    #[arg(long)]
    nodes: Option<usize>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let limits = Limits { busy: Duration::from_secs(arguments.seconds), nodes: arguments.nodes };
    match arguments.seed {
        Some(seed) => one(&arguments, seed, limits),
        None => many(&arguments, limits),
    }
}

/// One seed, twice.
fn one(arguments: &Arguments, seed: u64, limits: Limits) -> ExitCode {
    let first = run(arguments, seed, limits);
    let Ok(first) = first.inspect_err(|story| println!("{story}")) else { return ExitCode::FAILURE };
    println!("seed {seed}: {:?}", first.counts);
    for violation in &first.violations {
        println!("{violation}");
    }
    let second = run(arguments, seed, limits).map(|outcome| outcome.digest);
    if second.as_ref() != Ok(&first.digest) {
        println!("seed {seed} gave {:016x} first and then {second:x?}", first.digest);
        return ExitCode::FAILURE;
    }
    if first.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Many seeds, each once.
fn many(arguments: &Arguments, limits: Limits) -> ExitCode {
    let (next, total, failed) =
        (AtomicU64::new(arguments.from), Mutex::new(Counts::default()), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.from + arguments.seeds {
                        break;
                    }
                    match run(arguments, seed, limits) {
                        Ok(outcome) => {
                            let mut total = total.lock().expect("nobody panics with it");
                            *total += outcome.counts;
                            if !outcome.violations.is_empty() {
                                failed.fetch_add(1, Ordering::Relaxed);
                            }
                            for violation in outcome.violations {
                                println!("seed {seed}: {violation}\n  repeat: {}", repeat(arguments, seed));
                            }
                        }
                        Err(story) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("seed {seed}: {story}\n  repeat: {}", repeat(arguments, seed));
                        }
                    }
                }
            });
        }
    });
    let (total, failed) = (total.into_inner().expect("all threads are done"), failed.into_inner());
    let wall = start.elapsed().as_secs_f64();
    println!(
        "{} seeds, {failed} failed; {:.1} seeds/s, {:.2} cluster-hours, {} events ({:.0} k/s), {} rings (at most {} to rest), {} \
         deliveries, {} faults, {:?}",
        arguments.seeds,
        arguments.seeds as f64 / wall,
        total.time.as_secs_f64() / 3600.0,
        total.events,
        total.events as f64 / wall / 1000.0,
        total.rings,
        total.rings_to_rest,
        total.deliveries,
        total.faults,
        total.network,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A run; what a panic said, if there was one.
fn run(arguments: &Arguments, seed: u64, limits: Limits) -> Result<Outcome, String> {
    let seed = Seed { value: seed, repeat: repeat(arguments, seed) };
    catch_unwind(AssertUnwindSafe(|| swarm::run(seed, limits, <Executive as Machine>::start))).map_err(
        |panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            format!("panic: {}", text.unwrap_or_default())
        },
    )
}

fn repeat(arguments: &Arguments, seed: u64) -> String {
    let nodes = arguments.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
    let seconds = arguments.seconds;
    format!("cargo run --release -p tests --bin storm -- --seed {seed} --seconds {seconds}{nodes}")
}
