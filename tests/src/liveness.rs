//! Liveness: when faults are over, connected nodes form one ring within a bound of virtual time, finish
//! its synchronisation, and deliver everything that was accepted (Amir et al. 1995, section 5, on
//! termination of the membership algorithm; without faults it must make progress).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use services::executive::FlowControl;

use crate::{
    client::State,
    history::{Content, Fate, MessageId, Process, RingName, What},
    machine::Machine,
    world::World,
};

/// It did not happen in time; why, as far as one can see.
#[derive(Clone, Debug)]
pub struct Failed(pub String);

impl<M: Machine> World<M> {
    /// Runs until every node is in a ring of exactly those that it can exchange datagrams with, and its
    /// clients are in their groups. How long it took.
    pub fn try_until_operational(&mut self) -> Result<Duration, Failed> {
        let start = self.now();
        self.wait_until("not operational", Self::not_in_rings, |_| 0)?;
        // A join waits behind whatever else is on its way.
        self.wait_until("not operational", Self::not_operational, Self::progress)?;
        Ok(self.now().since(start))
    }

    /// Runs until nothing is waiting to be sent and every message is delivered to all that should have it.
    pub fn try_until_delivered(&mut self) -> Result<(), Failed> {
        self.wait_until("not everything is delivered", Self::not_delivered, Self::progress)
    }

    /// Runs until there is no problem. The bound starts anew with all progress: large backlogs take their
    /// time.
    fn wait_until(
        &mut self,
        what: &str,
        problem: impl Fn(&Self) -> Option<String>,
        progress: impl Fn(&Self) -> usize,
    ) -> Result<(), Failed> {
        let mut seen = progress(self);
        let mut start = self.now();
        while let Some(problem) = problem(self) {
            if progress(self) != seen {
                (seen, start) = (progress(self), self.now());
            }
            let waited = self.now().since(start);
            if waited >= self.options.timing.settle_max() {
                return Err(Failed(format!("{what} after {waited:?}: {problem}")));
            }
            self.run_for(STEP);
        }
        Ok(())
    }

    /// A number that changes when something is delivered.
    fn progress(&self) -> usize {
        self.history.clients.values().map(|client| client.seen.len()).sum()
    }

    /// Lets the cluster come to rest: no sending, one ring, everything delivered. After that the history
    /// counts as settled.
    pub fn try_finish(&mut self) -> Result<(), Failed> {
        self.quiet();
        // Clients are told of a ring when it is there: a token that was lost just now shows later.
        self.run_for(self.options.timing.token_timeout * 2);
        // The ring may still change once for what happened just before.
        for _ in 0..RINGS_TO_REST {
            self.try_until_operational()?;
            self.try_until_delivered()?;
            if self.not_operational().is_none() {
                break;
            }
        }
        let rings = self.rings();
        // What might still be on its way, and rings that do not last.
        self.run_for(self.options.timing.settle_max() / 2);
        if let Some(problem) = self.not_operational().or_else(|| self.not_delivered()) {
            return Err(Failed(format!("did not stay at rest: {problem}")));
        }
        if rings != self.rings() {
            return Err(Failed(format!("the ring changed at rest: {rings:?}, {:?}", self.rings())));
        }
        self.history.settled = true;
        Ok(())
    }

    /// The ring of each node, as its watcher was told.
    pub fn rings(&self) -> BTreeMap<usize, Option<(RingName, Vec<u32>)>> {
        let watchers = self.clients().filter(|client| client.watcher && client.state != State::Gone);
        watchers.map(|client| (client.node, client.ring.clone())).collect()
    }

