//! A run of random faults: which nodes, which network, which clients and which faults all come from the
//! seed. Each seed enables only some kinds of faults, so that rare combinations get their share
//! (Groce et al. 2012, "Swarm Testing").

use std::{ops::AddAssign, time::Duration};

use protocol::{
    Instant,
    ring::Boot,
    seal::{ClusterKey, Protection},
};
use services::executive::ExecutiveSettings;

use crate::{
    history::{End, What},
    invariants::{self, Violation},
    liveness::Failed,
    machine::Machine,
    network::{NetworkCounts, Quality},
    rng::Rng,
    workload::{Sizes, Workload},
    world::{Options, Seed, Timing, World},
};

/// What a run may be like.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Virtual time with faults.
    pub busy: Duration,
    /// Number of nodes; from the seed if there is none.
    pub nodes: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { busy: Duration::from_secs(60), nodes: None }
    }
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// The run's fingerprint.
    pub digest: u64,
    /// How much happened.
    pub counts: Counts,
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Virtual time.
    pub time: Duration,
    /// Events of the simulator.
    pub events: u64,
    /// Messages delivered to clients.
    pub deliveries: u64,
    /// Rings that clients were told of, counted once a node.
    pub rings: u64,
    /// Most rings that a node was told of after all faults had ended; of several runs, the most of any.
    pub rings_to_rest: u64,
    /// Faults other than those of the network's quality.
    pub faults: u64,
    /// The network's own counts.
    pub network: NetworkCounts,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.rings += other.rings;
        self.rings_to_rest = self.rings_to_rest.max(other.rings_to_rest);
        self.faults += other.faults;
        self.network += other.network;
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Partition,
    OneWay,
    Isolate,
    Flap,
    Nested,
    Loss,
    Delay,
    Crash,
    CrashInTurn,
    QuickRestart,
    LongPause,
    ShortPause,
    Leave,
    Replay,
    KillClient,
    SlowDisk,
    Heal,
}

const FAULTS: [Fault; 16] = [
    Fault::Partition,
    Fault::OneWay,
    Fault::Isolate,
    Fault::Flap,
    Fault::Nested,
    Fault::Loss,
    Fault::Delay,
    Fault::Crash,
    Fault::CrashInTurn,
    Fault::QuickRestart,
    Fault::LongPause,
    Fault::ShortPause,
    Fault::Leave,
    Fault::Replay,
    Fault::KillClient,
    Fault::SlowDisk,
];

/// Runs the seed.
pub fn run<M: Machine>(
    seed: Seed,
    limits: Limits,
    start: impl FnMut(ExecutiveSettings, Boot, Instant) -> M + 'static,
) -> Outcome {
    let mut rng = Rng::new(seed.value ^ 0x7377_6172_6d00);
    let options = options(&mut rng);
    let count = limits.nodes.unwrap_or_else(|| 2 + rng.index(7).min(rng.index(7)));
    let names = NAMES.iter().copied().take(count);
    let mut world = World::with_options(seed, names, options, start);
    let mut faults = 0;
    let enabled: Vec<Fault> = FAULTS.into_iter().filter(|_| rng.chance(500)).collect();
    for index in 0..count {
        // Most start together, some come late.
        if rng.chance(900) {
            world.start(index);
        }
    }
    let calm = Duration::from_millis(200)..Duration::from_millis(4000);
    let end = world.now() + limits.busy;
    while world.now() < end {
        let wait = rng.duration(calm.clone());
        world.run_for(wait.min(end.since(world.now())));
        let fault = if enabled.is_empty() || rng.chance(250) { Fault::Heal } else { *rng.pick(&enabled) };
        strike(&mut world, &mut rng, fault);
        faults += 1;
    }
    let before = rings_told(&world);
    restore(&mut world);
    let came_to_rest = world.try_finish();
    let mut violations = invariants::check(&world.history);
    if let Err(Failed(story)) = came_to_rest {
        violations.push(Violation { property: "liveness", story });
    }
    let rings_to_rest = rings_told(&world).iter().zip(&before).map(|(after, before)| after - before).max();
    let counts = Counts { rings_to_rest: rings_to_rest.unwrap_or_default(), ..counts(&world, faults) };
    if counts.rings_to_rest > RINGS_TO_REST_MAX {
        let story = format!("{} rings at one node after all faults had ended", counts.rings_to_rest);
        violations.push(Violation { property: "liveness", story });
    }
    Outcome { violations, digest: world.history.digest(), counts }
}

