//! What the demonstration shows, in chapters. Each checks what it shows.

use std::{
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ipc::{
    client::{ClientError, cpg::Client},
    message::cpg::Reason,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Failed,
    cluster::Cluster,
    member::{Member, Seen},
    timeline::{Timeline, thousands},
};

/// The story and its actors.
#[derive(Debug)]
pub(super) struct Story {
    cluster: Arc<Mutex<Cluster>>,
    timeline: Timeline,
    /// All nodes of the cluster.
    nodes: Vec<u32>,
    /// A client for each node that runs, ascending.
    members: Vec<Member>,
}

/// How long anything may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often a daemon that starts is tried.
const KNOCK: Duration = Duration::from_millis(2);

/// cpg's numbers of the guarantees.
const AGREED: u32 = 2;
const SAFE: u32 = 3;

/// What each client sends in a round.
#[derive(Clone, Copy, Debug)]
struct Round {
    name: &'static str,
    guarantee: u32,
    messages: usize,
    octets_max: usize,
}

const ROUND_AGREED: Round = Round { name: "agreed", guarantee: AGREED, messages: 2000, octets_max: 8192 };
const ROUND_SAFE: Round = Round { name: "safe", guarantee: SAFE, messages: 500, octets_max: 1 << 16 };

impl Story {
    pub(super) fn new(cluster: Arc<Mutex<Cluster>>, timeline: Timeline) -> Self {
        let nodes = cluster.lock().unwrap_or_else(PoisonError::into_inner).nodes();
        Self { cluster, timeline, nodes, members: Vec::new() }
    }

    /// From the first start to the last end.
    pub(super) fn play(&mut self) -> Result<(), Failed> {
        let last = *self.nodes.last().expect("a cluster has nodes");
        self.start_all()?;
        self.exchange(ROUND_AGREED)?;
        self.kill(last)?;
        self.restart(last)?;
        self.exchange(ROUND_SAFE)?;
        self.leave(last)?;
        self.end()
    }

    fn start_all(&mut self) -> Result<(), Failed> {
        let nodes = self.nodes.clone();
        let port = self.cluster().port();
        self.timeline.title(&format!(
            "A cluster of {} nodes on 127.0.0.1 to 127.0.0.{}, UDP port {port}, encrypted with a fresh key",
            nodes.len(),
            nodes.len(),
        ));
        let start = Instant::now();
        let mut pids = Vec::new();
        for &node in &nodes {
            pids.push(self.cluster().start(node)?.to_string());
        }
        self.timeline.event("start", format_args!("{} daemons, processes {}", nodes.len(), pids.join(" ")));
        for &node in &nodes {
            let client = self.connect(node)?;
            self.members.push(Member::join(node, client)?);
        }
        self.watch("one ring", |members| members.iter().all(|member| member.is_in_ring_of(&nodes)))?;
        self.timeline.event("ring", format_args!("{} after {} ms", self.describe_ring(), millis(start)));
        self.watch("one group", |members| members.iter().all(|member| member.sees_group_of(&nodes)))?;
        self.timeline.event("join", "a client on each node has joined the group \"demo\"");
        self.timeline.checked("every node sees the same ring, every client the same group");
        Ok(())
    }

    /// All clients send at once, and see the same.
    fn exchange(&mut self, round: Round) -> Result<(), Failed> {
        let senders = self.members.len();
        let wanted = senders * round.messages;
        self.timeline.event(
            round.name,
            format_args!(
                "{senders} clients send {} messages each, all at once, of up to {} octets",
                thousands(round.messages as u128),
                thousands(round.octets_max as u128)
            ),
        );
        self.members.iter_mut().for_each(|member| member.seen = Seen::default());
        let start = Instant::now();
        self.send_and_watch(round, wanted)?;
        let seconds = start.elapsed().as_secs_f64();
        for member in &self.members {
            self.timeline.detail(format_args!(
                "node {} got {} messages, order {:016x}: {}, ...",
                member.node,
                thousands(member.seen.messages as u128),
                member.seen.order(),
                member.seen.turns()
            ));
        }
        self.check_one_order(wanted)?;
        let octets = self.members.first().map_or(0, |member| member.seen.octets);
        self.timeline.checked(format_args!(
            "the same {} messages in the same order everywhere: {:.1} MB in {:.0} ms",
            thousands(wanted as u128),
            octets as f64 / 1e6,
            seconds * 1e3
        ));
        Ok(())
    }

    fn kill(&mut self, node: u32) -> Result<(), Failed> {
        let others = self.without(node);
        let bound = self.failure_bound(node)?;
        self.timeline.event("kill -9", format_args!("the daemon of node {node}"));
        let start = Instant::now();
        self.cluster().kill(node);
        self.members.retain(|member| member.node != node);
        // What is sent now waits until it is clear who is still there, and then comes in one order.
        self.members.iter_mut().for_each(|member| member.seen = Seen::default());
        for place in 0..self.members.len() {
            while !self.members[place].send(SAFE, b"sent while a node is missing")? {
                self.look(KNOCK)?;
            }
        }
        self.watch("a ring of the others", |members| {
            members.iter().all(|member| member.is_in_ring_of(&others))
        })?;
        let took = start.elapsed();
        let text = format!(
            "{} after {} ms; the limit is {} ms",
            self.describe_ring(),
            thousands(took.as_millis()),
            thousands(bound.as_millis())
        );
        self.timeline.event("ring", text);
        let gone = (node, Reason::NodeDown);
        self.watch("the others are told", |members| {
            members.iter().all(|member| member.left.contains(&gone))
        })?;
        self.timeline.event("group", format_args!("every client was told: node {node} is down"));
        let count = self.members.len();
        self.watch("what was sent is delivered", |members| {
            members.iter().all(|member| member.seen.messages >= count)
        })?;
        self.check_one_order(count)?;
        if took > bound {
            return Err(Failed::Wrong(format!("the change took {} ms", took.as_millis())));
        }
        self.timeline.checked("what the others sent meanwhile was delivered in one order");
        Ok(())
    }

    fn restart(&mut self, node: u32) -> Result<(), Failed> {
        let nodes = self.nodes.clone();
        let start = Instant::now();
        let pid = self.cluster().start(node)?;
        self.timeline.event("start", format_args!("node {node} again, process {pid}"));
        let client = self.connect(node)?;
        self.members.push(Member::join(node, client)?);
        self.watch("one ring again", |members| members.iter().all(|member| member.is_in_ring_of(&nodes)))?;
        self.timeline.event("ring", format_args!("{} after {} ms", self.describe_ring(), millis(start)));
        self.watch("one group again", |members| members.iter().all(|member| member.sees_group_of(&nodes)))?;
        self.timeline.checked("merged: every node sees the same ring, every client the same group");
        Ok(())
    }

    fn leave(&mut self, node: u32) -> Result<(), Failed> {
        let others = self.without(node);
        self.timeline.event("leave", format_args!("SIGTERM to the daemon of node {node}"));
        let start = Instant::now();
        self.cluster().terminate(node);
        self.members.retain(|member| member.node != node);
        self.watch("a ring of the others", |members| {
            members.iter().all(|member| member.is_in_ring_of(&others))
        })?;
        self.timeline.event("ring", format_args!("{} after {} ms", self.describe_ring(), millis(start)));
        self.check_ended(node)?;
        self.timeline.checked("nobody had to wait for a timeout");
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failed> {
        self.members.clear();
        let others: Vec<_> = self.nodes.iter().copied().rev().skip(1).collect();
        self.timeline.event("end", "SIGTERM to all other daemons");
        for &node in &others {
            self.cluster().terminate(node);
        }
        for &node in &others {
            self.check_ended(node)?;
        }
        self.timeline.checked("all daemons have ended with status 0");
        Ok(())
    }

    /// A client of a daemon that is starting.
    fn connect(&self, node: u32) -> Result<Client, Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(Some(&Cluster::instance(node))) {
                Ok(client) => return Ok(client),
                Err(ClientError::NotRunning(_) | ClientError::NotReady) if Instant::now() < deadline => {}
                Err(error) => return Err(Failed::Client { node, error }),
            }
            if let Some(status) = self.cluster().ended(node) {
                return Err(Failed::Wrong(format!("the daemon of node {node} ended with {status}")));
            }
            std::thread::sleep(KNOCK);
        }
    }

    /// Each client sends its messages as fast as its daemon takes them, while all are watched.
    fn send_and_watch(&mut self, round: Round, wanted: usize) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        let mut sent = vec![0; self.members.len()];
        let mut message: Vec<u8> = (0..=u8::MAX).cycle().take(round.octets_max).collect();
        while self.members.iter().any(|member| member.seen.messages < wanted) {
            if Instant::now() > deadline {
                let what = format!("the delivery of {wanted} messages");
                return Err(Failed::TooLate { what, limit: PATIENCE });
            }
            let mut stuck = true;
            for (member, sent) in self.members.iter_mut().zip(&mut sent) {
                while *sent < round.messages {
                    let octets = length(member.node, *sent, round.octets_max);
                    let message = message.get_mut(..octets).expect("no message is longer than the longest");
                    message.iter_mut().zip(sent.to_be_bytes()).for_each(|(octet, number)| *octet = number);
                    if !member.send(round.guarantee, message)? {
                        break;
                    }
                    stuck = false;
                    *sent += 1;
                    if sent.is_multiple_of(16) {
                        break;
                    }
                }
            }
            self.look(if stuck { KNOCK } else { Duration::ZERO })?;
        }
        Ok(())
    }

    /// Lets the members see until all of them have seen what is wanted.
    fn watch(&mut self, what: &str, seen: impl Fn(&[Member]) -> bool) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        while !seen(&self.members) {
            if Instant::now() > deadline {
                return Err(Failed::TooLate { what: what.to_owned(), limit: PATIENCE });
            }
            self.look(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Waits this long for something to happen, and lets each member see it.
    fn look(&mut self, wait: Duration) -> Result<(), Failed> {
        let wait = Timespec::try_from(wait).unwrap_or_default();
        let mut asked: Vec<_> =
            self.members.iter().map(|member| PollFd::new(&member.client, PollFlags::IN)).collect();
        // Interrupted or not: looking is never wrong.
        let _ = poll(&mut asked, Some(&wait));
        self.members.iter_mut().try_for_each(Member::look)
    }

    fn check_one_order(&self, wanted: usize) -> Result<(), Failed> {
        let first = self.members.first().map(|member| member.seen.order());
        match self
            .members
            .iter()
            .find(|member| Some(member.seen.order()) != first || member.seen.messages != wanted)
        {
            Some(member) => {
                Err(Failed::Wrong(format!("node {} saw something else than node 1", member.node)))
            }
            None => Ok(()),
        }
    }

    fn check_ended(&mut self, node: u32) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.cluster().ended(node);
            match ended.as_ref().map(ExitStatus::success) {
                Some(true) => return Ok(()),
                Some(false) => {
                    return Err(Failed::Wrong(format!("the daemon of node {node} ended with {ended:?}")));
                }
                None if Instant::now() > deadline => {
                    return Err(Failed::TooLate { what: format!("the end of node {node}"), limit: PATIENCE });
                }
                None => std::thread::sleep(KNOCK),
            }
        }
    }

    /// How long the others may take to go on without a node that was killed: until the token is missed,
    /// and until they agree.
    fn failure_bound(&self, node: u32) -> Result<Duration, Failed> {
        let config = config::load(&self.cluster().config_file(node));
        let ring = config.map_err(|error| Failed::Setup(error.to_string()))?.executive.ring;
        Ok(ring.token_timeout + ring.consensus + Duration::from_millis(200))
    }

    fn describe_ring(&self) -> String {
        match self.members.first().and_then(|member| member.ring.as_ref()) {
            Some((ring, nodes)) => {
                let nodes: Vec<_> = nodes.iter().map(u32::to_string).collect();
                format!("{}.{:x} of nodes {}", ring.nodeid, ring.seq, nodes.join(" "))
            }
            None => "none".to_owned(),
        }
    }

    fn without(&self, node: u32) -> Vec<u32> {
        self.nodes.iter().copied().filter(|&other| other != node).collect()
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A length for a message, from 1 to `max`: mostly short ones, as programs send them.
fn length(node: u32, place: usize, max: usize) -> usize {
    let mixed = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(node % 64);
    let spread = usize::try_from(mixed % (max as u64)).unwrap_or(0);
    1 + (spread >> (mixed >> 60))
}

fn millis(since: Instant) -> String {
    thousands(since.elapsed().as_millis())
}
