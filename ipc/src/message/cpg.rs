//! The cpg service's messages.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::{CsError, RingId};

pub(super) use decode::decode;

/// A group's name: up to 128 octets, compared by length and then by octets. pacemaker counts the
/// terminating NUL as part of the name; an empty name is a group like any other.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupName {
    len: u8,
    octets: [u8; Self::BYTES_MAX],
}

impl GroupName {
    /// Longest name in octets.
    pub const BYTES_MAX: usize = 128;

    /// The name, or `None` if it is longer than [`Self::BYTES_MAX`].
    pub fn new(name: &[u8]) -> Option<Self> {
        let len = u8::try_from(name.len()).ok().filter(|&len| usize::from(len) <= Self::BYTES_MAX)?;
        let mut octets = [0; Self::BYTES_MAX];
        octets.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self { len, octets })
    }

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Display for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.as_bytes();
        write!(f, "{}", name.strip_suffix(b"\0").unwrap_or(name).escape_ascii())
    }
}

impl std::fmt::Debug for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Why a process appears in a configuration change.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Reason {
    /// An entry of the member list.
    #[default]
    Undefined = 0,
    /// It joined.
    Join = 1,
    /// It left.
    Leave = 2,
    /// Its node is gone.
    NodeDown = 3,
    /// Its node came (back) with it.
    NodeUp = 4,
    /// It ended without leaving.
    ProcDown = 5,
}

/// A process in a group.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// Its node.
    pub nodeid: u32,
    /// Its process id there.
    pub pid: u32,
    /// Why it is listed.
    pub reason: Reason,
}

/// Which piece of a message larger than one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Fragment {
    /// The first.
    First = 1,
    /// One in the middle.
    Continued = 2,
    /// The one that completes it.
    Last = 3,
}

/// What to iterate over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum IterationKind {
    /// Each group's name once.
    NameOnly = 1,
    /// The members of one group.
    OneGroup = 2,
    /// All members of all groups.
    All = 3,
}

impl Address {
    /// Octets of an address in a message.
    const BYTES: usize = 24;
}

/// Most members that a configuration change or a totem configuration change lists: corosync's
/// library copies into arrays of this size without a check.
pub const MEMBERS_MAX: usize = 128;

/// Most members that a [`Reply::MembershipGet`] lists.
pub const MEMBERSHIP_ADDRESSES_MAX: usize = 384;

/// Join flag: deliver the current totem configuration right after the join.
pub const JOIN_INITIAL_TOTEM_CONF: u32 = 0x01;

/// Largest message of `cpg_mcast_joined` that is sent in one piece.
pub const ATOMIC_MESSAGE_BYTES_MAX: usize = 1_048_576 - 1024;

/// What a client asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Id 0. `group` is `None` if the name's length is above the limit (answer: `NameTooLong`).
    Join {
        /// Which group.
        group: Option<GroupName>,
        /// As which process; nothing says that it is the client's own id.
        pid: u32,
        /// [`JOIN_INITIAL_TOTEM_CONF`] or 0.
        flags: u32,
    },
    /// Id 1.
    Leave {
        /// As in the join, but nobody checks.
        group: Option<GroupName>,
        /// As in the join, but nobody checks.
        pid: u32,
    },
    /// Id 2; the one request without an answer.
    Multicast {
        /// 0 unordered, 1 fifo, 2 agreed, 3 safe.
        guarantee: u32,
        /// The payload.
        message: Bytes,
    },
    /// Id 3.
    MembershipGet {
        /// Which group.
        group: Option<GroupName>,
    },
    /// Id 4.
    LocalGet,
    /// Id 5.
    IterationInitialize {
        /// Meaningful for [`IterationKind::OneGroup`].
        group: Option<GroupName>,
        /// `None` for a number that is no kind (answer: `InvalidParam`).
        kind: Option<IterationKind>,
    },
    /// Id 6.
    IterationNext {
        /// From the reply to the initialisation.
        handle: u64,
    },
    /// Id 7.
    IterationFinalize {
        /// From the reply to the initialisation.
        handle: u64,
    },
    /// Id 8.
    Finalize,
    /// Id 11: multicast from a zero-copy buffer. The server resolved the buffer and copied the
    /// payload.
    ZeroCopyExecute {
        /// As in [`Request::Multicast`].
        guarantee: u32,
        /// The payload.
        message: Bytes,
    },
    /// Id 12.
    PartialMulticast {
        /// As in [`Request::Multicast`].
        guarantee: u32,
        /// Octets of the whole message.
        message_bytes: u32,
        /// `None` for a number that is no kind (answer: `InvalidParam`).
        kind: Option<Fragment>,
        /// This piece.
        fragment: Bytes,
    },
}

