//! What recovery has to bring, and what is delivered where: a function of the commit token alone.

use std::collections::BTreeSet;

use super::{installed::Installed, sort_queue::PLACES_MAX};
use crate::{
    node::{Member, NodeId},
    wire::{CommitReport, CommitToken, Seq},
};

/// All members that come from the same old ring read the same reports, so they compute the same plan.
/// Delivery follows the plan and never what a single member happens to hold: that is what makes their
/// deliveries equal.
#[derive(Debug)]
pub(super) struct Plan {
    /// Members of the new ring that come from this node's old ring, ascending: the members of the
    /// transitional configuration.
    pub(super) transitional: Vec<Member>,
    reports: Vec<CommitReport>,
    /// The highest place that any of them knows of.
    pub(super) high: Seq,
    /// The highest place that any of them has delivered.
    delivered: Seq,
    /// Up to here some of them knows that all members of the old ring hold everything.
    stable: Seq,
    obligations: BTreeSet<NodeId>,
}

impl Plan {
    /// The plan for this node's old ring.
    pub(super) fn new(installed: &Installed, token: &CommitToken) -> Self {
        let fellows = token.entries.iter().filter_map(|entry| {
            let report = entry.report.as_ref().filter(|report| report.old_ring == installed.ring)?;
            Some((entry.member, report.clone()))
        });
        let (transitional, reports): (Vec<_>, Vec<_>) = fellows.unzip();
        let most = |of: fn(&CommitReport) -> Seq| reports.iter().map(of).max().unwrap_or_default();
        // A member of good faith is never further ahead than the queues reach.
        let reach = Seq(installed.queue.released().0.saturating_add(PLACES_MAX));
        Self {
            high: most(|report| report.high_seen).min(reach),
            delivered: most(|report| report.delivered),
            stable: most(|report| report.stable),
            obligations: reports.iter().flat_map(|report| &report.obligations).copied().collect(),
            transitional,
            reports,
        }
    }

    /// Whether somebody can bring the frame at `seq`. If not it is a hole, and stays one even if the
    /// frame should turn up later.
    pub(super) fn has(&self, seq: Seq) -> bool {
        self.reports.iter().any(|report| report.holds(seq))
    }

    /// The places whose frames somebody can bring and this node lacks, ascending.
    pub(super) fn needs<'a>(&'a self, installed: &'a Installed) -> impl Iterator<Item = Seq> + 'a {
        let queue = &installed.queue;
        (queue.aru().0 + 1..=self.high.0).map(Seq).filter(|&seq| queue.get(seq).is_none() && self.has(seq))
    }

    /// Whether the old regular configuration ends before the frame at `seq`: it is a hole, or a safe
    /// message that nobody has delivered and nobody knows to be everywhere.
    pub(super) fn ends_regular(&self, seq: Seq, safe: bool) -> bool {
        !self.has(seq) || (safe && seq > self.delivered && seq > self.stable)
    }

    /// Whether a frame of `sender` is delivered beyond a hole. A survivor's messages cannot depend on
    /// what is missing: the survivor did not have it either.
    pub(super) fn delivers_beyond_hole(&self, sender: NodeId) -> bool {
        self.transitional.iter().any(|member| member.node == sender) || self.obligations.contains(&sender)
    }

    /// The nodes whose messages another member may deliver beyond a hole once this node has said that
    /// it holds everything: what [`Self::delivers_beyond_hole`] allows.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.transitional.iter().map(|member| member.node).chain(self.obligations.iter().copied())
    }
}
