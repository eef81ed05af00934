//! The ring is up: the token goes round, messages are numbered, repaired and delivered.

use super::{
    Timer,
    common::Common,
    flow::{Flow, Limits},
    keeper::TokenKeeper,
    requests,
    sort_queue::PLACES_MAX,
};
use crate::{
    links::Destination,
    wire::{HoldCancel, MergeDetect, Seq, Token},
};

/// How long a node whose hold-cancel brought no token waits before it sends another one, as a share
/// of the time that the token is held.
const CANCEL_AGAIN_SHARE: u32 = 8;

/// An installed ring (Amir et al. 1995, section 3).
#[derive(Debug)]
pub(super) struct Operational {
    pub(super) keeper: TokenKeeper,
    flow: Flow,
    /// `token.aru` as it came at the visit before.
    aru_prev: Seq,
    /// `token.seq` as it was passed on at the visit before.
    seq_prev: Seq,
    /// Visits in a row in which nothing happened on the whole ring.
    unchanged: u32,
    /// The token, while this node keeps it because the ring is idle.
    held: Option<Token>,
}

impl Operational {
    pub(super) fn new(common: &mut Common, keeper: TokenKeeper) -> Self {
        common.timers.clear();
        let operational = Self {
            keeper,
            flow: Flow::default(),
            aru_prev: Seq(0),
            seq_prev: Seq(0),
            unchanged: 0,
            held: None,
        };
        operational.arm_merge_detect(common);
        operational
    }

    /// The token is here. It is new, and every frame that came before it has been taken.
    pub(super) fn visit(&mut self, common: &mut Common, mut token: Token) {
        common.timers.arm(Timer::TokenLoss, common.now + common.settings.token_timeout);
        common.timers.disarm(Timer::TokenHold);
        // What is left of requests made in recovery: everybody has all of it, so nobody would take them off.
        token.rtr.retain(|range| range.ring == token.ring);
        let installed = &mut common.installed;
        installed.high_seen = installed.high_seen.max(token.seq);
        // Everybody was visited once between the last visit and this one, so whoever lacked something
        // below both values would have lowered one of them. One value alone proves nothing.
        let stable = self.aru_prev.min(token.aru);
        installed.stable = installed.stable.max(stable);
        self.aru_prev = token.aru;

        let resent = requests::serve(common, &mut token, common.installed.ring);
        let sent = self.send_new(common, &mut token, resent);
        requests::add(common, &mut token, self.seq_prev);
        lower_or_raise_aru(common, &mut token);

        let quiet = resent + sent == 0
            && token.seq == self.seq_prev
            && token.aru == token.seq
            && token.rtr.is_empty();
        self.unchanged = if quiet { self.unchanged.saturating_add(1) } else { 0 };
        let idle = self.unchanged > common.settings.seqno_unchanged_const;
        if alone(common) || (idle && is_rep(common)) {
            self.hold(common, token);
        } else {
            self.pass(common, token);
        }
        self.settle(common);
    }

    /// Numbers what waits, within the allowance, and sends it. Gives the number of frames.
    fn send_new(&mut self, common: &mut Common, token: &mut Token, resent: u32) -> u32 {
        let limits =
            Limits { window_size: common.settings.window_size, max_messages: common.settings.max_messages };
        let backlog = backlog(common);
        let allowance = self.flow.allowance(token, common.installed.stable, backlog, limits);
        let fresh = Flow::fresh(allowance, resent);
        let mut sent = 0;
        while sent < fresh && number_next(common, token) {
            sent += 1;
        }
        self.flow.settle(token, resent + sent, self::backlog(common));
        sent
    }

    fn pass(&mut self, common: &mut Common, mut token: Token) {
        self.seq_prev = token.seq;
        token.token_seq = token.token_seq.saturating_add(1);
        let frame = common.build(|out| token.encode(out));
        self.keeper.pass(common, token.token_seq, frame);
    }

    fn hold(&mut self, common: &mut Common, token: Token) {
        self.seq_prev = token.seq;
        if !alone(common) {
            common.timers.arm(Timer::TokenHold, common.now + common.settings.token_hold);
        }
        self.held = Some(token);
        if alone(common) {
            self.send_alone(common);
        }
    }

    /// A ring of one: what is numbered is everywhere.
    fn send_alone(&mut self, common: &mut Common) {
        let Some(token) = &mut self.held else { return };
        while number_next(common, token) {
            common.installed.stable = common.installed.queue.aru();
            self.seq_prev = token.seq;
            self.aru_prev = token.seq;
            common.deliver_ready();
            common.installed.queue.release(common.installed.delivered);
        }
        token.aru = token.seq;
        common.timers.disarm(Timer::TokenLoss);
    }

