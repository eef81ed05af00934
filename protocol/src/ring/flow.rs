//! How many frames a visit of the token may send.

use super::sort_queue::PLACES_MAX;
use crate::wire::{Seq, Token};

/// What this node last added to the token's counters.
#[derive(Debug, Default)]
pub(super) struct Flow {
    sent: u32,
    backlog: u32,
}

/// The limits of one ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) window_size: u32,
    pub(super) max_messages: u32,
}

impl Flow {
    /// Frames that this visit may send, resent ones included. `backlog` is what waits here.
    ///
    /// The window of the rotation less what the others have sent in it, a fair share of it when more
    /// waits than fits, never more than one visit's maximum, and at least one frame so that two full
    /// senders cannot starve a third. Nothing when the sort queues of slow members would overflow.
    pub(super) fn allowance(&self, token: &Token, stable: Seq, backlog: u32, limits: Limits) -> u32 {
        let Limits { window_size, max_messages } = limits;
        let unstable = token.seq.since(stable);
        let store_room = PLACES_MAX / 2;
        if unstable.saturating_add(u64::from(window_size)) > store_room {
            return 0;
        }
        let others = token.fcc.saturating_sub(self.sent);
        let free = window_size.saturating_sub(others);
        let waiting = u64::from(token.backlog.saturating_sub(self.backlog)) + u64::from(backlog);
        let fair = if waiting > u64::from(window_size) {
            u64::from(window_size) * u64::from(backlog) / waiting
        } else {
            u64::from(window_size)
        };
        let fair = u32::try_from(fair).unwrap_or(u32::MAX);
        max_messages.min(free).min(fair).max(1)
    }

    /// How many of the allowed frames may be new ones when so many were sent again.
    ///
    /// At least one, if anything is allowed: a member that is always a rotation late asks for everything
    /// again, always of the node it passes the token to, and that one has to get a word in.
    pub(super) fn fresh(allowance: u32, resent: u32) -> u32 {
        allowance.saturating_sub(resent).max(allowance.min(1))
    }

    /// Replaces this node's share of the token's counters.
    pub(super) fn settle(&mut self, token: &mut Token, sent: u32, backlog: u32) {
        token.fcc = token.fcc.saturating_sub(self.sent).saturating_add(sent);
        token.backlog = token.backlog.saturating_sub(self.backlog).saturating_add(backlog);
        self.sent = sent;
        self.backlog = backlog;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node::NodeId,
        ring_id::{RingId, RingSeq},
    };

    const LIMITS: Limits = Limits { window_size: 50, max_messages: 17 };

    fn token(fcc: u32, backlog: u32) -> Token {
        let ring = RingId { seq: RingSeq(4), rep: NodeId::new(1).unwrap(), nonce: 0 };
        Token { fcc, backlog, ..Token::first(ring) }
    }

    #[test]
    fn a_node_that_resends_all_it_may_still_sends_something_new() {
        // Found by the simulator, swarm seed 994: a node after a slow one sent nothing new for seconds.
        assert_eq!(Flow::fresh(17, 0), 17);
        assert_eq!(Flow::fresh(17, 5), 12);
        assert_eq!(Flow::fresh(17, 17), 1);
        assert_eq!(Flow::fresh(0, 0), 0, "nothing when the sort queues are full");
    }

    #[test]
    fn a_lone_sender_gets_its_maximum_on_every_visit() {
        let mut flow = Flow::default();
        let mut token = token(0, 0);
        for _ in 0..10 {
            let allowance = flow.allowance(&token, Seq(0), 1000, LIMITS);
            assert_eq!(allowance, 17);
            flow.settle(&mut token, allowance, 1000);
        }
        assert_eq!(token.fcc, 17, "what this node sent earlier does not add up");
    }

    #[test]
    fn a_full_window_still_lets_one_frame_through() {
        let flow = Flow::default();
        assert_eq!(flow.allowance(&token(50, 0), Seq(0), 10, LIMITS), 1);
        assert_eq!(flow.allowance(&token(u32::MAX, u32::MAX), Seq(0), 10, LIMITS), 1);
    }

    #[test]
    fn a_ring_that_waits_for_a_slow_member_sends_nothing() {
        let flow = Flow::default();
        let mut token = token(0, 0);
        token.seq = Seq(PLACES_MAX);
        assert_eq!(flow.allowance(&token, Seq(0), 10, LIMITS), 0);
        assert_eq!(flow.allowance(&token, Seq(PLACES_MAX), 10, LIMITS), 17);
    }
}