/// What the cluster and its clients are like.
fn options(rng: &mut Rng) -> Options {
    let token = *rng.pick(&[300, 1000, 1000, 3000]);
    let delay = *rng.pick(&[300, 1000, 1000, 3000]);
    let rate = |rng: &mut Rng, max: u64| match rng.below(2) {
        0 => 0,
        _ => u32::try_from(rng.below(max)).expect("a rate"),
    };
    let key = || ClusterKey(vec![7; 128].into());
    let (protection, sealed) = match rng.below(50) {
        0 => (Protection::Aes256Gcm(key()), true),
        1 => (Protection::HmacSha256(key()), true),
        _ => (Protection::Cleartext, false),
    };
    let quality = Quality {
        delay: Duration::from_micros(delay),
        jitter: Duration::from_micros(rng.range(1..delay)),
        loss: rate(rng, 20),
        duplicate: rate(rng, 20),
        reorder: rate(rng, 20),
        reorder_delay: Duration::from_micros(rng.range(1..20 * delay)),
        flip: if sealed { rate(rng, 20) } else { 0 },
        truncate: if sealed { rate(rng, 20) } else { 0 },
    };
    let pace = *rng.pick(&[20, 100, 100, 500]);
    let workload = Workload {
        every: Duration::from_millis(1)..Duration::from_millis(2 * pace),
        sizes: *rng.pick(&[Sizes::Tiny, Sizes::Mixed, Sizes::Mixed, Sizes::Huge]),
        safe: *rng.pick(&[0, 200, 1000]),
        leaves: rate(rng, 20),
        dies: rate(rng, 20),
    };
    // Megabytes through the smallest frames take longer than anybody waits.
    let huge = workload.sizes == Sizes::Huge;
    Options {
        timing: Timing::for_token(Duration::from_millis(token)),
        protection,
        quality,
        disk: Duration::from_micros(100)..Duration::from_millis(*rng.pick(&[1, 10, 100])),
        netmtu: *rng.pick(if huge { &[1500, 9000][..] } else { &[576, 1500, 1500, 9000] }),
        window_size: *rng.pick(&[50, 50, 300]),
        max_messages: *rng.pick(if huge { &[17, 17][..] } else { &[5, 17, 17] }),
        drift: *rng.pick(&[0, 100, 500]),
        groups: match rng.below(3) {
            0 => vec!["alpha"],
            1 => vec!["alpha", "beta"],
            _ => vec!["alpha", "alpha", "beta"],
        },
        workload: Some(workload),
        trace_datagrams: false,
    }
}

