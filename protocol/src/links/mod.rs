//! The way between nodes: sealed datagrams on one side, authenticated frames on the other.
//!
//! A peer's session (one life of a node) is used only after it was *proven*: one of its authenticated
//! datagrams echoed this node's own session and a fresh challenge. So nothing recorded earlier can be
//! played back, not even to a node that has just started and remembers nobody.
//!
//! ```text
//!   A starts                          B runs
//!     | hello(challenge a) ------------> |     authentic, but it could be old: nothing is remembered
//!     | <----- pong(b, echo of A and a)  |
//!   B is up                              |
//!     | ping(a', echo of B and b) -----> |
//!     |                                A is up
//!     | <----- pong(b', echo of A and a')|     round trip measured
//! ```
//!
//! Challenges carry their own time of issue, so proving needs no memory for those who prove nothing.
//! What costs something for an unproven sender is limited for each peer; nothing unauthenticated is
//! answered, and no answer is larger than what it answers.

mod batch;
mod bucket;
mod error;
pub mod frame;
mod handshake;
mod heartbeat;
mod peer;
mod settings;
mod stats;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

pub use batch::{Recipients, Transmit, TransmitBatch};
pub use error::DatagramError;
pub use frame::LinkFrameError;
pub use settings::{LinkSettings, LinkSettingsError, PeerSettings};
pub use stats::{Drops, LinkStats, PeerStatus, Traffic};

use crate::{
    node::{BootId, Member, NodeId},
    seal::{Class, ClusterSecret, Header, Sealed, Sealer},
    time::Instant,
};
use bucket::Bucket;
use frame::{Challenge, LinkFrame};
use heartbeat::{Challenges, Jitter};
use peer::Peer;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Every peer whose session is proven. Never this node itself.
    All,
    /// One peer. Dropped and counted while its session is not proven.
    Node(NodeId),
}

/// A frame that came out of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    /// Who sealed it.
    pub from: Member,
    /// The plain frame.
    pub frame: &'a [u8],
}

/// What changed about a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkEvent {
    /// The session is proven; frames flow both ways.
    PeerUp(Member),
    /// Nothing was heard from it for [`LinkSettings::peer_timeout`], it showed no sign of hearing this
    /// node for twice as long, or a newer life replaced it.
    PeerDown(Member),
    /// Another live node uses the number of `incumbent`; it is refused. Reported at most every ten
    /// seconds for each peer.
    DuplicateNode {
        /// The one that stays. It may be this node itself.
        incumbent: Member,
        /// The life that was refused.
        refused: BootId,
        /// Where the refused one sends from.
        source: SocketAddr,
    },
    /// This node itself is the refused duplicate: `by` says so, and it must stop. Its links are dead
    /// from here on.
    Refused {
        /// The peer that refused.
        by: Member,
    },
}

/// One node's links to all its peers.
///
/// After each `handle_*`, drain [`poll_event`](Self::poll_event); send what lies in
/// [`transmits`](Self::transmits) and clear it, also after [`send`](Self::send); then sleep until
/// [`poll_timeout`](Self::poll_timeout). `now` never goes backwards.
#[derive(Debug)]
pub struct Links {
    me: Member,
    cluster: ClusterSecret,
    sealer: Sealer,
    /// Ascending by node.
    peers: Vec<Peer>,
    heartbeat: Duration,
    peer_timeout: Duration,
    frame_bytes_max: usize,
    challenges: Challenges,
    jitter: Jitter,
    batch: TransmitBatch,
    events: VecDeque<LinkEvent>,
    /// Bounds what is done for datagrams from unconfigured addresses, or with this node's number.
    strangers: Bucket,
    /// When a duplicate of this node was last reported.
    namesake_reported: Option<Instant>,
    /// This node is a duplicate and keeps silent.
    refused: bool,
    stats: LinkStats,
}

impl Links {
    /// Links of a node that has just started; all peers are down and due to be greeted now.
    ///
    /// `settings` should have passed [`LinkSettings::check`]. `boot` must be random and never used
    /// before with the same key: packet numbers start at zero. `seed` is for timing only.
    pub fn new(settings: LinkSettings, boot: BootId, seed: u64, now: Instant) -> Self {
        let me = Member { node: settings.node, boot };
        let cluster = ClusterSecret::new(&settings.protection, &settings.cluster_name);
        let mut peers: Vec<Peer> = settings
            .peers
            .iter()
            .filter(|peer| peer.node != me.node)
            .map(|peer| Peer {
                node: peer.node,
                address: peer.address,
                session: None,
                contest: None,
                floor: Challenge(0),
                beat: now,
                hello_wait: heartbeat::HELLO_WAIT_FIRST,
                attempts: Bucket::new(ATTEMPT_REFILL, ATTEMPT_BURST, now),
                reported: None,
            })
            .collect();
        peers.sort_by_key(|peer| peer.node);
        peers.dedup_by_key(|peer| peer.node);
        Self {
            me,
            sealer: Sealer::new(&cluster, me),
            cluster,
            peers,
            heartbeat: settings.heartbeat,
            peer_timeout: settings.peer_timeout,
            frame_bytes_max: settings.frame_bytes_max(),
            challenges: Challenges::default(),
            jitter: Jitter::new(seed),
            batch: TransmitBatch::default(),
            events: VecDeque::new(),
            strangers: Bucket::new(STRANGER_REFILL, STRANGER_BURST, now),
            namesake_reported: None,
            refused: false,
            stats: LinkStats::default(),
        }
    }

