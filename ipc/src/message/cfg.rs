//! The cfg service's messages: the nodes' addresses and links, and commands to the daemons.
//!
//! Commands are told apart, but what they carry is not read: nobody acts on them yet.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::CsError;

pub(super) use decode::decode;

/// What a client asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// Id 0: all links as seen from this node.
    RingStatusGet,
    /// Id 5: where a node is reached.
    GetNodeAddrs {
        /// Which node; 0 is this one.
        nodeid: u32,
    },
    /// Id 6: this node's number.
    LocalGet,
    /// Id 9: the links to one node.
    NodeStatusGet {
        /// Which node.
        nodeid: u32,
        /// Which form the answer shall have: [`NodeStatus::VERSION`] is the only one.
        version: u32,
    },
    /// Ids 1 to 4, 7, 8, 10 and 11.
    Command(Command),
}

/// Requests that are answered with an error code and nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Id 1. corosync itself does not support it any more.
    RingReenable,
    /// Id 2.
    KillNode,
    /// Id 3.
    TryShutdown,
    /// Id 4.
    ReplyToShutdown,
    /// Id 7.
    ReloadConfig,
    /// Id 8.
    ReopenLogFiles,
    /// Id 10.
    TrackStart,
    /// Id 11.
    TrackStop,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RingReenable,
        Self::KillNode,
        Self::TryShutdown,
        Self::ReplyToShutdown,
        Self::ReloadConfig,
        Self::ReopenLogFiles,
        Self::TrackStart,
        Self::TrackStop,
    ];

    /// The ids of the request and of its reply.
    const fn ids(self) -> (i32, i32) {
        match self {
            Self::RingReenable => (1, 1),
            Self::KillNode => (2, 8),
            Self::TryShutdown => (3, 9),
            Self::ReplyToShutdown => (4, 13),
            Self::ReloadConfig => (7, 14),
            Self::ReopenLogFiles => (8, 15),
            Self::TrackStart => (10, 2),
            Self::TrackStop => (11, 3),
        }
    }

    /// Octets of the request.
    const fn bytes(self) -> usize {
        match self {
            Self::KillNode => 288,
            Self::TryShutdown | Self::ReplyToShutdown | Self::TrackStart => 24,
            Self::RingReenable | Self::ReloadConfig | Self::ReopenLogFiles | Self::TrackStop => 16,
        }
    }
}

/// The answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The links, at most [`INTERFACES_MAX`].
    RingStatusGet(Vec<Interface>),
    /// A node's addresses, all of one family. `NotExist` for a node that is not configured.
    GetNodeAddrs(Result<Vec<IpAddr>, CsError>),
    /// This node's number.
    LocalGet {
        /// The number.
        nodeid: u32,
    },
    /// `FailedOperation` for a node that is not configured, `NotSupported` for another version.
    NodeStatusGet(Result<NodeStatus, CsError>),
    /// To a command.
    Command(Command, CsError),
}

/// Most links that a [`Reply::RingStatusGet`] lists.
pub const INTERFACES_MAX: usize = 16;

/// A link as seen from this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// The link's number, a space, and this node's address. At most 127 octets are sent.
    pub name: String,
    /// A character for each node, ascending: `n` for this one, else a digit, the sum of 1 (enabled),
    /// 2 (connected) and 4 (connected dynamically). At most 511 octets are sent.
    pub status: String,
}

/// How a node is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeStatus {
    /// Which node.
    pub nodeid: u32,
    /// Whether any link reaches it.
    pub reachable: bool,
    /// Its links from link 0 on, at most [`Self::LINKS_MAX`]. `None` is a link that is not configured.
    pub links: Vec<Option<LinkStatus>>,
}

impl NodeStatus {
    /// The only version there is.
    pub const VERSION: u32 = 1;
    /// Links that a message has room for.
    pub const LINKS_MAX: usize = 8;
    /// Octets of the message.
    const BYTES: usize = 40 + Self::LINKS_MAX * LinkStatus::BYTES;
}

/// A link to a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkStatus {
    /// Whether the node answers on it.
    pub connected: bool,
    /// Largest frame in octets that it carries.
    pub mtu: u32,
    /// This node's address.
    pub source: IpAddr,
    /// The other node's address.
    pub destination: IpAddr,
}

impl LinkStatus {
    /// Octets of a link in a message.
    const BYTES: usize = 520;
}

/// What stands in the headers of requests and replies; commands have theirs from [`Command::ids`].
mod id {
    pub(super) const RING_STATUS_GET: i32 = 0;
    pub(super) const GET_NODE_ADDRS: i32 = 5;
    pub(super) const LOCAL_GET: i32 = 6;
    pub(super) const NODE_STATUS_GET: i32 = 9;

    pub(super) const REPLY_RING_STATUS_GET: i32 = 0;
    pub(super) const REPLY_GET_NODE_ADDRS: i32 = 11;
    pub(super) const REPLY_LOCAL_GET: i32 = 12;
    pub(super) const REPLY_NODE_STATUS_GET: i32 = 16;
}

/// Where the texts of a ring status start, and how long each is with its terminating zero.
mod ring_status {
    pub(super) const NAMES: usize = 32;
    pub(super) const NAME_BYTES: usize = 128;
    pub(super) const STATUSES: usize = NAMES + super::INTERFACES_MAX * NAME_BYTES;
    pub(super) const STATUS_BYTES: usize = 512;
    pub(super) const BYTES: usize = STATUSES + super::INTERFACES_MAX * STATUS_BYTES;
}

/// `AF_INET` and `AF_INET6` on Linux.
mod family {
    pub(super) const IPV4: u32 = 2;
    pub(super) const IPV6: u32 = 10;
}

/// Octets of an address in a message, of either family.
const ADDRESS_BYTES: usize = 16;