/// What a client asks of the server itself: where zero-copy payloads lie. The services never see
/// these; a send becomes a [`Request::ZeroCopyExecute`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ZeroCopy {
    /// Id 9: use a file as a buffer.
    Allocate {
        /// Octets of the buffer, the 56 of its own header included.
        map_bytes: u64,
        /// Path of the file, without its NUL.
        path: Bytes,
    },
    /// Id 10: forget a buffer.
    Free {
        /// What the server had written into the buffer.
        token: u64,
    },
    /// Id 11: multicast what is in a buffer.
    Execute {
        /// What the server had written into the buffer.
        token: u64,
    },
}

/// The answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// To a join.
    Join(CsError),
    /// To a leave.
    Leave(CsError),
    /// The members of a group, at most 384 of them.
    MembershipGet(Vec<Address>),
    /// This node's number.
    LocalGet {
        /// The number.
        nodeid: u32,
    },
    /// The handle of an iteration; 0 with an error.
    IterationInitialize(Result<u64, CsError>),
    /// The next entry. `NoSections` past the end.
    IterationNext(Result<(GroupName, Address), CsError>),
    /// To the end of an iteration.
    IterationFinalize(CsError),
    /// To a finalise.
    Finalize(CsError),
    /// To an allocation or a release of a zero-copy buffer.
    ZeroCopyBuffer(CsError),
    /// To the zero-copy multicast.
    ZeroCopyExecute(CsError),
    /// To a fragment.
    PartialMulticast(CsError),
}

/// What members are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Id 5.
    Deliver {
        /// The group.
        group: GroupName,
        /// The sender's node.
        nodeid: u32,
        /// The sender's process.
        pid: u32,
        /// The payload.
        message: Bytes,
    },
    /// Id 17.
    PartialDeliver {
        /// The group.
        group: GroupName,
        /// The sender's node.
        nodeid: u32,
        /// The sender's process.
        pid: u32,
        /// Octets of the whole message.
        message_bytes: u32,
        /// Which piece.
        kind: Fragment,
        /// This piece.
        fragment: Bytes,
    },
    /// Id 4.
    ConfigurationChange {
        /// The group.
        group: GroupName,
        /// Everybody in it now, ascending, reason [`Reason::Undefined`]. At most 128 are sent:
        /// corosync's library copies into arrays of that size without a check.
        members: Vec<Address>,
        /// Who joined.
        joined: Vec<Address>,
        /// Who left.
        left: Vec<Address>,
    },
    /// Id 13.
    TotemConfigurationChange {
        /// The ring.
        ring: RingId,
        /// Its nodes, ascending, at most 128.
        members: Vec<u32>,
    },
}

/// What stands in the headers.
mod id {
    pub(super) const JOIN: i32 = 0;
    pub(super) const LEAVE: i32 = 1;
    pub(super) const MULTICAST: i32 = 2;
    pub(super) const MEMBERSHIP_GET: i32 = 3;
    pub(super) const LOCAL_GET: i32 = 4;
    pub(super) const ITERATION_INITIALIZE: i32 = 5;
    pub(super) const ITERATION_NEXT: i32 = 6;
    pub(super) const ITERATION_FINALIZE: i32 = 7;
    pub(super) const FINALIZE: i32 = 8;
    pub(super) const ZERO_COPY_ALLOCATE: i32 = 9;
    pub(super) const ZERO_COPY_FREE: i32 = 10;
    pub(super) const ZERO_COPY_EXECUTE: i32 = 11;
    pub(super) const PARTIAL_MULTICAST: i32 = 12;

    pub(super) const EVENT_CONFIGURATION_CHANGE: i32 = 4;
    pub(super) const EVENT_DELIVER: i32 = 5;
    pub(super) const EVENT_TOTEM_CONFIGURATION_CHANGE: i32 = 13;
    pub(super) const EVENT_PARTIAL_DELIVER: i32 = 17;
}
