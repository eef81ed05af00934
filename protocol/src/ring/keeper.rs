//! Passing a token on, and knowing which one is new.

use bytes::Bytes;

use super::{Timer, common::Common};
use crate::{
    links::Destination,
    node::{Member, NodeId},
    ring_id::RingId,
};

/// A token that was passed on is sent again after this share of `token_retransmit` for the first time,
/// then after twice as long each time.
const FIRST_SHARE: u32 = 16;

/// One ring's tokens as they pass this node: the commit token's two rounds, then the regular token.
/// Their hops are counted by one counter, so a late commit token never passes for a new one.
#[derive(Debug)]
pub(super) struct TokenKeeper {
    ring: RingId,
    successor: NodeId,
    predecessor: NodeId,
    /// Highest hop accepted.
    accepted: u64,
    /// The token as it was passed on, until the successor is known to have it.
    retained: Option<Retained>,
}

#[derive(Debug)]
struct Retained {
    hop: u64,
    frame: Bytes,
    wait: std::time::Duration,
}

impl TokenKeeper {
    /// `members` ascending, with `me` among them.
    pub(super) fn new(ring: RingId, members: &[Member], me: Member) -> Self {
        let after = members.iter().find(|member| member.node > me.node).or(members.first());
        let before = members.iter().rev().find(|member| member.node < me.node).or(members.last());
        let [successor, predecessor] = [after, before].map(|m| m.map_or(me.node, |member| member.node));
        Self { ring, successor, predecessor, accepted: 0, retained: None }
    }

    /// Who passes tokens to this node. Nobody else's are taken.
    pub(super) fn predecessor(&self) -> NodeId {
        self.predecessor
    }

    pub(super) fn ring(&self) -> RingId {
        self.ring
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether a token with this counter is new; from now on it is not.
    pub(super) fn accept(&mut self, common: &mut Common, hop: u64) -> bool {
        if hop <= self.accepted {
            return false;
        }
        self.accepted = hop;
        self.settle(common, hop);
        true
    }

    /// Passes a token on to the next member and sends it again until there is a sign of its arrival.
    pub(super) fn pass(&mut self, common: &mut Common, hop: u64, frame: Bytes) {
        common.send_large(Destination::Node(self.successor), frame.clone());
        if self.successor != common.me.node {
            let wait = common.settings.token_retransmit / FIRST_SHARE;
            common.timers.arm(Timer::TokenRetransmit, common.now + wait);
            self.retained = Some(Retained { hop, frame, wait });
        }
    }

    /// The successor has the token with this counter, or a later one came back.
    pub(super) fn settle(&mut self, common: &mut Common, hop: u64) {
        if self.retained.as_ref().is_some_and(|retained| retained.hop <= hop) {
            self.retained = None;
            common.timers.disarm(Timer::TokenRetransmit);
        }
    }

    /// Sends the retained token again.
    pub(super) fn resend(&mut self, common: &mut Common) {
        let Some(retained) = &mut self.retained else { return };
        retained.wait = (retained.wait * 2).min(common.settings.token_retransmit);
        common.timers.arm(Timer::TokenRetransmit, common.now + retained.wait);
        common.send_large(Destination::Node(self.successor), retained.frame.clone());
    }
}
