//! What the links are told, and which of it cannot be.

use std::{net::SocketAddr, time::Duration};

use crate::{
    node::NodeId,
    seal::{OVERHEAD_BYTES, Protection},
};

/// A peer as the configuration names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSettings {
    /// Its number.
    pub node: NodeId,
    /// Where it is reached, and the only place it may send from; today one address, later one for
    /// each link.
    pub address: SocketAddr,
}

/// What the links need to know.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// This node.
    pub node: NodeId,
    /// How datagrams are protected.
    pub protection: Protection,
    /// The cluster's name; part of every derived key, so clusters with equal keys still do not mix.
    pub cluster_name: String,
    /// All other nodes.
    pub peers: Vec<PeerSettings>,
    /// Largest IP packet that the path carries, in octets (corosync's `netmtu`). At least 576; 1 500
    /// by default.
    pub netmtu: u16,
    /// Time between two heartbeats to a peer. 100 ms by default; at least 10 ms, at most 2 s.
    pub heartbeat: Duration,
    /// A peer that was silent for this long is reported as down. One second by default; at least
    /// three heartbeats, so that one lost datagram is not taken for a dead node.
    pub peer_timeout: Duration,
}

impl LinkSettings {
    /// Other nodes that can be configured.
    pub const PEERS_MAX: usize = 128;
    /// The smallest `netmtu`: what every IPv4 host must accept (RFC 791).
    pub const NETMTU_MIN: u16 = 576;
    /// The default `netmtu`: Ethernet's.
    pub const NETMTU_DEFAULT: u16 = 1_500;
    /// The default time between two heartbeats.
    pub const HEARTBEAT_DEFAULT: Duration = Duration::from_millis(100);
    /// The shortest time between two heartbeats.
    pub const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
    /// The longest time between two heartbeats. A heartbeat echoes the last challenge received, which
    /// must still be fresh then.
    pub const HEARTBEAT_MAX: Duration = Duration::from_secs(2);
    /// The default silence after which a peer is down.
    pub const PEER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
    /// Heartbeats that must fit into the peer timeout.
    pub const HEARTBEATS_PER_TIMEOUT: u32 = 3;
    /// The shortest cluster key in octets.
    pub const KEY_BYTES_MIN: usize = 32;

    /// Settings with the defaults for everything that has one.
    pub fn new(node: NodeId, protection: Protection, cluster_name: String, peers: Vec<PeerSettings>) -> Self {
        Self {
            node,
            protection,
            cluster_name,
            peers,
            netmtu: Self::NETMTU_DEFAULT,
            heartbeat: Self::HEARTBEAT_DEFAULT,
            peer_timeout: Self::PEER_TIMEOUT_DEFAULT,
        }
    }

    /// The largest frame that, sealed, fits into one IP packet of `netmtu` octets.
    pub fn frame_bytes_max(&self) -> usize {
        let udp = if self.peers.iter().any(|peer| peer.address.is_ipv6()) { 48 } else { 28 };
        usize::from(self.netmtu).saturating_sub(udp + OVERHEAD_BYTES)
    }

    /// Whether these settings can be.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), LinkSettingsError> {
        if let Some(key) = self.protection.key() {
            let have = key.0.len();
            if have < Self::KEY_BYTES_MIN {
                return Err(LinkSettingsError::KeyTooShort { have });
            }
        }
        if self.netmtu < Self::NETMTU_MIN {
            return Err(LinkSettingsError::NetmtuTooSmall { netmtu: self.netmtu });
        }
        if !(Self::HEARTBEAT_MIN..=Self::HEARTBEAT_MAX).contains(&self.heartbeat) {
            return Err(LinkSettingsError::Heartbeat { heartbeat: self.heartbeat });
        }
        let min = self.heartbeat * Self::HEARTBEATS_PER_TIMEOUT;
        if self.peer_timeout < min {
            return Err(LinkSettingsError::PeerTimeoutTooShort { peer_timeout: self.peer_timeout, min });
        }
        self.check_peers()
    }

    fn check_peers(&self) -> Result<(), LinkSettingsError> {
        if self.peers.len() > Self::PEERS_MAX {
            return Err(LinkSettingsError::TooManyPeers { have: self.peers.len() });
        }
        for (i, peer) in self.peers.iter().enumerate() {
            let PeerSettings { node, address } = *peer;
            if node == self.node {
                return Err(LinkSettingsError::OwnNode { node });
            }
            if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
                return Err(LinkSettingsError::Address { node, address });
            }
            for other in &self.peers[..i] {
                if other.node == node {
                    return Err(LinkSettingsError::SameNode { node });
                }
                if other.address == address {
                    return Err(LinkSettingsError::SameAddress { node, other: other.node, address });
                }
            }
        }
        Ok(())
    }
}

