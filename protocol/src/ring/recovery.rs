//! Bringing everybody from the same old ring to the same messages, and installing the new one.

use tracing::debug;

use super::{
    Configuration, Timer,
    cause::{GatherCause, Step},
    commit,
    common::Common,
    installed::Installed,
    keeper::TokenKeeper,
    plan::Plan,
    requests,
    sort_queue::SortQueue,
};
use crate::{
    node::Member,
    wire::{CommitToken, Join, Regular, Token},
};

/// Between the second coming of the commit token and the installation.
///
/// Old frames are sent again as they are, under the numbers and the name of the ring that ordered them;
/// the new ring's token carries the requests for them. So what one attempt has brought is there for
/// the next one.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) keeper: TokenKeeper,
    members: Vec<Member>,
    plan: Plan,
    /// Frames of the new ring from members that have installed it already.
    early: SortQueue,
    /// The representative makes the first regular token once.
    started: bool,
}

impl Recovery {
    pub(super) fn new(common: &mut Common, mut keeper: TokenKeeper, mut token: CommitToken) -> Self {
        common.timers.disarm(Timer::Join);
        common.timers.disarm(Timer::Consensus);
        common.timers.arm(Timer::TokenLoss, common.now + common.settings.token_timeout);
        let plan = Plan::new(&common.installed, &token);
        let members = token.members().collect();
        debug!(
            ring = %token.ring,
            old = %common.installed.ring,
            transitional = plan.transitional.len(),
            lacking = plan.needs(&common.installed).count(),
            "entering RECOVERY"
        );
        commit::pass(common, &mut keeper, &mut token);
        Self { keeper, members, plan, early: SortQueue::default(), started: false }
    }

    /// The commit token came back to the representative after its second round: everybody is in
    /// Recovery, and the regular token starts.
    pub(super) fn on_commit_token(&mut self, common: &mut Common, token: &CommitToken) -> Step {
        let ours = token.ring == self.keeper.ring() && token.ring.rep == common.me.node && !self.started;
        if !ours || !self.keeper.accept(common, u64::from(token.hop)) {
            return Step::Stay;
        }
        self.started = true;
        let first = Token { token_seq: self.keeper.accepted(), ..Token::first(token.ring) };
        self.visit(common, first)
    }

    pub(super) fn visit(&mut self, common: &mut Common, mut token: Token) -> Step {
        common.timers.arm(Timer::TokenLoss, common.now + common.settings.token_timeout);
        let old_ring = common.installed.ring;
        requests::serve(common, &mut token, old_ring);
        let members = u16::try_from(self.members.len()).unwrap_or(u16::MAX);
        if self.plan.needs(&common.installed).next().is_none() {
            // From here on another member may install and deliver because this one has everything.
            common.installed.oblige(self.plan.nodes());
            token.complete = token.complete.saturating_add(1).min(members);
        } else if token.complete < members {
            token.complete = 0;
            requests::add_all(&mut token, old_ring, self.plan.needs(&common.installed));
        }
        if token.complete >= members {
            return Step::Operational(token);
        }
        token.token_seq = token.token_seq.saturating_add(1);
        let frame = common.build(|out| token.encode(out));
        self.keeper.pass(common, token.token_seq, frame);
        Step::Stay
    }

    pub(super) fn on_regular(&mut self, common: &mut Common, regular: &Regular<'_>) {
        if regular.head.ring == self.keeper.ring() {
            let sender = regular.head.sender;
            if self.members.iter().any(|member| member.node == sender) && self.early.wants(regular.head.seq) {
                let frame = common.keep(regular.octets);
                self.early.insert(regular.head, frame);
            }
        } else if regular.head.ring == common.installed.ring && self.plan.has(regular.head.seq) {
            common.take_regular(regular);
        }
    }

    pub(super) fn on_join(&self, from: Member, join: &Join) -> Step {
        if self.members.contains(&from) && join.ring_seq >= self.keeper.ring().seq {
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

    /// Ends the old configuration and installs the new one. What is delivered in the old regular and
    /// what in the transitional configuration follows the plan alone (Moser et al. 1994).
    pub(super) fn install(self, common: &mut Common) -> TokenKeeper {
        let Self { keeper, members, plan, early, .. } = self;
        let ring = keeper.ring();
        let old = common.installed.ring;
        let mut seq = common.installed.delivered.next();
        while seq <= plan.high && !plan.ends_regular(seq, common.is_safe(seq)) {
            common.deliver(seq);
            seq = seq.next();
        }
        if common.formed {
            common.configure(Configuration::Transitional {
                old,
                new: ring,
                members: plan.transitional.clone(),
            });
        }
        let mut hole = false;
        while seq <= plan.high {
            hole |= !plan.has(seq);
            let sender = common.installed.queue.get(seq).map(|slot| slot.head.sender);
            let delivers = sender.is_some_and(|sender| !hole || plan.delivers_beyond_hole(sender));
            if delivers && plan.has(seq) {
                common.deliver(seq);
            }
            seq = seq.next();
        }
        common.assembler.clear();
        common.packer.hold();
        common.formed = true;
        common.installed = Installed { queue: early, ..Installed::new(ring, members.clone()) };
        common.configure(Configuration::Regular { ring, members });
        keeper
    }
}