/// Does one bad thing, or a good one.
fn strike<M: Machine>(world: &mut World<M>, rng: &mut Rng, fault: Fault) {
    let count = world.nodes().len();
    let one = rng.index(count);
    let token = world.options.timing.token_timeout;
    let base = world.options.quality;
    match fault {
        Fault::Partition => divide(world, rng),
        Fault::Nested => {
            // The first division is noticed after the token timeout; the others then come while the rings
            // are being formed and recovered.
            divide(world, rng);
            world.run_for(token + rng.duration(Duration::ZERO..Duration::from_millis(30)));
            for _ in 0..rng.range(1..5) {
                each_pair(count, |a, b| world.network().mend(a, b));
                if rng.chance(700) {
                    divide(world, rng);
                } else {
                    world.crash_after_effects(rng.index(count), u32::try_from(rng.below(30)).expect("few"));
                }
                world.run_for(rng.duration(Duration::ZERO..Duration::from_millis(40)));
            }
        }
        Fault::OneWay => {
            let other = (one + 1 + rng.index(count - 1)) % count;
            world.network().cut(one, other);
        }
        Fault::Isolate => each_pair(count, |a, b| {
            if a == one || b == one {
                world.network().cut(a, b);
            }
        }),
        Fault::Flap => {
            for _ in 0..5 {
                each_pair(count, |a, b| {
                    if a == one || b == one {
                        world.network().cut(a, b);
                    }
                });
                world.run_for(rng.duration(Duration::ZERO..token));
                each_pair(count, |a, b| world.network().mend(a, b));
                world.run_for(rng.duration(Duration::ZERO..token));
            }
        }
        Fault::Loss => {
            let loss = *rng.pick(&[10, 100, 300]);
            world.quality(Quality { loss, ..base });
        }
        Fault::Delay => {
            let other = (one + 1 + rng.index(count - 1)) % count;
            let delay = rng.duration(Duration::ZERO..2 * token);
            world.network().set_path(one, other, Quality { delay, ..base });
        }
        Fault::Crash => world.stop(one, End::Crashed),
        Fault::CrashInTurn => world.crash_after_effects(one, u32::try_from(rng.below(200)).expect("few")),
        Fault::QuickRestart => {
            world.stop(one, End::Crashed);
            world.run_for(rng.duration(Duration::ZERO..token));
            world.start(one);
        }
        Fault::LongPause => world.pause_node(one, rng.duration(token..10 * token)),
        Fault::ShortPause => world.pause_node(one, rng.duration(Duration::ZERO..token)),
        Fault::Leave => world.leave_node(one),
        Fault::Replay => (0..50).for_each(|_| world.replay()),
        Fault::KillClient => {
            let alive = world.clients().filter(|client| !client.watcher && client.node == one);
            if let Some(client) = alive.map(|client| client.id).last() {
                world.kill_client(client);
            }
        }
        Fault::SlowDisk => world.options.disk = Duration::from_millis(10)..token,
        Fault::Heal => {
            world.heal();
            let off: Vec<usize> =
                (0..count).filter(|index| world.nodes()[*index].machine.is_none()).collect();
            off.into_iter().for_each(|index| world.start(index));
        }
    }
}

/// Cuts the nodes into two sides.
fn divide<M: Machine>(world: &mut World<M>, rng: &mut Rng) {
    let count = world.nodes().len();
    let side: Vec<bool> = (0..count).map(|_| rng.chance(500)).collect();
    each_pair(count, |a, b| {
        if side[a] != side[b] {
            world.network().cut(a, b);
        }
    });
}

fn each_pair(count: usize, mut act: impl FnMut(usize, usize)) {
    for a in 0..count {
        (0..count).filter(|b| *b != a).for_each(|b| act(a, b));
    }
}

/// Ends all faults.
fn restore<M: Machine>(world: &mut World<M>) {
    world.options.disk = Duration::from_micros(100)..Duration::from_millis(10);
    // Some loss is always there; the ring must live with it.
    world.heal();
    world.end_faults();
    world.start_all();
}

/// How many rings each node's watchers were told of.
fn rings_told<M: Machine>(world: &World<M>) -> Vec<u64> {
    let mut told = vec![0; world.nodes().len()];
    for client in world.history.clients.values().filter(|client| client.watcher) {
        let rings = client.seen.iter().filter(|seen| matches!(seen.what, What::Totem { .. }));
        told[client.node] += rings.count() as u64;
    }
    told
}

fn counts<M: Machine>(world: &World<M>, faults: u64) -> Counts {
    let seen = || world.history.clients.values().flat_map(|client| &client.seen);
    let watched = || world.history.clients.values().filter(|client| client.watcher).flat_map(|c| &c.seen);
    let delivered = |what: &What| matches!(what, What::Delivered { .. });
    let ring = |what: &What| matches!(what, What::Totem { .. });
    Counts {
        time: world.now().since(Instant::ZERO),
        events: world.events(),
        deliveries: seen().filter(|seen| delivered(&seen.what)).count() as u64,
        rings: watched().filter(|seen| ring(&seen.what)).count() as u64,
        rings_to_rest: 0,
        faults,
        network: world.network_view().counts(),
    }
}

/// A node's own first ring, the merges, and what loss may cost: above this, something goes round in
/// circles.
const RINGS_TO_REST_MAX: u64 = 12;
/// The nodes' names.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
