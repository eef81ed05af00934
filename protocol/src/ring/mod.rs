//! One node's place on a Totem single ring.
//!
//! The protocol is that of Amir, Moser, Melliar-Smith, Agarwal and Ciarfella, "The Totem Single-Ring
//! Ordering and Membership Protocol" (1995), with the delivery rules of "Extended Virtual Synchrony"
//! (Moser et al. 1994). Departures are listed in `docs/deviations.md`.
//!
//! This file dispatches and changes states; the states themselves never do. `operational` numbers and
//! repairs, `gather` finds the members, `commit` collects what they have, `recovery` brings them level.

mod cause;
mod commit;
mod common;
mod flow;
mod gather;
mod installed;
mod keeper;
mod operational;
mod parts;
mod plan;
mod recovery;
mod requests;
mod settings;
mod sort_queue;
mod timers;

use bytes::Bytes;
use tracing::{debug, info};

use self::{
    cause::Step, commit::Commit, common::Common, gather::Gather, operational::Operational, parts::Parts,
    recovery::Recovery,
};
pub use self::{
    cause::{GatherCause, PeerChange},
    settings::{Boot, RingSettings},
};
use crate::{
    links::Destination,
    node::{Member, NodeId},
    ring_id::{RingId, RingSeq},
    time::Instant,
    wire::{CommitToken, Frame, FrameError, Join, Leave, MergeDetect, Regular, Token, TokenAck},
};

/// How often a leaving node says so: nobody answers, and a lost word costs the others a token timeout.
const LEAVE_COPIES: u32 = 3;

/// One node's place on a Totem single ring.
///
/// After each `handle_*`, `multicast`, `release_clients` or `leave`, call
/// [`poll_output`](Self::poll_output) until it returns `None`, carrying out each output before asking
/// for the next: a [`Configuration`] has a place among the deliveries, and a token goes out before the
/// deliveries it allows. Then sleep until [`poll_timeout`](Self::poll_timeout). `now` never goes
/// backwards. A call that returns an error has changed nothing.
#[derive(Debug)]
pub struct Ring {
    common: Common,
    state: State,
    /// The newest token that came in this batch of frames; it is handled when the batch is through, so
    /// that it never asks for what is already here.
    pending: Option<Token>,
    parts: Parts,
}

#[derive(Debug)]
enum State {
    /// Just started; who else is there?
    Listen,
    Gather(Gather),
    Commit(Commit),
    Recovery(Recovery),
    Operational(Operational),
    /// Left for good.
    Left,
}

impl Ring {
    /// A node that has just started. It listens for the configured peers before it proposes a ring.
    pub fn new(settings: RingSettings, boot: Boot, now: Instant) -> Self {
        let (alone, listen) = (settings.peers == 0, settings.listen);
        let common = Common::new(settings, boot, now);
        let mut ring = Self { common, state: State::Listen, pending: None, parts: Parts::default() };
        if alone {
            ring.step(Step::gather(GatherCause::Started));
            ring.pump();
        } else {
            ring.common.timers.arm(Timer::Listen, now + listen);
        }
        ring
    }

    /// Takes one authenticated frame. A token waits for [`handle_drained`](Self::handle_drained).
    ///
    /// # Errors
    /// The frame is not well formed; it was dropped.
    pub fn handle_frame(&mut self, now: Instant, from: Member, frame: &[u8]) -> Result<(), FrameError> {
        self.common.now = now;
        let frame = Frame::decode(frame)?;
        self.dispatch(from, frame)?;
        self.pump();
        Ok(())
    }

    /// A batch of frames is through.
    pub fn handle_drained(&mut self, now: Instant) {
        self.common.now = now;
        self.visit_pending();
        self.pump();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.common.now = now;
        while let Some(timer) = self.common.timers.expire(now) {
            self.on_timeout(timer);
            self.pump();
        }
    }

