//! Time: greeting who is down, beating to who is up, giving up who is silent.

use std::time::Duration;

use super::{
    LinkEvent, Links, Recipients,
    frame::{Challenge, Echo, Kind, LinkFrame},
};
use crate::{seal::Class, time::Instant};

/// The wait after a first hello; doubles up to the time between heartbeats. Short, so that a lost
/// hello does not delay a start by much.
pub(super) const HELLO_WAIT_FIRST: Duration = Duration::from_millis(20);

/// How old a challenge may be whose echo proves something.
pub(super) const CHALLENGE_AGE_MAX: Duration = Duration::from_secs(5);

impl Links {
    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.refused {
            return;
        }
        for index in 0..self.peers.len() {
            self.settle_contest(now, index);
            self.give_up_silent(now, index);
        }
        self.beat(now);
        self.greet(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.refused {
            return None;
        }
        self.peers.iter().map(|peer| peer.deadline(self.peer_timeout)).min()
    }

    fn give_up_silent(&mut self, now: Instant, index: usize) {
        let silent = |session: &super::peer::Session| session.deadline(self.peer_timeout) <= now;
        if self.peers[index].session.as_ref().is_some_and(silent) {
            self.end_session(now, index);
        }
    }

    /// The session of a peer is over. Whatever it sent before proves nothing from here on.
    pub(super) fn end_session(&mut self, now: Instant, index: usize) {
        let peer = &mut self.peers[index];
        let Some(session) = peer.session.take() else { return };
        peer.contest = None;
        peer.floor = self.challenges.next;
        peer.hello_wait = HELLO_WAIT_FIRST;
        peer.beat = now;
        let member = session.opener.member();
        tracing::info!(node = %member.node, session = %member.boot, "peer is down");
        self.events.push_back(LinkEvent::PeerDown(member));
        self.refresh_batch();
    }

    /// Tells the batch who is proven.
    pub(super) fn refresh_batch(&mut self) {
        let proven = self.peers.iter().filter(|peer| peer.session.is_some());
        self.batch.set_peers(proven.map(|peer| peer.address));
    }

    /// A ping to each proven peer that is due.
    fn beat(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            if self.peers[index].beat <= now && self.peers[index].session.is_some() {
                self.ping(now, index);
                self.peers[index].beat = now + self.jitter.around(self.heartbeat);
            }
        }
    }

    /// A ping to a proven peer.
    pub(super) fn ping(&mut self, now: Instant, index: usize) {
        let peer = &self.peers[index];
        let Some(session) = &peer.session else { return };
        let echo = Echo { session: session.opener.member().boot, challenge: session.challenge };
        self.say(now, peer.node, peer.address, Kind::Ping(echo));
    }

    /// One hello for all unproven peers that are due.
    fn greet(&mut self, now: Instant) {
        let mut place = None;
        for index in 0..self.peers.len() {
            if self.peers[index].beat > now || self.peers[index].session.is_some() {
                continue;
            }
            let place = place.get_or_insert_with(|| {
                let hello = LinkFrame { kind: Kind::Hello, challenge: self.challenges.issue(now) };
                self.sealer.seal(Class::Link, None, &hello.encode(), self.batch.buffer())
            });
            self.stats.sent.count(1, place.len());
            let peer = &mut self.peers[index];
            self.batch.push(Recipients::One(peer.address), place.clone());
            peer.beat = now + self.jitter.around(peer.hello_wait);
            peer.hello_wait = (peer.hello_wait * 2).min(self.heartbeat);
        }
    }
}

/// Issues challenges.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    /// None from here on was issued yet.
    pub(super) next: Challenge,
}

impl Challenges {
    /// A challenge, larger than all before it.
    pub(super) fn issue(&mut self, now: Instant) -> Challenge {
        let challenge = self.next.max(Challenge(now.as_nanos()));
        self.next = Challenge(challenge.0.saturating_add(1));
        challenge
    }

    /// Whether `challenge` was issued from `floor` on and not long ago.
    pub(super) fn is_fresh(&self, challenge: Challenge, floor: Challenge, now: Instant) -> bool {
        (floor..self.next).contains(&challenge) && now.since(challenge.issued()) <= CHALLENGE_AGE_MAX
    }
}

/// Spreads heartbeats, so that nodes that started together do not beat together.
#[derive(Debug)]
pub(super) struct Jitter {
    state: u64,
}

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A tenth more or less than `wait`.
    pub(super) fn around(&mut self, wait: Duration) -> Duration {
        let thousandths = 900 + u32::try_from(self.next() % 201).unwrap_or(100);
        wait * thousandths / 1_000
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    pub(super) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
