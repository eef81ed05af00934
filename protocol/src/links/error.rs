//! Why a datagram was dropped.

use std::net::SocketAddr;

use super::LinkFrameError;
use crate::{
    node::NodeId,
    seal::{HeaderError, OpenError, Suite},
};

/// Why a datagram was dropped. Nothing about any peer has changed, except where a variant says so.
///
/// Whoever logs this must limit how often: anybody can send anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DatagramError {
    /// It is no datagram of this protocol.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It belongs to a cluster of another name.
    #[error("cluster tag {theirs:04x} is not {ours:04x}: another cluster_name")]
    OtherCluster {
        /// This cluster's tag.
        ours: u16,
        /// The datagram's.
        theirs: u16,
    },
    /// Its sender is configured with another protection.
    #[error("node {node} uses suite {theirs}, not {ours}: another crypto_cipher or crypto_hash")]
    OtherSuite {
        /// The sender as claimed.
        node: NodeId,
        /// This node's suite.
        ours: Suite,
        /// The datagram's.
        theirs: Suite,
    },
    /// It is sealed with a cluster key that is not known here.
    #[error("node {node} uses key epoch {epoch}, which is unknown")]
    OtherEpoch {
        /// The sender as claimed.
        node: NodeId,
        /// The key's number.
        epoch: u8,
    },
    /// Its sender is not in the configuration.
    #[error("node {node} is not configured")]
    UnknownSender {
        /// The sender as claimed.
        node: NodeId,
    },
    /// It does not come from its sender's address. If it was a link frame that could tell of a
    /// duplicate node id, it was nevertheless looked at, and maybe answered.
    #[error("node {node} is not configured to send from {source_address}")]
    UnlistedSource {
        /// The sender as claimed.
        node: NodeId,
        /// Where it came from.
        source_address: SocketAddr,
    },
    /// This node sent it itself, and the network returned it.
    #[error("this node's own datagram came back")]
    Reflected,
    /// It is from a session of its sender that has proven nothing.
    #[error("node {node} has not yet proven that it is alive in this session")]
    Unproven {
        /// The sender as claimed.
        node: NodeId,
    },
    /// It would need a key to be derived, and too many before it did so in vain.
    #[error("too many datagrams of unproven sessions claim to be node {node}'s")]
    Limited {
        /// The sender as claimed.
        node: NodeId,
    },
    /// It was seen before, or is not authentic.
    #[error("datagram of node {node}: {cause}")]
    Open {
        /// The sender as claimed.
        node: NodeId,
        /// What is wrong with it.
        cause: OpenError,
    },
    /// It is authentic, but its sender made a mistake.
    #[error("node {node}: {cause}")]
    LinkFrame {
        /// The sender; authenticated unless the length is the mistake.
        node: NodeId,
        /// Which mistake.
        cause: LinkFrameError,
    },
    /// It answers what was not asked, or not recently, or asked of another life.
    #[error("node {node} echoes no recent challenge of this node")]
    Stale {
        /// The sender.
        node: NodeId,
    },
}
