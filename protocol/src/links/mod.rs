//! The way between nodes: sealed datagrams on one side, authenticated frames on the other.
//!
//! A peer's session (one life of a node) is used only after it was *proven*: one of its authenticated
//! datagrams echoed this node's own session and a fresh challenge. So nothing recorded earlier can be
//! played back, not even to a node that has just started and remembers nobody.

use std::{net::SocketAddr, time::Duration};

use crate::{
    node::{BootId, Member, NodeId},
    time::Instant,
};

/// Where a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Every peer whose session is proven. Never this node itself.
    All,
    /// One peer. Dropped and counted while its session is not proven.
    Node(NodeId),
}

/// A peer as the configuration names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// Its number.
    pub node: NodeId,
    /// Where it is reached; today one address, later one for each link.
    pub address: SocketAddr,
}

/// What the links need to know.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// This node.
    pub node: NodeId,
    /// How datagrams are protected.
    pub protection: crate::seal::Protection,
    /// The cluster's name; part of every derived key, so clusters with equal keys still do not mix.
    pub cluster_name: String,
    /// All other nodes.
    pub peers: Vec<PeerSettings>,
    /// Largest IP packet that the path carries, in octets (corosync's `netmtu`). At least 576.
    pub netmtu: u16,
    /// Time between two heartbeats to a peer.
    pub heartbeat: Duration,
    /// A peer that was silent for this long is reported as down.
    pub peer_timeout: Duration,
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
    /// Nothing was heard from it for [`LinkSettings::peer_timeout`], or a newer life replaced it.
    PeerDown(Member),
    /// Another live node uses the number of `member`; it is refused.
    DuplicateNode {
        /// The one that stays.
        incumbent: Member,
        /// The life that was refused.
        refused: BootId,
        /// Where the refused one sends from.
        source: SocketAddr,
    },
    /// This node itself is the refused duplicate: `by` says so, and it must stop.
    Refused {
        /// The peer that refused.
        by: Member,
    },
}
