//! What a server needs to know, and what it says about its clients.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    message::{ClientId, MessageError, Request, Service},
    setup::Transport,
    shm::RingError,
};

/// What a server is made from.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The services that clients can connect to; each has a socket of its own.
    pub services: Vec<Service>,
    /// Prefix of the sockets' names, so that several daemons can live in one network namespace.
    /// `None` gives the names that programs look for.
    pub instance: Option<String>,
    /// How messages go.
    pub transport: Transport,
    /// Who may connect.
    pub rules: AccessRules,
    /// How much of everything.
    pub limits: Limits,
}

/// Who may connect besides user 0, group 0 and the server's own user: corosync's `uidgid`. Primary
/// groups only.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessRules {
    /// Users.
    pub uids: BTreeSet<u32>,
    /// Groups.
    pub gids: BTreeSet<u32>,
}

impl AccessRules {
    pub(super) fn allow(&self, client: Credentials) -> bool {
        is_privileged(client)
            || client.gid == 0
            || self.uids.contains(&client.uid)
            || self.gids.contains(&client.gid)
    }
}

/// Whether this is user 0 or the server's own: not counted against the caps on one user.
pub(super) fn is_privileged(client: Credentials) -> bool {
    client.uid == 0 || client.uid == rustix::process::geteuid().as_raw()
}

/// How much a server spends on its clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections, half-open ones included.
    pub connections_max: usize,
    /// Connections of one user, unless it is user 0 or the server's own.
    pub connections_per_user_max: usize,
    /// Connections of one such user that have not introduced themselves.
    pub half_open_per_user_max: usize,
    /// Descriptors kept free for the cluster and for user 0: others are turned away before that.
    pub descriptors_reserved: u64,
    /// How long a client may take to introduce itself.
    pub handshake_timeout: Duration,
    /// Octets of events that wait for one client beyond its ring. One more, and it is cut off.
    pub event_queue_bytes_max: usize,
    /// Octets of events that wait for all clients together.
    pub event_queues_bytes_max: usize,
    /// Zero-copy buffers of one client.
    pub zero_copy_buffers_max: usize,
    /// Requests taken from one client before others have their turn.
    pub turn_requests_max: usize,
    /// Octets of requests taken from one client before others have their turn.
    pub turn_bytes_max: usize,
    /// Requests taken in one [`Server::poll`](super::Server::poll).
    pub poll_requests_max: usize,
    /// Octets of requests taken in one [`Server::poll`](super::Server::poll).
    pub poll_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            connections_max: 1100,
            connections_per_user_max: 32,
            half_open_per_user_max: 16,
            descriptors_reserved: 64,
            handshake_timeout: Duration::from_secs(2),
            event_queue_bytes_max: 64 * MIB,
            event_queues_bytes_max: 256 * MIB,
            zero_copy_buffers_max: 8,
            turn_requests_max: 64,
            turn_bytes_max: MIB,
            poll_requests_max: 256,
            poll_bytes_max: 2 * MIB,
        }
    }
}

/// Whose process a client is, as the kernel says: effective ids when it connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// Process; 0 if it lives in another process namespace.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What clients did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// It connected and was authorised.
    Joined {
        /// Who.
        client: ClientId,
        /// To what.
        service: Service,
        /// Whose process it is.
        credentials: Credentials,
    },
    /// It asks. Every request is answered but a cpg multicast.
    Request {
        /// Who.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// It is gone; the last input of this client. Not said of clients that
    /// [`Server::disconnect`](super::Server::disconnect) has closed.
    Gone {
        /// Who.
        client: ClientId,
        /// Why.
        cause: GoneCause,
    },
}

/// Why a client is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GoneCause {
    /// It closed the connection or ended.
    #[error("it closed the connection")]
    Closed,
    /// It does not read its events.
    #[error("{bytes} octets of unread events, the limit is {max}")]
    EventQueueFull {
        /// How much would wait.
        bytes: usize,
        /// The limit that this exceeds.
        max: usize,
    },
    /// An event can not be sent over its channel, and leaving it out would be a gap.
    #[error("an event of {bytes} octets does not fit its channel")]
    EventTooBig {
        /// The event's size.
        bytes: usize,
    },
    /// It asks, but does not read the answers.
    #[error("it does not read its replies")]
    RepliesUnread,
    /// Its shared memory makes no sense.
    #[error("its shared memory is broken: {0}")]
    Ring(#[from] RingError),
    /// Its request makes no sense.
    #[error("its request is wrong: {0}")]
    Message(#[from] MessageError),
    /// Its sockets failed.
    #[error("its socket failed: {0}")]
    Socket(rustix::io::Errno),
}