    /// The sequence of an [`Output::StoreRingSeq`], or a higher one, is on stable storage.
    pub fn handle_stored(&mut self, now: Instant, seq: RingSeq) {
        self.common.now = now;
        self.common.durable = self.common.durable.max(seq);
        if let State::Commit(commit) = &mut self.state {
            commit.on_stored(&mut self.common);
        }
        self.pump();
    }

    /// The links report a change of a peer.
    pub fn handle_peer(&mut self, now: Instant, member: Member, change: PeerChange) {
        self.common.now = now;
        match change {
            PeerChange::Up => self.common.peers.insert(member),
            PeerChange::Down => self.common.peers.remove(&member),
        };
        let step = match change {
            PeerChange::Up => self.on_peer_up(member),
            PeerChange::Down => self.on_peer_down(member),
        };
        self.step(step);
        self.pump();
    }

    /// Queues a message; `head` and `body` are delivered as one.
    ///
    /// # Errors
    /// [`QueueFull`]; try again when [`queued_bytes`](Self::queued_bytes) has fallen.
    pub fn multicast(
        &mut self,
        now: Instant,
        class: Class,
        guarantee: Guarantee,
        head: Bytes,
        body: Bytes,
    ) -> Result<(), QueueFull> {
        self.common.now = now;
        self.common.packer.push(class, guarantee, head, body)?;
        self.on_sendable();
        Ok(())
    }

    /// Octets of messages that wait for the token.
    pub fn queued_bytes(&self) -> usize {
        self.common.packer.queued_bytes()
    }

    /// The sync barrier of the installed configuration is passed: messages of [`Class::Client`] flow.
    pub fn release_clients(&mut self, now: Instant) {
        self.common.now = now;
        self.common.packer.release();
        self.on_sendable();
    }

    /// Leaves the ring: says so to everybody and stops. What still waits for the token is lost.
    pub fn leave(&mut self, now: Instant) {
        self.common.now = now;
        let notice = Leave { ring: self.common.installed.ring };
        for _ in 0..LEAVE_COPIES {
            let frame = self.common.build(|out| notice.encode(out));
            self.common.send(Destination::All, frame);
        }
        self.common.timers.clear();
        self.state = State::Left;
        self.common.outputs.push_back(Output::Left);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.common.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.common.timers.next()
    }

    /// Whether an installed ring is up, and nothing is being changed about it.
    pub fn is_operational(&self) -> bool {
        matches!(self.state, State::Operational(_))
    }

    fn on_sendable(&mut self) {
        if let State::Operational(operational) = &mut self.state {
            operational.on_multicast(&mut self.common);
        }
        self.pump();
    }

    /// Handles what this node sent to itself.
    fn pump(&mut self) {
        while let Some(frame) = self.common.loopback.pop_front() {
            let frame = Frame::decode(&frame).expect("what this node encodes, it decodes");
            self.dispatch(self.common.me, frame)
                .expect("only frames that came in parts can be malformed here");
            self.visit_pending();
        }
    }

    fn dispatch(&mut self, from: Member, frame: Frame<'_>) -> Result<(), FrameError> {
        match frame {
            Frame::Regular(regular) => self.on_regular(&regular),
            Frame::Token(token) => self.on_token(from, token),
            Frame::CommitToken(token) => self.on_commit_token(token),
            Frame::Join(join) => self.on_join(from, &join),
            Frame::MergeDetect(notice) => {
                let step = self.on_merge_detect(from, notice);
                self.step(step);
            }
            Frame::Leave(_) => {
                self.common.peers.remove(&from);
                let step = self.on_gone(from, GatherCause::Left(from.node));
                self.step(step);
            }
            Frame::HoldCancel(notice) => {
                if let State::Operational(operational) = &mut self.state
                    && notice.ring == self.common.installed.ring
                {
                    operational.on_hold_cancel(&mut self.common);
                }
            }
            Frame::TokenAck(ack) => self.on_token_ack(ack),
            Frame::Part(part) => {
                if let Some(whole) = self.parts.take(from, &part) {
                    match Frame::decode(&whole)? {
                        Frame::Part(_) => {}
                        frame => return self.dispatch(from, frame),
                    }
                }
            }
        }
        Ok(())
    }

