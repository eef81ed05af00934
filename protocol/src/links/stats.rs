//! Counters. They only grow and wrap after 2^64.

use std::{net::SocketAddr, time::Duration};

use super::DatagramError;
use crate::{
    node::{BootId, NodeId},
    seal::{HeaderError, OpenError, replay::ReplayError},
};

/// Datagrams and their octets, headers and tags included, IP and UDP not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// How many octets in all.
    pub octets: u64,
}

impl Traffic {
    pub(super) fn count(&mut self, datagrams: usize, octets: usize) {
        self.datagrams = self.datagrams.wrapping_add(datagrams as u64);
        self.octets = self.octets.wrapping_add(datagrams as u64 * octets as u64);
    }
}

/// What the links counted since the node started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkStats {
    /// Everything that came in, good or bad.
    pub received: Traffic,
    /// Everything handed out; a datagram for all counts once for each peer.
    pub sent: Traffic,
    /// Datagrams dropped.
    pub dropped: Drops,
    /// Frames from above that were dropped because their peer is not proven, or nobody is.
    pub unreachable: u64,
    /// Frames from above that were dropped because they are too large: a fault of ours.
    pub too_large: u64,
}

/// Datagrams dropped, by [`DatagramError`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drops {
    /// Too short to be a datagram of ours.
    pub too_short: u64,
    /// A header of another version, or noise.
    pub header: u64,
    /// Of another cluster.
    pub other_cluster: u64,
    /// Protected by another suite.
    pub other_suite: u64,
    /// Under a key that is not known.
    pub other_epoch: u64,
    /// From a number that is not configured.
    pub unknown_sender: u64,
    /// From an address that is not its claimed sender's.
    pub unlisted_source: u64,
    /// What this node sent itself.
    pub reflected: u64,
    /// From a session that is not proven.
    pub unproven: u64,
    /// Not looked at, because too many like it came before.
    pub limited: u64,
    /// Seen before.
    pub replayed: u64,
    /// Before the window.
    pub too_old: u64,
    /// Impossibly far ahead.
    pub far_ahead: u64,
    /// Not authentic.
    pub forged: u64,
    /// Authentic, but not a link frame.
    pub link_frame: u64,
    /// Authentic, but an echo of what is long gone.
    pub stale: u64,
}

impl Drops {
    pub(super) fn count(&mut self, error: DatagramError) {
        let counter = match error {
            DatagramError::Header(HeaderError::TooShort { .. }) => &mut self.too_short,
            DatagramError::Header(_) => &mut self.header,
            DatagramError::OtherCluster { .. } => &mut self.other_cluster,
            DatagramError::OtherSuite { .. } => &mut self.other_suite,
            DatagramError::OtherEpoch { .. } => &mut self.other_epoch,
            DatagramError::UnknownSender { .. } => &mut self.unknown_sender,
            DatagramError::UnlistedSource { .. } => &mut self.unlisted_source,
            DatagramError::Reflected => &mut self.reflected,
            DatagramError::Unproven { .. } => &mut self.unproven,
            DatagramError::Limited { .. } => &mut self.limited,
            DatagramError::Open { cause: OpenError::Replay(ReplayError::Seen { .. }), .. } => {
                &mut self.replayed
            }
            DatagramError::Open { cause: OpenError::Replay(ReplayError::TooOld { .. }), .. } => {
                &mut self.too_old
            }
            DatagramError::Open { cause: OpenError::Replay(ReplayError::FarAhead { .. }), .. } => {
                &mut self.far_ahead
            }
            DatagramError::Open { cause: OpenError::Forged, .. } => &mut self.forged,
            DatagramError::LinkFrame { .. } => &mut self.link_frame,
            DatagramError::Stale { .. } => &mut self.stale,
        };
        *counter = counter.wrapping_add(1);
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        let Self {
            too_short,
            header,
            other_cluster,
            other_suite,
            other_epoch,
            unknown_sender,
            unlisted_source,
            reflected,
            unproven,
            limited,
            replayed,
            too_old,
            far_ahead,
            forged,
            link_frame,
            stale,
        } = *self;
        [
            too_short,
            header,
            other_cluster,
            other_suite,
            other_epoch,
            unknown_sender,
            unlisted_source,
            reflected,
            unproven,
            limited,
            replayed,
            too_old,
            far_ahead,
            forged,
            link_frame,
            stale,
        ]
        .into_iter()
        .fold(0, u64::wrapping_add)
    }
}

/// A peer as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerStatus {
    /// Its number.
    pub node: NodeId,
    /// Where it is configured.
    pub address: SocketAddr,
    /// Its proven life; `None` while it is down.
    pub session: Option<BootId>,
    /// Its smoothed round-trip time, once measured.
    pub srtt: Option<Duration>,
}
