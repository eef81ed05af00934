//! The regular configuration that is installed, with its frames.

use std::collections::BTreeSet;

use super::sort_queue::SortQueue;
use crate::{
    node::{Member, NodeId},
    ring_id::RingId,
    wire::{CommitReport, Seq},
};

/// The installed configuration. It outlives the states: while a new ring is being formed it is the
/// *old* ring, whose frames still have to be brought to everybody who was in it.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) ring: RingId,
    /// Ascending.
    pub(super) members: Vec<Member>,
    pub(super) queue: SortQueue,
    /// Highest place known to be given out, from frames and tokens.
    pub(super) high_seen: Seq,
    /// Handed up to here.
    pub(super) delivered: Seq,
    /// Everybody holds all up to here.
    pub(super) stable: Seq,
    /// Nodes that may have installed a later configuration on the strength of this node's word; their
    /// messages are delivered even beyond a hole (Moser et al. 1994, obligation sets).
    pub(super) obligations: BTreeSet<NodeId>,
}

impl Installed {
    pub(super) fn new(ring: RingId, members: Vec<Member>) -> Self {
        Self {
            ring,
            members,
            queue: SortQueue::default(),
            high_seen: Seq(0),
            delivered: Seq(0),
            stable: Seq(0),
            obligations: BTreeSet::new(),
        }
    }

    pub(super) fn has_member(&self, member: Member) -> bool {
        self.members.binary_search(&member).is_ok()
    }

    pub(super) fn has_node(&self, node: NodeId) -> bool {
        self.members.binary_search_by_key(&node, |member| member.node).is_ok()
    }

    /// Adds to the obligations those of `nodes` that are members: no others ever sent here.
    pub(super) fn oblige(&mut self, nodes: impl Iterator<Item = NodeId>) {
        let nodes: Vec<_> = nodes.filter(|&node| self.has_node(node)).collect();
        self.obligations.extend(nodes);
    }

    /// What this node tells the members of a ring to be.
    pub(super) fn report(&self) -> CommitReport {
        CommitReport {
            old_ring: self.ring,
            aru: self.queue.aru(),
            delivered: self.delivered,
            stable: self.stable.min(self.queue.aru()),
            high_seen: self.high_seen.max(self.queue.aru()),
            obligations: self.obligations.iter().copied().collect(),
            held: self.queue.held(),
        }
    }
}