    fn on_regular(&mut self, regular: &Regular<'_>) {
        let installed = regular.head.ring == self.common.installed.ring;
        match &mut self.state {
            State::Operational(_) | State::Gather(_) if installed => {
                self.common.take_regular(regular);
                self.common.deliver_ready();
            }
            // What this node has is written down in the commit token: it may still come in useful, but
            // where it is delivered is settled with the others.
            State::Commit(_) if installed => {
                self.common.take_regular(regular);
            }
            State::Recovery(recovery) => recovery.on_regular(&mut self.common, regular),
            // Frames of other rings: a late one of an older ring, or one of a ring that will make
            // itself known by its merge-detect.
            _ => {}
        }
    }

    fn on_token(&mut self, from: Member, token: Token) {
        let keeper = match &mut self.state {
            State::Operational(operational) => &mut operational.keeper,
            State::Recovery(recovery) => &mut recovery.keeper,
            _ => return,
        };
        if token.ring != keeper.ring() || from.node != keeper.predecessor() {
            return;
        }
        if token.token_seq <= keeper.accepted() {
            let ack = TokenAck { ring: token.ring, token_seq: token.token_seq };
            let frame = self.common.build(|out| ack.encode(out));
            self.common.send(Destination::Node(from.node), frame);
            return;
        }
        if self.pending.as_ref().is_none_or(|pending| pending.token_seq < token.token_seq) {
            self.pending = Some(token);
        }
    }

    fn on_token_ack(&mut self, ack: TokenAck) {
        let keeper = match &mut self.state {
            State::Operational(operational) => &mut operational.keeper,
            State::Recovery(recovery) => &mut recovery.keeper,
            State::Commit(commit) => &mut commit.keeper,
            _ => return,
        };
        if ack.ring == keeper.ring() {
            keeper.settle(&mut self.common, ack.token_seq);
        }
    }

    /// Handles the token that came with the last batch.
    fn visit_pending(&mut self) {
        let Some(token) = self.pending.take() else { return };
        let step = match &mut self.state {
            State::Operational(operational) if operational.keeper.ring() == token.ring => {
                if operational.keeper.accept(&mut self.common, token.token_seq) {
                    operational.visit(&mut self.common, token);
                }
                Step::Stay
            }
            State::Recovery(recovery) if recovery.keeper.ring() == token.ring => {
                if recovery.keeper.accept(&mut self.common, token.token_seq) {
                    recovery.visit(&mut self.common, token)
                } else {
                    Step::Stay
                }
            }
            _ => Step::Stay,
        };
        self.step(step);
    }

    fn on_commit_token(&mut self, token: CommitToken) {
        let step = match &mut self.state {
            State::Gather(gather) if gather.accepts(&self.common, &token) => Step::Commit(token),
            State::Commit(commit) => commit.on_commit_token(&mut self.common, token),
            State::Recovery(recovery) => recovery.on_commit_token(&mut self.common, &token),
            _ => Step::Stay,
        };
        self.step(step);
    }

    fn on_join(&mut self, from: Member, join: &Join) {
        let installed = &self.common.installed;
        // Every member has known of the installed ring since before it was installed: an older join was
        // late on its way.
        let stale = installed.has_member(from) && join.ring_seq < installed.ring.seq;
        if from.node == self.common.me.node || stale {
            return;
        }
        let step = match &self.state {
            State::Listen => Step::gather(GatherCause::Join(from.node)),
            State::Gather(_) | State::Left => Step::Stay,
            State::Commit(commit) => commit.on_join(from, join),
            State::Recovery(recovery) => recovery.on_join(from, join),
            State::Operational(_) => {
                let accuses = join.fail.contains(&self.common.me);
                if accuses { Step::Stay } else { Step::gather(GatherCause::Join(from.node)) }
            }
        };
        self.step(step);
        if let State::Gather(gather) = &mut self.state {
            let step = gather.on_join(&mut self.common, from, join);
            self.step(step);
        }
    }

