//! One node's place on a Totem single ring.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    links::Destination,
    node::{BootId, Member, NodeId},
    ring_id::{RingId, RingSeq},
    time::Instant,
};

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

/// What the ring starts from.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// This life, random.
    pub id: BootId,
    /// Randomness for nonces and jitter.
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

const _: Option<(Instant, Timer)> = None;

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
