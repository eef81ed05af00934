//! What the ring needs to know.

use std::time::Duration;

use crate::node::{BootId, NodeId};
use crate::ring_id::RingSeq;

/// What the ring starts from.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// This life, random.
    pub id: BootId,
    /// Randomness for nonces.
    pub seed: u64,
    /// The highest ring sequence on stable storage.
    pub ring_seq: RingSeq,
}

/// What the ring needs to know. `corosync.conf(5)` has the same names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RingSettings {
    /// This node.
    pub node: NodeId,
    /// How long a node waits for the token before it declares the ring lost.
    pub token_timeout: Duration,
    /// A token that was passed on is sent again after this long without a sign that it arrived.
    pub token_retransmit: Duration,
    /// How long the representative keeps the token of an idle ring.
    pub token_hold: Duration,
    /// Time between two joins while gathering.
    pub join: Duration,
    /// How long to wait for consensus before the silent are left out.
    pub consensus: Duration,
    /// Time between two announcements of the ring to nodes outside it.
    pub merge: Duration,
    /// At the start, wait this long for configured peers before the first join.
    pub listen: Duration,
    /// Frames that the whole ring may send in one rotation.
    pub window_size: u32,
    /// Frames that one node may send in one visit of the token.
    pub max_messages: u32,
    /// Idle rotations before the token is held.
    pub seqno_unchanged_const: u32,
    /// Largest frame in octets: what fits sealed into one datagram.
    pub frame_bytes_max: usize,
    /// Largest message in octets, head and body together.
    pub message_bytes_max: usize,
    /// Octets of messages that may wait for the token.
    pub send_queue_bytes_max: usize,
    /// How many configured nodes there are besides this one. Nobody listens for them when zero.
    pub peers: usize,
}
