//! `ring-bench`: what three nodes carry, through real clients of libcpg, all nodes sending, every packet encrypted.
//!
//! Prints Markdown for `docs/performance.md`. It measures, it judges nothing; run it on a quiet machine. With
//! `--with-corosync` each figure is taken against Debian's corosync too, turn by turn in the same run, so that their
//! ratio means something even where the figures themselves do not.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use tests::system::{
    Client, ClientOptions, Cluster, Crypto, Flavour, NodeNumber, Report, Spec, now_ns,
    sandbox::{self, Place},
};

/// Measures a ring of real daemons through real clients.
#[derive(Clone, Debug, Parser)]
#[command(name = "ring-bench")]
struct Arguments {
    /// Measure Debian's corosync as well, and print the ratio.
    #[arg(long)]
    with_corosync: bool,
    /// Measure only Debian's corosync.
    #[arg(long, conflicts_with = "with_corosync")]
    only_corosync: bool,
    /// Number of nodes.
    #[arg(long, default_value_t = 3)]
    nodes: NodeNumber,
    /// Message sizes in octets.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024, 8192, 65_536, 1_047_552])]
    sizes: Vec<usize>,
    /// Measurements of each size; the middle one counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// About how long one measurement takes, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long the idle ring is watched, in seconds.
    #[arg(long, default_value_t = 10)]
    idle_seconds: u64,
    /// Send packets unencrypted.
    #[arg(long)]
    clear: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match sandbox::enter() {
        Place::Inside => {
            measure(&arguments);
            ExitCode::SUCCESS
        }
        Place::Done(code) => code,
        Place::Refused(reason) => {
            eprintln!("ring-bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// One daemon under measurement.
struct Candidate {
    name: &'static str,
    cluster: Cluster,
    start_to_ring: Duration,
    idle: Vec<Idle>,
}

/// A daemon that has nothing to do.
struct Idle {
    cpu_percent: f64,
    resident_mib: f64,
}

/// What a ring carried.
#[derive(Clone, Copy)]
struct Rate {
    messages_per_s: f64,
    octets_per_s: f64,
}

fn measure(arguments: &Arguments) {
    let flavours: &[Flavour] = match (arguments.with_corosync, arguments.only_corosync) {
        (true, _) => &[Flavour::Ours, Flavour::Debian],
        (_, true) => &[Flavour::Debian],
        _ => &[Flavour::Ours],
    };
    let candidates: Vec<_> = flavours.iter().map(|&flavour| Candidate::start(arguments, flavour)).collect();
    println!("\n| daemon | start to ring | idle CPU of a core, each daemon | resident, each daemon |");
    println!("|---|---|---|---|");
    for candidate in &candidates {
        let cpu: Vec<_> = candidate.idle.iter().map(|idle| format!("{:.2} %", idle.cpu_percent)).collect();
        let memory: Vec<_> =
            candidate.idle.iter().map(|idle| format!("{:.1} MiB", idle.resident_mib)).collect();
        let start = candidate.start_to_ring.as_secs_f64();
        println!("| {} | {start:.3} s | {} | {} |", candidate.name, cpu.join(", "), memory.join(", "));
    }
    println!(
        "\n| octets |{}",
        candidates.iter().map(Candidate::heading).collect::<String>() + ratio_heading(&candidates)
    );
    println!(
        "|---|{}{}",
        "---|---|".repeat(candidates.len()),
        if candidates.len() == 2 { "---|" } else { "" }
    );
    for &size in &arguments.sizes {
        print_row(arguments, &candidates, size);
    }
}

impl Candidate {
    fn start(arguments: &Arguments, flavour: Flavour) -> Self {
        let name = match flavour {
            Flavour::Ours => "ours",
            Flavour::Debian => "Debian corosync 3",
        };
        let crypto = if arguments.clear { Crypto::Off } else { Crypto::On };
        let mut cluster = Cluster::new(Spec { flavour, nodes: arguments.nodes, crypto, token_ms: None });
        let started_at = now_ns();
        for number in 1..=arguments.nodes {
            cluster.start_node(number);
        }
        let ring_at = watch_ring(&cluster);
        thread::sleep(Duration::from_secs(1)); // the commotion of the start is not idleness
        let idle = watch_idle(&mut cluster, Duration::from_secs(arguments.idle_seconds));
        Self { name, cluster, start_to_ring: Duration::from_nanos(ring_at - started_at), idle }
    }

    fn heading(&self) -> String {
        format!(" {} messages/s | MB/s |", self.name)
    }

    /// All nodes send `count` messages each; the rate counts what each node delivers, its own messages included.
    fn rate(&self, size: usize, count: u64) -> Rate {
        let options = ClientOptions { size: Some(size), verify: false, ..ClientOptions::default() };
        let mut clients = self.cluster.clients(&options);
        let total = count * clients.len() as u64;
        for client in &mut clients {
            client.command(&format!("expect {total}"));
        }
        for client in &mut clients {
            client.command(&format!("send {count}"));
        }
        let reports: Vec<Report> = clients.iter_mut().map(|client| client.wait_reached(0)).collect();
        let start = reports.iter().map(|report| report.first_send_ns).min().expect("a client");
        let end = reports.iter().map(|report| report.last_delivery_ns).max().expect("a client");
        clients.into_iter().map(Client::quit).for_each(drop);
        let seconds = (end - start) as f64 / 1e9;
        Rate { messages_per_s: total as f64 / seconds, octets_per_s: total as f64 * size as f64 / seconds }
    }

    /// The middle of some rounds, each about as long as asked for.
    fn typical_rate(&self, arguments: &Arguments, size: usize) -> Rate {
        let guess = self.rate(size, (PROBE_OCTETS / size as u64).clamp(20, 10_000));
        let count = guess.messages_per_s * arguments.seconds / f64::from(arguments.nodes);
        let count = (count as u64).max(20);
        let mut rates: Vec<_> = (0..arguments.rounds).map(|_| self.rate(size, count)).collect();
        rates.sort_by(|one, other| one.messages_per_s.total_cmp(&other.messages_per_s));
        rates[rates.len() / 2]
    }
}

/// When the last node had all nodes in its ring.
fn watch_ring(cluster: &Cluster) -> u64 {
    let all: Vec<u32> = (1..=u32::from(cluster.spec().nodes)).collect();
    let watchers = (1..=cluster.spec().nodes).map(|number| cluster.client(number, &ClientOptions::default()));
    let mut watchers: Vec<_> = watchers.collect();
    watchers.iter_mut().map(|watcher| watcher.wait_ring(0, &all)).max().expect("a node")
}

fn watch_idle(cluster: &mut Cluster, duration: Duration) -> Vec<Idle> {
    let numbers = 1..=cluster.spec().nodes;
    let before: Vec<_> = numbers.clone().map(|number| cluster.node_mut(number).daemon().cpu_time()).collect();
    let start = Instant::now();
    thread::sleep(duration);
    let wall = start.elapsed().as_secs_f64();
    let idle = numbers.zip(before).map(|(number, before)| {
        let daemon = cluster.node_mut(number).daemon();
        let cpu = (daemon.cpu_time() - before).as_secs_f64();
        Idle { cpu_percent: 100.0 * cpu / wall, resident_mib: daemon.resident() as f64 / f64::from(1 << 20) }
    });
    idle.collect()
}

fn ratio_heading(candidates: &[Candidate]) -> &'static str {
    if candidates.len() == 2 { " ratio |" } else { "" }
}

fn print_row(arguments: &Arguments, candidates: &[Candidate], size: usize) {
    let rates: Vec<_> = candidates.iter().map(|candidate| candidate.typical_rate(arguments, size)).collect();
    print!("| {size} |");
    for rate in &rates {
        print!(" {:.0} | {:.1} |", rate.messages_per_s, rate.octets_per_s / 1e6);
    }
    match rates[..] {
        [ours, theirs] => println!(" {:.2} |", ours.messages_per_s / theirs.messages_per_s),
        _ => println!(),
    }
}

/// Volume of the first, short measurement of a size.
const PROBE_OCTETS: u64 = 4_000_000;