    fn on_merge_detect(&mut self, from: Member, notice: MergeDetect) -> Step {
        let installed = &self.common.installed;
        match &mut self.state {
            State::Operational(_) => {
                // A member that speaks of another ring has gone on without this node, or has not heard
                // yet that this ring replaced its own.
                let stale = installed.has_member(from) && notice.ring.seq <= installed.ring.seq;
                if notice.ring == installed.ring || stale {
                    return Step::Stay;
                }
                Step::Gather { cause: GatherCause::MergeDetected(from.node), also: Some(from), without: None }
            }
            State::Listen => Step::gather(GatherCause::MergeDetected(from.node)),
            State::Gather(gather) => {
                gather.on_stranger(&mut self.common, from);
                Step::Stay
            }
            State::Commit(_) | State::Recovery(_) | State::Left => Step::Stay,
        }
    }

    fn on_peer_up(&mut self, member: Member) -> Step {
        match &self.state {
            State::Listen if self.common.peers.len() >= self.common.settings.peers => {
                Step::gather(GatherCause::Started)
            }
            State::Operational(_) => {
                let earlier = self.common.installed.members.iter();
                let earlier = earlier.copied().find(|m| m.node == member.node && *m != member);
                match earlier {
                    Some(earlier) if earlier != self.common.me => {
                        let cause = GatherCause::Restarted(member.node);
                        Step::Gather { cause, also: None, without: Some(earlier) }
                    }
                    _ => Step::Stay,
                }
            }
            _ => Step::Stay,
        }
    }

    /// A silent peer is evidence only once the ring is being formed anew: as long as the token comes
    /// round, everybody is there.
    fn on_peer_down(&mut self, member: Member) -> Step {
        match &self.state {
            State::Operational(_) => Step::Stay,
            _ => self.on_gone(member, GatherCause::Left(member.node)),
        }
    }

    fn on_gone(&mut self, member: Member, cause: GatherCause) -> Step {
        match &mut self.state {
            State::Operational(_) if self.common.installed.has_member(member) => {
                Step::Gather { cause, also: None, without: Some(member) }
            }
            State::Gather(gather) => gather.on_gone(&mut self.common, member),
            State::Commit(commit) => commit.on_gone(member, cause),
            State::Recovery(recovery) => recovery.on_gone(member, cause),
            State::Operational(_) | State::Listen | State::Left => Step::Stay,
        }
    }

    fn on_timeout(&mut self, timer: Timer) {
        let common = &mut self.common;
        let step = match (&mut self.state, timer) {
            (State::Listen, Timer::Listen) => Step::gather(GatherCause::Started),
            (State::Gather(gather), Timer::Join) => {
                gather.send_join(common);
                Step::Stay
            }
            (State::Gather(gather), Timer::Consensus) => gather.on_consensus_timeout(common),
            (State::Commit(_), Timer::TokenLoss) => Step::gather(GatherCause::CommitTokenLost),
            (State::Recovery(_), Timer::TokenLoss) => Step::gather(GatherCause::RecoveryTokenLost),
            (State::Operational(_), Timer::TokenLoss) => Step::gather(GatherCause::TokenLost),
            (State::Commit(commit), Timer::TokenRetransmit) => {
                commit.keeper.resend(common);
                Step::Stay
            }
            (State::Recovery(recovery), Timer::TokenRetransmit) => {
                recovery.keeper.resend(common);
                Step::Stay
            }
            (State::Operational(operational), Timer::TokenRetransmit) => {
                operational.keeper.resend(common);
                Step::Stay
            }
            (State::Operational(operational), Timer::TokenHold) => {
                operational.on_token_hold(common);
                Step::Stay
            }
            (State::Operational(operational), Timer::MergeDetect) => {
                operational.on_merge_detect(common);
                Step::Stay
            }
            // Armed in other states only; entering a state clears the table.
            _ => Step::Stay,
        };
        self.step(step);
    }

    /// Carries out what a state asked for, and what the next one asks for at once.
    fn step(&mut self, step: Step) {
        let mut step = step;
        loop {
            step = match step {
                Step::Stay => return,
                step => self.enter(step),
            };
        }
    }

