//! What is known about one peer.

use std::{net::SocketAddr, time::Duration};

use super::{
    bucket::Bucket,
    frame::{Challenge, LinkFrame},
    stats::PeerStatus,
};
use crate::{
    node::{BootId, NodeId},
    seal::Opener,
    time::Instant,
};

/// A configured peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    /// The life of it that has proven itself.
    pub(super) session: Option<Session>,
    /// Another life that has proven itself while there is a `session`.
    pub(super) contest: Option<Contest>,
    /// Only challenges from here on prove a session. Moves whenever a session ends, so that nothing
    /// recorded from that session can prove it again.
    pub(super) floor: Challenge,
    /// When the next hello or ping is due.
    pub(super) beat: Instant,
    /// How long to wait after the next hello.
    pub(super) hello_wait: Duration,
    /// Bounds what is done for datagrams of unproven sessions.
    pub(super) attempts: Bucket,
    /// When a duplicate was last reported.
    pub(super) reported: Option<Instant>,
}

impl Peer {
    /// Whether it may send from there. IPv6 flow labels and zones do not matter.
    pub(super) fn is_at(&self, source: SocketAddr) -> bool {
        self.address.ip() == source.ip() && self.address.port() == source.port()
    }

    /// The earliest instant at which something must be done about it.
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        let silent = self.session.as_ref().map_or(Instant::NEVER, |session| session.deadline(timeout));
        let contest = self.contest.as_ref().map_or(Instant::NEVER, |contest| contest.due);
        self.beat.min(silent).min(contest)
    }

    pub(super) fn status(&self) -> PeerStatus {
        PeerStatus {
            node: self.node,
            address: self.address,
            session: self.session.as_ref().map(|session| session.opener.member().boot),
            srtt: self.session.as_ref().and_then(|session| session.rtt).map(|rtt| rtt.smoothed),
        }
    }
}

/// A proven life of a peer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) opener: Opener,
    /// When its last datagram came.
    pub(super) heard: Instant,
    /// The latest of this node's challenges that it echoed: it heard us then, or later.
    pub(super) echoed: Challenge,
    /// Its latest challenge, to be echoed.
    pub(super) challenge: Challenge,
    /// How far away it is.
    pub(super) rtt: Option<Rtt>,
}

impl Session {
    /// When it is to be given up: after `timeout` without hearing it, and after twice as long without
    /// a sign that it hears us. The second is more patient because it needs both ways.
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        (self.heard + timeout).min(self.echoed.issued() + timeout * 2)
    }

    /// How long its answer to a ping may take before it counts as dead, while another life waits to
    /// take its place.
    pub(super) fn patience(&self) -> Duration {
        let usual = self.rtt.map_or(Duration::ZERO, |rtt| rtt.smoothed * 2 + rtt.variation * 4);
        usual.max(PATIENCE_MIN)
    }
}

/// The least time a session gets to answer while another life of its node waits: long enough for a
/// busy machine to schedule the daemon, short beside the time in which a ring forms.
const PATIENCE_MIN: Duration = Duration::from_millis(30);

/// Two lives of one node, both alive so far as anybody can tell.
///
/// After a restart the old life stays silent, and the new one takes its place at the end. If the
/// old one answers one of the pings that are sent meanwhile, both live: the node id is used twice, the
/// old one stays and the new one is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    /// The new life's latest claim.
    pub(super) claim: Claim,
    /// An echo of this challenge or a later one shows that the old life is alive.
    pub(super) after: Challenge,
    /// When to ask again, or to end it.
    pub(super) due: Instant,
    /// Time between two questions.
    pub(super) wait: Duration,
    /// How often the old life will still be asked.
    pub(super) asks_left: u32,
}

impl Contest {
    /// How often the old life is asked: more than once, because a question can get lost.
    pub(super) const ASKS: u32 = 3;
}

/// An authentic link frame of a session that is not proven, or not to this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) boot: BootId,
    /// Where it came from.
    pub(super) source: SocketAddr,
    /// Whether that is the peer's configured address. Only from there it can replace a session.
    pub(super) listed: bool,
    pub(super) number: u64,
    pub(super) frame: LinkFrame,
}

/// A round-trip time, smoothed as in RFC 6298.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rtt {
    pub(super) smoothed: Duration,
    pub(super) variation: Duration,
}

impl Rtt {
    /// With one more measurement.
    pub(super) fn update(before: Option<Self>, sample: Duration) -> Self {
        match before {
            None => Self { smoothed: sample, variation: sample / 2 },
            Some(Self { smoothed, variation }) => Self {
                smoothed: (smoothed * 7 + sample) / 8,
                variation: (variation * 3 + smoothed.abs_diff(sample)) / 4,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_smoothed() {
        let ms = Duration::from_millis;
        let first = Rtt::update(None, ms(8));
        assert_eq!(first, Rtt { smoothed: ms(8), variation: ms(4) });
        assert_eq!(Rtt::update(Some(first), ms(16)), Rtt { smoothed: ms(9), variation: ms(5) });
    }
}
