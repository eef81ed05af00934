//! Finding out who is there, until all of them say the same.

use std::collections::BTreeSet;

use tracing::debug;

use super::{Timer, cause::Step, common::Common};
use crate::{
    links::Destination,
    node::Member,
    ring_id::RingId,
    wire::{CommitEntry, CommitToken, Join, MEMBERS_MAX},
};

/// Two sets that only grow, and who has said the same two sets (Amir et al. 1995, section 4.2).
#[derive(Debug)]
pub(super) struct Gather {
    /// Members considered.
    proc: BTreeSet<Member>,
    /// Those of them left out.
    fail: BTreeSet<Member>,
    /// Those of the rest whose last join said just these two sets.
    agreed: BTreeSet<Member>,
}

impl Gather {
    /// Starts with everybody who is in the installed ring or reachable; members of the ring that are
    /// known to be down are left out at once.
    pub(super) fn new(common: &mut Common, also: Option<Member>, without: Option<Member>) -> Self {
        common.timers.clear();
        let me = common.me;
        // Whoever is left out is in both sets: the others compare what a join can say, and a join can
        // leave out only whom it considers.
        let given = [Some(me), also, without].into_iter().flatten();
        let proc = common.installed.members.iter().chain(&common.peers).copied().chain(given);
        let mut gather = Self { proc: proc.collect(), fail: BTreeSet::new(), agreed: BTreeSet::new() };
        let down =
            |&&member: &&Member| member != me && !common.peers.contains(&member) && Some(member) != also;
        gather.fail = gather.proc.iter().filter(down).copied().chain(without).filter(|&m| m != me).collect();
        gather.restart(common);
        gather
    }

    /// One of the sets has grown: everybody has to agree anew.
    fn restart(&mut self, common: &mut Common) {
        self.agreed = BTreeSet::from([common.me]);
        common.timers.arm(Timer::Consensus, common.now + common.settings.consensus);
        self.send_join(common);
    }

    /// Timer `Join`, and whenever the sets have grown.
    pub(super) fn send_join(&self, common: &mut Common) {
        common.timers.arm(Timer::Join, common.now + common.settings.join);
        let join = Join {
            ring_seq: common.ring_seq,
            proc: self.proc.iter().copied().collect(),
            fail: self.fail.iter().copied().collect(),
        };
        let frame = common.build(|out| join.encode(out));
        common.send_large(Destination::All, frame);
    }

    pub(super) fn on_join(&mut self, common: &mut Common, from: Member, join: &Join) -> Step {
        if self.fail.contains(&from) {
            return Step::Stay;
        }
        common.ring_seq = common.ring_seq.max(join.ring_seq);
        let agrees = self.proc.iter().eq(&join.proc) && self.fail.iter().eq(&join.fail);
        if agrees {
            self.agreed.insert(from);
            return self.check(common);
        }
        let knows_less = join.proc.iter().all(|m| self.proc.contains(m))
            && join.fail.iter().all(|m| self.fail.contains(m))
            && self.proc.contains(&from);
        if knows_less {
            return Step::Stay;
        }
        let known = (self.proc.len(), self.fail.len());
        self.merge(common, from, join);
        if known == (self.proc.len(), self.fail.len()) {
            // It says more, but nothing that counts here. An answer would be answered in turn, and so on.
            return Step::Stay;
        }
        self.restart(common);
        self.check(common)
    }

    fn merge(&mut self, common: &Common, from: Member, join: &Join) {
        self.proc.insert(from);
        self.proc.extend(&join.proc);
        // The sender speaks for itself: an earlier life of it is over. So are this node's own.
        let over = |m: &&Member| [from, common.me].iter().any(|now| m.node == now.node && **m != *now);
        let over: Vec<_> = self.proc.iter().filter(over).copied().collect();
        self.fail.extend(over);
        if join.fail.contains(&common.me) {
            self.fail.insert(from);
        } else if common.installed.has_member(from) {
            // A stranger's judgement of others is not taken over, a fellow member's is.
            self.fail.extend(join.fail.iter().filter(|&&m| m != common.me));
        }
        while self.proc.len() > MEMBERS_MAX {
            let last = self.proc.iter().rev().find(|&&m| m != common.me && m != from).copied();
            let Some(last) = last else { break };
            self.proc.remove(&last);
            self.fail.remove(&last);
        }
    }

    /// `member` is reachable and in some other ring.
    pub(super) fn on_stranger(&mut self, common: &mut Common, member: Member) {
        if self.proc.len() < MEMBERS_MAX && self.proc.insert(member) {
            self.restart(common);
        }
    }

    /// `member` left, or is known to be down.
    pub(super) fn on_gone(&mut self, common: &mut Common, member: Member) -> Step {
        if member == common.me || !self.proc.contains(&member) || !self.fail.insert(member) {
            return Step::Stay;
        }
        self.restart(common);
        self.check(common)
    }

    /// Timer `Consensus`: the silent are left out. Who agreed, and still no commit token came, has to
    /// say so once more.
    pub(super) fn on_consensus_timeout(&mut self, common: &mut Common) -> Step {
        let silent: Vec<_> = self.candidates().filter(|m| !self.agreed.contains(m)).collect();
        debug!(?silent, "consensus was not reached in time");
        self.fail.extend(silent);
        self.restart(common);
        self.check(common)
    }

    fn candidates(&self) -> impl Iterator<Item = Member> {
        self.proc.difference(&self.fail).copied()
    }

    /// If everybody agrees and this node is the lowest, it proposes the ring.
    pub(super) fn check(&self, common: &mut Common) -> Step {
        let lowest = self.candidates().next() == Some(common.me);
        if !lowest || !self.candidates().all(|m| self.agreed.contains(&m)) {
            return Step::Stay;
        }
        let entries: Vec<_> = self.candidates().map(|member| CommitEntry { member, report: None }).collect();
        if !entries.is_sorted_by(|a, b| a.member.node < b.member.node) {
            // Two lives of one node are considered; the consensus timeout will leave one out.
            return Step::Stay;
        }
        let ring = RingId { seq: common.ring_seq.next(), rep: common.me.node, nonce: common.random() };
        Step::Commit(CommitToken { ring, hop: 0, entries })
    }

    /// Whether a commit token is what this node agreed to, and newer than anything it has seen.
    pub(super) fn accepts(&self, common: &Common, token: &CommitToken) -> bool {
        token.ring.seq > common.ring_seq && token.members().eq(self.candidates())
    }
}