    /// A message was queued.
    pub(super) fn on_multicast(&mut self, common: &mut Common) {
        if !common.packer.has_sendable() {
            return;
        }
        if alone(common) {
            return self.send_alone(common);
        }
        // The visit in which the token was held has not ended yet: go on with it.
        if let Some(mut token) = self.held.take() {
            self.unchanged = 0;
            common.timers.disarm(Timer::TokenHold);
            self.send_new(common, &mut token, 0);
            lower_or_raise_aru(common, &mut token);
            self.pass(common, token);
            self.settle(common);
        } else if self.unchanged.saturating_add(2) > common.settings.seqno_unchanged_const && !is_rep(common)
        {
            self.unchanged = 0;
            self.cancel_hold(common);
        }
    }

    /// Asks the representative for the token it may be holding, again and again until it comes.
    fn cancel_hold(&self, common: &mut Common) {
        let notice = HoldCancel { ring: common.installed.ring };
        let frame = common.build(|out| notice.encode(out));
        common.send(Destination::Node(common.installed.ring.rep), frame);
        common.timers.arm(Timer::TokenHold, common.now + common.settings.token_hold / CANCEL_AGAIN_SHARE);
    }

    pub(super) fn on_hold_cancel(&mut self, common: &mut Common) {
        self.unchanged = 0;
        self.release_held(common);
    }

    fn release_held(&mut self, common: &mut Common) {
        if alone(common) {
            return;
        }
        if let Some(token) = self.held.take() {
            common.timers.disarm(Timer::TokenHold);
            self.pass(common, token);
        }
    }

    /// Timer `TokenHold`: at the holder the token is due, elsewhere the hold-cancel brought nothing.
    pub(super) fn on_token_hold(&mut self, common: &mut Common) {
        if self.held.is_some() {
            self.release_held(common);
        } else if common.packer.has_sendable() {
            self.cancel_hold(common);
        }
    }

    /// Timer `MergeDetect`: the representative tells its ring to whoever is reachable and not in it.
    pub(super) fn on_merge_detect(&self, common: &mut Common) {
        let strangers = common.peers.iter().any(|&peer| !common.installed.has_member(peer));
        if is_rep(common) && strangers {
            let notice = MergeDetect { ring: common.installed.ring };
            let frame = common.build(|out| notice.encode(out));
            common.send(Destination::All, frame);
        }
        self.arm_merge_detect(common);
    }

    fn arm_merge_detect(&self, common: &mut Common) {
        common.timers.arm(Timer::MergeDetect, common.now + common.settings.merge);
    }

    /// Hands up what the visit made deliverable and frees what everybody holds.
    fn settle(&self, common: &mut Common) {
        common.deliver_ready();
        let installed = &mut common.installed;
        installed.queue.release(installed.stable.min(installed.delivered));
    }
}

/// Gives the next place to the next frame, keeps it and sends it. `false` if nothing may be sent or
/// there is no room for it here.
fn number_next(common: &mut Common, token: &mut Token) -> bool {
    let seq = token.seq.next();
    if seq.since(common.installed.queue.released()) > PLACES_MAX || !common.packer.has_sendable() {
        return false;
    }
    let Some((head, frame)) = common.next_frame(seq) else { return false };
    token.seq = seq;
    common.installed.high_seen = common.installed.high_seen.max(seq);
    common.installed.queue.insert(head, frame.clone());
    if !alone(common) {
        common.send(Destination::All, frame);
    }
    true
}

/// The aru rule: lower it to what is here; raise it only if nobody or this node lowered it.
fn lower_or_raise_aru(common: &Common, token: &mut Token) {
    let (me, aru) = (common.me.node, common.installed.queue.aru().min(token.seq));
    if aru < token.aru || token.aru_setter.is_none_or(|setter| setter == me) {
        token.aru = aru;
        token.aru_setter = Some(me);
    }
    if token.aru == token.seq {
        token.aru_setter = None;
    }
}

fn alone(common: &Common) -> bool {
    common.installed.members.len() == 1
}

fn is_rep(common: &Common) -> bool {
    common.installed.ring.rep == common.me.node
}

/// Frames that wait here.
fn backlog(common: &Common) -> u32 {
    let frames = common.packer.queued_bytes().div_ceil(common.settings.frame_bytes_max);
    u32::try_from(frames).unwrap_or(u32::MAX)
}
