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
        let end = start + self.options.timing.settle_max();
        while let Some(problem) = self.not_operational() {
            if self.now() >= end {
                let waited = self.now().since(start);
                return Err(Failed(format!("liveness: not operational after {waited:?}: {problem}")));
            }
            self.run_for(STEP);
        }
        Ok(self.now().since(start))
    }

    /// Runs until nothing is waiting to be sent and every message is delivered to all that should have it.
    pub fn try_until_delivered(&mut self) -> Result<(), Failed> {
        let mut end = self.now() + self.options.timing.settle_max();
        let mut progress = 0;
        while let Some(problem) = self.not_delivered() {
            let delivered: usize = self.history.clients.values().map(|client| client.seen.len()).sum();
            if delivered > progress {
                // Large backlogs take their time, as long as something moves.
                progress = delivered;
                end = self.now() + self.options.timing.settle_max();
            }
            if self.now() >= end {
                return Err(Failed(format!("liveness: not everything is delivered: {problem}")));
            }
            self.run_for(STEP);
        }
        Ok(())
    }

    /// Lets the cluster come to rest: no sending, one ring, everything delivered. After that the history
    /// counts as settled.
    pub fn try_finish(&mut self) -> Result<(), Failed> {
        self.quiet();
        self.try_until_operational()?;
        self.try_until_delivered()?;
        let rings = self.rings();
        // What might still be on its way, and rings that do not last.
        self.run_for(self.options.timing.settle_max() / 2);
        if let Some(problem) = self.not_operational().or_else(|| self.not_delivered()) {
            return Err(Failed(format!("liveness: did not stay at rest: {problem}")));
        }
        if rings != self.rings() {
            return Err(Failed(format!("liveness: the ring changed at rest: {rings:?}, {:?}", self.rings())));
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

    /// Why the cluster is not at work as it should; `None` if it is.
    pub fn not_operational(&self) -> Option<String> {
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
                if node.flow != FlowControl::Open && self.clients().all(|client| client.backlog() == 0) {
                    return Some(format!("{who} lets no client send"));
                }
                let clients = self.clients().filter(|client| client.node == index);
                let waits = |state| matches!(state, State::New | State::Joining | State::Accepted);
                if let Some(client) = clients.into_iter().find(|client| waits(client.state)) {
                    return Some(format!("c{} at {who} is still {:?}", client.id.0, client.state));
                }
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

/// How often the cluster is looked at.
const STEP: Duration = Duration::from_millis(10);
