//! A client's connection and its way through one group.

use std::collections::BTreeMap;

use ipc::message::{ClientId, cpg::GroupName};

use super::{iteration::Iterations, process::Assembly};

/// One connection of a local client.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Where it stands.
    pub(super) state: State,
    /// The large message that it is handing in, if it may go on with it.
    pub(super) upload: Option<Assembly>,
    /// Its walks through the groups.
    pub(super) iterations: Iterations,
}

/// All of them, in the order of their numbers.
pub(super) type Connections = BTreeMap<ClientId, Connection>;

/// Where a connection stands. It can be in one group at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum State {
    /// In no group.
    #[default]
    Unjoined,
    /// Its join is on its way through the ring. It may send, and gets nothing yet.
    JoinStarted(Membership),
    /// Its join was delivered.
    Joined(Membership),
    /// Its leave is on its way through the ring. It may not send, and still gets everything.
    LeaveStarted(Membership),
}

/// In which group, as whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) group: GroupName,
    /// What the client gave in its join; nothing says that it is its own process id.
    pub(super) pid: u32,
    /// Of the join.
    pub(super) flags: u32,
}

impl State {
    /// The membership in whatever state.
    pub(super) fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Unjoined => None,
            Self::JoinStarted(membership) | Self::Joined(membership) | Self::LeaveStarted(membership) => {
                Some(membership)
            }
        }
    }

    /// The membership if it allows to send.
    pub(super) fn sender(&self) -> Option<&Membership> {
        match self {
            Self::JoinStarted(membership) | Self::Joined(membership) => Some(membership),
            Self::Unjoined | Self::LeaveStarted(_) => None,
        }
    }
}
