//! A ring is proposed and everybody writes down what it has of its old one.

use super::{
    Output, Timer,
    cause::{GatherCause, Step},
    common::Common,
    keeper::TokenKeeper,
};
use crate::{
    node::Member,
    wire::{CommitToken, Join},
};

/// Between the acceptance of a commit token and its second coming (Amir et al. 1995, section 4.3).
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) keeper: TokenKeeper,
    members: Vec<Member>,
    /// The token, until the ring sequence is on stable storage.
    waiting: Option<CommitToken>,
}

impl Commit {
    /// Takes the token's first coming. The ring's sequence is stored before the token moves on: a node
    /// that has been in a ring never again takes part in forming one of the same name.
    pub(super) fn new(common: &mut Common, token: CommitToken) -> Self {
        common.timers.clear();
        common.timers.arm(Timer::TokenLoss, common.now + common.settings.token_timeout);
        common.ring_seq = common.ring_seq.max(token.ring.seq);
        let members: Vec<_> = token.members().collect();
        let mut keeper = TokenKeeper::new(token.ring, &members, common.me);
        keeper.accept(common, u64::from(token.hop));
        if common.durable < token.ring.seq {
            common.outputs.push_back(Output::StoreRingSeq(token.ring.seq));
        }
        let mut commit = Self { keeper, members, waiting: Some(token) };
        commit.on_stored(common);
        commit
    }

    /// Something was stored; if it is this ring's sequence, the token moves.
    pub(super) fn on_stored(&mut self, common: &mut Common) {
        if common.durable < self.keeper.ring().seq {
            return;
        }
        let Some(mut token) = self.waiting.take() else { return };
        if let Some(entry) = token.entries.iter_mut().find(|entry| entry.member == common.me) {
            entry.report = Some(common.installed.report());
        }
        pass(common, &mut self.keeper, &mut token);
    }

    pub(super) fn on_commit_token(&mut self, common: &mut Common, token: CommitToken) -> Step {
        let ours = token.ring == self.keeper.ring() && token.members().eq(self.members.iter().copied());
        let complete = token.entries.iter().all(|entry| entry.report.is_some());
        // Not before this node's own report has left: another's copy of it would be a forgery.
        if !ours || self.waiting.is_some() || !complete {
            return Step::Stay;
        }
        if !self.keeper.accept(common, u64::from(token.hop)) {
            return Step::Stay;
        }
        Step::Recovery(token)
    }

    /// A join counts if its sender has given up this ring, or never agreed to it.
    pub(super) fn on_join(&self, from: Member, join: &Join) -> Step {
        let member = self.members.contains(&from);
        let gave_up = join.ring_seq >= self.keeper.ring().seq;
        let failed = join.fail.iter().any(|m| self.members.contains(m));
        let knows_more = join.proc.iter().any(|m| !self.members.contains(m) && !join.fail.contains(m));
        if member && (gave_up || failed || knows_more) {
            Step::gather(GatherCause::Join(from.node))
        } else {
            Step::Stay
        }
    }

    pub(super) fn on_gone(&self, member: Member, cause: GatherCause) -> Step {
        if self.members.contains(&member) {
            Step::Gather { cause, also: None, without: Some(member) }
        } else {
            Step::Stay
        }
    }
}

/// Passes a commit token on.
pub(super) fn pass(common: &mut Common, keeper: &mut TokenKeeper, token: &mut CommitToken) {
    token.hop = token.hop.saturating_add(1);
    let mut frame = bytes::BytesMut::new();
    token.encode(&mut frame);
    keeper.pass(common, u64::from(token.hop), frame.freeze());
}