    /// The only place where the state changes.
    fn enter(&mut self, step: Step) -> Step {
        let common = &mut self.common;
        match (step, std::mem::replace(&mut self.state, State::Left)) {
            (Step::Gather { cause, also, without }, _) => {
                info!(ring.rep = %common.installed.ring.rep, ring.seq = %common.installed.ring.seq,
                    members = common.installed.members.len(), ?cause, "entering GATHER");
                self.pending = None;
                let gather = Gather::new(common, also, without);
                let next = gather.check(common);
                self.state = State::Gather(gather);
                next
            }
            (Step::Commit(token), _) => {
                debug!(ring = %token.ring, members = token.entries.len(), "entering COMMIT");
                self.state = State::Commit(Commit::new(common, token));
                Step::Stay
            }
            (Step::Recovery(token), State::Commit(commit)) => {
                self.state = State::Recovery(Recovery::new(common, commit.keeper, token));
                Step::Stay
            }
            (Step::Operational(token), State::Recovery(recovery)) => {
                let keeper = recovery.install(common);
                info!(ring.rep = %common.installed.ring.rep, ring.seq = %common.installed.ring.seq,
                    members = common.installed.members.len(), "entering OPERATIONAL");
                let mut operational = Operational::new(common, keeper);
                operational.visit(common, token);
                self.state = State::Operational(operational);
                Step::Stay
            }
            (step, state) => unreachable!("{step:?} does not come from {state:?}"),
        }
    }
}

/// What a message's sender asks for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Guarantee {
    /// Delivered once everything before it in the order is delivered.
    Agreed,
    /// Additionally, every member of the configuration holds it.
    Safe,
}

/// Who may be numbered when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The sync barrier's own messages: numbered as soon as a configuration is installed.
    Sync,
    /// Everything else: held back from a configuration's installation until
    /// [`Ring::release_clients`].
    Client,
}

/// One whole message, in its place in the total order.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Who sent it.
    pub sender: NodeId,
    /// What its sender asked for.
    pub guarantee: Guarantee,
    /// The message, head and body together.
    pub message: Bytes,
}

/// Who delivers what follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Configuration {
    /// Members of the next regular configuration that come from the same previous one.
    Transitional {
        /// The regular configuration that ends.
        old: RingId,
        /// The regular configuration that follows.
        new: RingId,
        /// Ascending by node.
        members: Vec<Member>,
    },
    /// A ring.
    Regular {
        /// Its name.
        ring: RingId,
        /// Ascending by node; always holds this node.
        members: Vec<Member>,
    },
}

/// What a ring wants done, in this order.
#[derive(Clone, Debug)]
#[must_use]
pub enum Output {
    /// Put the sequence on stable storage, then call `Ring::handle_stored`. The commit token waits.
    StoreRingSeq(RingSeq),
    /// Seal and send.
    Send {
        /// To whom.
        to: Destination,
        /// The plain frame.
        frame: Bytes,
    },
    /// Hand a message up.
    Deliver(Delivery),
    /// Hand a configuration up; it has its place among the deliveries.
    Configure(Configuration),
    /// The node has left the ring after `Ring::leave`; it may stop.
    Left,
}

/// The queue of messages waiting for the token is full. Nothing was queued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{bytes} octets do not fit into the send queue: {queued} of {max} are in use")]
pub struct QueueFull {
    /// The message refused.
    pub bytes: usize,
    /// What waits already.
    pub queued: usize,
    /// The limit.
    pub max: usize,
}

/// Why the ring wants to be woken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Timer {
    /// The token did not come back.
    TokenLoss,
    /// The token that was passed on shows no sign of having arrived.
    TokenRetransmit,
    /// The held token is due.
    TokenHold,
    /// Time for another join.
    Join,
    /// Consensus took too long.
    Consensus,
    /// Time to announce the ring to others.
    MergeDetect,
    /// The start's listening phase is over.
    Listen,
}

#[cfg(test)]
mod tests;