    /// Sets of nodes that run and can exchange datagrams, directly or through others.
    pub fn components(&self) -> Vec<BTreeSet<usize>> {
        let nodes = self.nodes();
        let up = |index: &usize| nodes[*index].is_up() && nodes[*index].identity.expected;
        let mut left: BTreeSet<usize> = (0..nodes.len()).filter(up).collect();
        let mut components = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut component, mut border) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = border.pop() {
                let near: Vec<usize> =
                    left.iter().copied().filter(|other| self.connected_both_ways(one, *other)).collect();
                for other in near {
                    left.remove(&other);
                    component.insert(other);
                    border.push(other);
                }
            }
            components.push(component);
        }
        components
    }

    /// Why connected nodes are not in one ring; `None` if they are.
    pub fn not_in_rings(&self) -> Option<String> {
        let rings = self.rings();
        for component in self.components() {
            let members: Vec<u32> =
                component.iter().map(|index| self.nodes()[*index].identity.id.get()).collect();
            let mut name = None;
            for index in component {
                let node = &self.nodes()[index];
                let who = &node.identity.name;
                let Some(Some((ring, nodes))) = rings.get(&index) else {
                    return Some(format!("{who} has no ring yet (ready: {})", node.ready));
                };
                if *nodes != members {
                    return Some(format!("{who} is in ring {ring} of {nodes:?} instead of {members:?}"));
                }
                if *name.get_or_insert(*ring) != *ring {
                    return Some(format!("{who} is in ring {ring}, others are in another"));
                }
            }
        }
        None
    }

    /// Why the cluster is not at work as it should; `None` if it is.
    pub fn not_operational(&self) -> Option<String> {
        if let Some(problem) = self.not_in_rings() {
            return Some(problem);
        }
        for (index, node) in self.nodes().iter().enumerate().filter(|(_, node)| node.is_up()) {
            let who = &node.identity.name;
            if node.flow != FlowControl::Open && self.clients().all(|client| client.backlog() == 0) {
                return Some(format!("{who} lets no client send"));
            }
            let waits = |state| matches!(state, State::New | State::Joining | State::Accepted);
            let mut clients = self.clients().filter(|client| client.node == index);
            if let Some(client) = clients.find(|client| waits(client.state)) {
                return Some(format!("c{} at {who} is still {:?}", client.id.0, client.state));
            }
        }
        None
    }

    /// What is still to be sent or delivered; `None` if nothing is.
    pub fn not_delivered(&self) -> Option<String> {
        let alive = |client: &&crate::client::Client| {
            client.state != State::Gone && self.nodes()[client.node].is_up()
        };
        for client in self.clients().filter(alive) {
            if client.backlog() > 0 || client.queued_bytes > 0 {
                return Some(format!("c{} has {} messages to send", client.id.0, client.backlog()));
            }
            if matches!(client.state, State::Departing | State::Leaving) {
                return Some(format!("c{} has not left yet", client.id.0));
            }
        }
        self.undelivered().map(|(message, process)| format!("{message} is not delivered to {process}"))
    }

    /// A message that its living sender, or the last view of it, has not got.
    fn undelivered(&self) -> Option<(MessageId, Process)> {
        for client in self.history.clients.values().filter(|client| client.fate == Fate::Alive) {
            if !self.nodes()[client.node].is_up() {
                continue;
            }
            let last = client.seen.iter().rev().find_map(|seen| match seen.what {
                What::Submitted(number) => Some(MessageId { client: client.id, number }),
                _ => None,
            });
            let Some(last) = last else { continue };
            // Delivery is in order: who has the last one is done.
            let got = |process: Process| {
                self.history.client_of(process).is_some_and(|receiver| {
                    let mut seen = receiver.seen.iter().rev();
                    seen.any(|seen| {
                        matches!(seen.what, What::Delivered { content: Content::Sent(message), .. } if message == last)
                    })
                })
            };
            if !got(client.process) {
                return Some((last, client.process));
            }
        }
        None
    }

    fn connected_both_ways(&self, one: usize, other: usize) -> bool {
        let network = self.network_view();
        network.passes(one, other) && network.passes(other, one)
    }
}

/// How many rings the cluster may need until it stays.
const RINGS_TO_REST: usize = 3;
/// How often the cluster is looked at.
const STEP: Duration = Duration::from_millis(10);
