//! Sealed datagrams waiting to be sent.

use std::{net::SocketAddr, ops::Range};

/// Whom a datagram goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recipients {
    /// Every address in [`TransmitBatch::peers`].
    All,
    /// This address.
    One(SocketAddr),
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// Whom it goes to.
    pub to: Recipients,
    /// Where its first octet lies in [`TransmitBatch::bytes`].
    pub start: usize,
    /// Its length in octets.
    pub len: usize,
}

/// Datagrams in the order in which they must leave, in one buffer.
///
/// Datagrams that follow each other lie next to each other in the buffer, so runs of equal length to
/// the same recipients can go out in one system call with UDP segmentation. An exception is a datagram
/// that goes to several single addresses: its transmits share one place.
#[derive(Debug, Default)]
pub struct TransmitBatch {
    bytes: Vec<u8>,
    transmits: Vec<Transmit>,
    peers: Vec<SocketAddr>,
}

impl TransmitBatch {
    /// The datagrams' octets.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The datagrams, in order.
    pub fn transmits(&self) -> &[Transmit] {
        &self.transmits
    }

    /// The addresses of the proven peers, ascending by node: what [`Recipients::All`] means now.
    pub fn peers(&self) -> &[SocketAddr] {
        &self.peers
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.transmits.is_empty()
    }

    /// Forgets the datagrams and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.transmits.clear();
    }

    /// The buffer, to append a datagram to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Queues the datagram at `place`.
    pub(super) fn push(&mut self, to: Recipients, place: Range<usize>) {
        self.transmits.push(Transmit { to, start: place.start, len: place.len() });
    }

    /// Changes what [`Recipients::All`] means.
    pub(super) fn set_peers(&mut self, peers: impl Iterator<Item = SocketAddr>) {
        self.peers.clear();
        self.peers.extend(peers);
    }
}