/// Why link settings cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LinkSettingsError {
    /// A key that could be guessed.
    #[error("the key has {have} octets, fewer than {}", LinkSettings::KEY_BYTES_MIN)]
    KeyTooShort {
        /// Its length in octets.
        have: usize,
    },
    /// Packets too small for the frames that must fit.
    #[error("netmtu is {netmtu}, less than {}", LinkSettings::NETMTU_MIN)]
    NetmtuTooSmall {
        /// The value.
        netmtu: u16,
    },
    /// A heartbeat outside its range.
    #[error(
        "heartbeat is {heartbeat:?}, not between {:?} and {:?}",
        LinkSettings::HEARTBEAT_MIN,
        LinkSettings::HEARTBEAT_MAX
    )]
    Heartbeat {
        /// The value.
        heartbeat: Duration,
    },
    /// One or two lost datagrams would take a peer down.
    #[error("peer timeout is {peer_timeout:?}, less than three heartbeats ({min:?})")]
    PeerTimeoutTooShort {
        /// The value.
        peer_timeout: Duration,
        /// The least possible.
        min: Duration,
    },
    /// More peers than supported.
    #[error("{have} peers are more than {}", LinkSettings::PEERS_MAX)]
    TooManyPeers {
        /// How many.
        have: usize,
    },
    /// A peer with this node's own number.
    #[error("node {node} is this node and cannot be its own peer")]
    OwnNode {
        /// The number.
        node: NodeId,
    },
    /// Two peers with one number.
    #[error("node {node} is listed twice")]
    SameNode {
        /// The number.
        node: NodeId,
    },
    /// Two peers at one address.
    #[error("node {node} and node {other} have one address, {address}")]
    SameAddress {
        /// The later one.
        node: NodeId,
        /// The earlier one.
        other: NodeId,
        /// Their address.
        address: SocketAddr,
    },
    /// An address that no node can have.
    #[error("node {node} cannot be reached at {address}")]
    Address {
        /// The node.
        node: NodeId,
        /// Its address.
        address: SocketAddr,
    },
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::seal::ClusterKey;

    fn peer(node: u32, address: &str) -> PeerSettings {
        PeerSettings { node: NodeId::new(node).unwrap(), address: address.parse().unwrap() }
    }

    fn settings() -> LinkSettings {
        LinkSettings::new(
            NodeId::new(1).unwrap(),
            Protection::Aes256Gcm(ClusterKey(Zeroizing::new(vec![7; 32]))),
            "alpha".to_owned(),
            vec![peer(2, "10.0.0.2:5405"), peer(3, "10.0.0.3:5405")],
        )
    }

    #[test]
    fn the_defaults_pass() {
        assert_eq!(settings().check(), Ok(()));
        let cleartext = LinkSettings { protection: Protection::Cleartext, ..settings() };
        assert_eq!(cleartext.check(), Ok(()));
    }

    #[test]
    fn each_rule_is_named() {
        let ms = Duration::from_millis;
        let node = |id| NodeId::new(id).unwrap();
        let check = |change: &dyn Fn(&mut LinkSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        let short = Protection::HmacSha256(ClusterKey(Zeroizing::new(vec![7; 31])));
        assert_eq!(check(&|s| s.protection = short.clone()), LinkSettingsError::KeyTooShort { have: 31 });
        assert_eq!(check(&|s| s.netmtu = 575), LinkSettingsError::NetmtuTooSmall { netmtu: 575 });
        assert_eq!(check(&|s| s.heartbeat = ms(9)), LinkSettingsError::Heartbeat { heartbeat: ms(9) });
        assert_eq!(check(&|s| s.heartbeat = ms(2001)), LinkSettingsError::Heartbeat { heartbeat: ms(2001) });
        assert_eq!(
            check(&|s| s.peer_timeout = ms(299)),
            LinkSettingsError::PeerTimeoutTooShort { peer_timeout: ms(299), min: ms(300) }
        );
        assert_eq!(
            check(&|s| s.peers = (2..131).map(|n| peer(n, &format!("10.0.0.{}:{n}", n % 250 + 1))).collect()),
            LinkSettingsError::TooManyPeers { have: 129 }
        );
        assert_eq!(check(&|s| s.peers[1].node = node(1)), LinkSettingsError::OwnNode { node: node(1) });
        assert_eq!(check(&|s| s.peers[1].node = node(2)), LinkSettingsError::SameNode { node: node(2) });
        assert_eq!(
            check(&|s| s.peers[1].address = s.peers[0].address),
            LinkSettingsError::SameAddress {
                node: node(3),
                other: node(2),
                address: "10.0.0.2:5405".parse().unwrap()
            }
        );
        for address in ["10.0.0.3:0", "0.0.0.0:5405", "[::]:5405", "224.0.0.1:5405", "[ff02::1]:5405"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(
                check(&|s| s.peers[1].address = address),
                LinkSettingsError::Address { node: node(3), address }
            );
        }
    }

    #[test]
    fn a_full_frame_fills_the_packet() {
        assert_eq!(settings().frame_bytes_max(), 1_500 - 28 - 28 - 16);
        let v6 = LinkSettings { peers: vec![peer(2, "[fd00::2]:5405")], ..settings() };
        assert_eq!(v6.frame_bytes_max(), 1_500 - 48 - 28 - 16);
    }
}
