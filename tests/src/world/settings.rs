//! The settings of the simulated nodes.

use std::time::Duration;

use protocol::{
    links::{LinkSettings, PeerSettings},
    ring::RingSettings,
    seal::{ClusterKey, Protection},
};
use services::{MESSAGE_BYTES_MAX, executive::ExecutiveSettings};

use super::Options;
use crate::node::Identity;

/// The timers; the names are those of `RingSettings` and `LinkSettings`.
#[expect(missing_docs, reason = "documented where they are used")]
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub token_timeout: Duration,
    pub token_retransmit: Duration,
    pub token_hold: Duration,
    pub join: Duration,
    pub consensus: Duration,
    pub merge: Duration,
    pub listen: Duration,
    pub heartbeat: Duration,
    pub peer_timeout: Duration,
}

impl Timing {
    /// Timers for this token timeout, in the proportions that corosync.conf(5) gives.
    pub fn for_token(token_timeout: Duration) -> Self {
        let token_retransmit = token_timeout * 10 / 42;
        Self {
            token_timeout,
            token_retransmit,
            token_hold: token_retransmit * 6 / 10,
            join: Duration::from_millis(50),
            consensus: token_timeout * 12 / 10,
            merge: Duration::from_millis(200),
            listen: Duration::from_millis(300),
            heartbeat: Duration::from_millis(100),
            peer_timeout: token_timeout.max(Duration::from_millis(400)),
        }
    }

    /// Within this time, whatever happened before, connected nodes are in one ring and synchronised.
    pub fn settle_max(&self) -> Duration {
        (self.token_timeout + self.consensus + 2 * self.join + Duration::from_secs(1)) * 4
            + 2 * (self.merge + self.peer_timeout)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::for_token(Duration::from_millis(1000))
    }
}

/// The settings of one of these nodes.
pub fn settings(options: &Options, nodes: &[&Identity], index: usize) -> ExecutiveSettings {
    let own = nodes[index];
    let peers: Vec<PeerSettings> = nodes
        .iter()
        .filter(|peer| peer.id != own.id && peer.expected)
        .map(|peer| PeerSettings { node: peer.id, address: peer.address })
        .collect();
    let timing = options.timing;
    let links = LinkSettings {
        node: own.id,
        protection: protection(&options.protection, own.key),
        cluster_name: "simulated".to_owned(),
        peers,
        netmtu: options.netmtu,
        heartbeat: timing.heartbeat,
        peer_timeout: timing.peer_timeout,
    };
    let ring = RingSettings {
        node: own.id,
        token_timeout: timing.token_timeout,
        token_retransmit: timing.token_retransmit,
        token_hold: timing.token_hold,
        join: timing.join,
        consensus: timing.consensus,
        merge: timing.merge,
        listen: timing.listen,
        window_size: options.window_size,
        max_messages: options.max_messages,
        seqno_unchanged_const: 30,
        frame_bytes_max: links.frame_bytes_max(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        send_queue_bytes_max: 4 << 20,
        peers: links.peers.len(),
    };
    ExecutiveSettings { ring, links, address: own.address }
}

fn protection(protection: &Protection, key: u8) -> Protection {
    let other = |shared: &ClusterKey| {
        let mut octets = shared.0.clone();
        octets.iter_mut().for_each(|octet| *octet ^= key);
        ClusterKey(octets)
    };
    match protection {
        Protection::Aes256Gcm(shared) => Protection::Aes256Gcm(other(shared)),
        Protection::HmacSha256(shared) => Protection::HmacSha256(other(shared)),
        Protection::Cleartext => Protection::Cleartext,
    }
}