    /// The largest frame that [`send`](Self::send) takes, in octets.
    pub const fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    /// Opens a datagram in place. `None` means that it was link traffic and is dealt with; an answer
    /// may lie in [`transmits`](Self::transmits).
    ///
    /// # Errors
    /// Why it was dropped; also counted in [`stats`](Self::stats).
    pub fn handle_datagram<'d>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Result<Option<Opened<'d>>, DatagramError> {
        self.stats.received.count(1, datagram.len());
        self.open(now, source, datagram).inspect_err(|error| self.stats.dropped.count(*error))
    }

    /// Seals `frame` once, behind everything that already waits.
    ///
    /// Dropped and counted when there is nobody to send to, or when it is larger than
    /// [`frame_bytes_max`](Self::frame_bytes_max).
    pub fn send(&mut self, to: Destination, frame: &[u8]) {
        if frame.len() > self.frame_bytes_max {
            self.stats.too_large += 1;
            return;
        }
        let recipients = match to {
            Destination::All if !self.batch.peers().is_empty() => Some((None, Recipients::All)),
            Destination::All => None,
            Destination::Node(node) => self
                .peer_index(node)
                .map(|index| &self.peers[index])
                .filter(|peer| peer.session.is_some())
                .map(|peer| (Some(node), Recipients::One(peer.address))),
        };
        match recipients {
            Some((node, recipients)) if !self.refused => self.post(Class::Frame, node, recipients, frame),
            _ => self.stats.unreachable += 1,
        }
    }

    /// Datagrams waiting to be sent; the caller clears them when they are.
    pub const fn transmits(&mut self) -> &mut TransmitBatch {
        &mut self.batch
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// What was counted so far.
    pub const fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// All configured peers as they are now, ascending by node.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> {
        self.peers.iter().map(Peer::status)
    }

    /// Cheap checks first, then what needs the key; a session that is not proven goes its own way.
    fn open<'d>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Result<Option<Opened<'d>>, DatagramError> {
        let sealed = Sealed::parse(datagram)?;
        let Header { sender: node, session: boot, class, .. } = sealed.header;
        self.filter(&sealed.header)?;
        if node == self.me.node {
            return self.on_namesake(now, source, sealed).map(|()| None);
        }
        let index = self.peer_index(node).ok_or(DatagramError::UnknownSender { node })?;
        let peer = &mut self.peers[index];
        if !peer.is_at(source) {
            return Err(self.on_stranger(now, source, index, sealed));
        }
        let Some(session) = peer.session.as_mut().filter(|session| session.opener.member().boot == boot)
        else {
            return self.on_unproven(now, source, index, sealed).map(|()| None);
        };
        let from = session.opener.member();
        let frame: &'d [u8] =
            session.opener.open(sealed, self.me.node).map_err(|cause| DatagramError::Open { node, cause })?;
        session.heard = now;
        match class {
            Class::Frame => Ok(Some(Opened { from, frame })),
            Class::Link => {
                let frame =
                    LinkFrame::decode(frame).map_err(|cause| DatagramError::LinkFrame { node, cause })?;
                self.on_proven(now, index, frame).map(|()| None)
            }
        }
    }

    /// Whether a header is of this cluster and its protection.
    fn filter(&self, header: &Header) -> Result<(), DatagramError> {
        let (ours, theirs) = (self.cluster.tag(), header.cluster_tag);
        if ours != theirs {
            return Err(DatagramError::OtherCluster { ours, theirs });
        }
        let node = header.sender;
        let (ours, theirs) = (self.cluster.suite(), header.suite);
        if ours != theirs {
            return Err(DatagramError::OtherSuite { node, ours, theirs });
        }
        if header.epoch != 0 {
            return Err(DatagramError::OtherEpoch { node, epoch: header.epoch });
        }
        Ok(())
    }

    fn peer_index(&self, node: NodeId) -> Option<usize> {
        self.peers.binary_search_by_key(&node, |peer| peer.node).ok()
    }

    /// Seals a frame into the batch, for `node` only if there is one.
    fn post(&mut self, class: Class, node: Option<NodeId>, to: Recipients, frame: &[u8]) {
        let place = self.sealer.seal(class, node, frame, self.batch.buffer());
        let copies = match to {
            Recipients::All => self.batch.peers().len(),
            Recipients::One(_) => 1,
        };
        self.stats.sent.count(copies, place.len());
        self.batch.push(to, place);
    }
}

/// Attempts to open datagrams that claim to be of an unproven session of one peer: this many at once,
/// and one more every millisecond. An attempt costs some microseconds, so a flood with a peer's
/// address costs less than a hundredth of a core, and a node that starts meanwhile still gets through.
const ATTEMPT_BURST: u32 = 1_000;
const ATTEMPT_REFILL: Duration = Duration::from_millis(1);

/// The same for datagrams from elsewhere, for all of them together. They can only tell of a duplicate
/// node id.
const STRANGER_BURST: u32 = 100;
const STRANGER_REFILL: Duration = Duration::from_millis(20);
