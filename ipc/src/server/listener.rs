//! The sockets that clients come to, and who is let in.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    process::{Resource, getrlimit},
};

use super::{Credentials, Limits, settings::is_privileged};
use crate::{
    message::{MESSAGE_BYTES_MAX, Service},
    setup::{Hello, Welcome, abstract_address, socket_name},
    shm::peer_credentials,
};

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the socket: another daemon.
    #[error("the socket @{name} is in use: another daemon runs")]
    InUse {
        /// The socket's name.
        name: String,
    },
    /// A socket cannot be had.
    #[error("cannot listen on the socket @{name}: {error}")]
    Socket {
        /// The socket's name.
        name: String,
        /// Why.
        error: Errno,
    },
    /// The directory of shared memory cannot be used.
    #[error("cannot use /dev/shm: {0}")]
    SharedMemory(std::io::Error),
    /// The system gave no epoll or timer descriptor.
    #[error("cannot wait for clients: {0}")]
    Poll(std::io::Error),
}

/// One service's socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) service: Service,
    pub(super) socket: OwnedFd,
}

impl Listener {
    pub(super) fn bind(instance: Option<&str>, service: Service) -> Result<Self, BindError> {
        let name = socket_name(instance, service);
        let bound = || {
            let address = abstract_address(&name)?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            net::bind(&socket, &address)?;
            net::listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => Ok(Self { service, socket }),
            Err(Errno::ADDRINUSE) => Err(BindError::InUse { name }),
            Err(error) => Err(BindError::Socket { name, error }),
        }
    }

    /// The next one at the door. `AGAIN`: nobody.
    pub(super) fn accept(&self) -> Result<OwnedFd, Errno> {
        net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }
}

/// Somebody who has connected and not introduced itself.
#[derive(Debug)]
pub(super) struct HalfOpen {
    pub(super) service: Service,
    pub(super) credentials: Credentials,
    pub(super) socket: OwnedFd,
    octets: [u8; Hello::BYTES],
    have: usize,
}

/// What half-open connections come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// More octets are to come.
    Wait,
    /// It introduced itself.
    Introduced,
    /// It asks for more than a channel has; to be refused.
    TooBig,
    /// It went away, or is no client.
    Nonsense,
}

impl HalfOpen {
    pub(super) fn receive(&mut self) -> Progress {
        while self.have < Hello::BYTES {
            match net::recv(&self.socket, &mut self.octets[self.have..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Progress::Nonsense,
                Ok((some, _)) => self.have += some,
                Err(Errno::AGAIN) => return Progress::Wait,
                Err(Errno::INTR) => {}
                Err(_) => return Progress::Nonsense,
            }
        }
        match Hello::decode(&self.octets) {
            Some(hello) if hello.message_bytes_max as usize > MESSAGE_BYTES_MAX => Progress::TooBig,
            Some(_) => Progress::Introduced,
            None => Progress::Nonsense,
        }
    }

    /// Sends the answer in the one piece that libraries want; false if it did not fit, which it does
    /// on a socket that nothing was sent to before.
    pub(super) fn answer(&self, welcome: &Welcome) -> bool {
        let octets = welcome.encode();
        let sent = net::send(&self.socket, &octets, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        sent == Ok(octets.len())
    }
}

/// Counts who is here, and says who may come in.
#[derive(Debug, Default)]
pub(super) struct Admission {
    users: BTreeMap<u32, Count>,
    /// Until when nobody is accepted, because there were no descriptors.
    pub(super) paused_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    connections: usize,
    half_open: usize,
}

impl Admission {
    /// Who this is, counted as half-open, or why it has to go.
    pub(super) fn enter(
        &mut self,
        socket: OwnedFd,
        service: Service,
        connections: usize,
        limits: &Limits,
    ) -> Result<HalfOpen, &'static str> {
        let credentials =
            peer_credentials(std::os::fd::AsFd::as_fd(&socket)).map_err(|_| "no credentials")?;
        if !is_privileged(credentials) {
            self.check(credentials.uid, socket.as_raw_fd(), connections, limits)?;
        }
        if connections >= limits.connections_max {
            return Err("too many connections");
        }
        let count = self.users.entry(credentials.uid).or_default();
        count.connections += 1;
        count.half_open += 1;
        Ok(HalfOpen { service, credentials, socket, octets: [0; Hello::BYTES], have: 0 })
    }

    fn check(
        &self,
        uid: u32,
        descriptor: i32,
        connections: usize,
        limits: &Limits,
    ) -> Result<(), &'static str> {
        let count = self.users.get(&uid).copied().unwrap_or_default();
        // The kernel gives the lowest free number, so the number says how many are in use.
        let reserve_from = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptor = u64::try_from(descriptor).unwrap_or(0);
        if count.connections >= limits.connections_per_user_max {
            Err("too many connections of one user")
        } else if count.half_open >= limits.half_open_per_user_max {
            Err("too many half-open connections of one user")
        } else if descriptor.saturating_add(limits.descriptors_reserved) >= reserve_from {
            Err("the descriptors left are reserved")
        } else if connections + PRIVILEGED_RESERVE >= limits.connections_max {
            Err("the connections left are reserved")
        } else {
            Ok(())
        }
    }

    /// A half-open connection stands now.
    pub(super) fn introduced(&mut self, uid: u32) {
        if let Some(count) = self.users.get_mut(&uid) {
            count.half_open = count.half_open.saturating_sub(1);
        }
    }

    /// A connection that had been [`Self::introduced`] is gone.
    pub(super) fn left(&mut self, uid: u32) {
        if let Some(count) = self.users.get_mut(&uid) {
            count.connections = count.connections.saturating_sub(1);
            if count.connections == 0 {
                self.users.remove(&uid);
            }
        }
    }
}

/// How long nobody is accepted after the system had no descriptor left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Clients accepted before others have their turn.
pub(super) const ACCEPTS_MAX: usize = 32;
/// libqb's.
const BACKLOG: i32 = 128;
/// Connections that only user 0 and the server's own user get.
const PRIVILEGED_RESERVE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, half_open: usize) -> Admission {
        Admission { users: BTreeMap::from([(1000, Count { connections, half_open })]), paused_until: None }
    }

    #[test]
    fn one_user_has_a_bound_and_leaves_room_for_others() {
        let limits = Limits::default();
        let check = |admission: Admission, uid, connections| admission.check(uid, 10, connections, &limits);
        assert_eq!(check(admission(31, 15), 1000, 31), Ok(()));
        assert_eq!(check(admission(32, 0), 1000, 32), Err("too many connections of one user"));
        assert_eq!(check(admission(16, 16), 1000, 16), Err("too many half-open connections of one user"));
        assert_eq!(check(admission(32, 16), 1001, 32), Ok(()));
        let crowd = limits.connections_max - PRIVILEGED_RESERVE;
        assert_eq!(check(admission(0, 0), 1000, crowd), Err("the connections left are reserved"));
    }

    #[test]
    fn the_last_descriptors_are_reserved() {
        let limits = Limits::default();
        let last = getrlimit(Resource::Nofile).current.expect("a limit") as i32;
        let reserve = limits.descriptors_reserved as i32;
        let check = |descriptor| Admission::default().check(1000, descriptor, 0, &limits);
        assert_eq!(check(last - reserve - 1), Ok(()));
        assert_eq!(check(last - reserve), Err("the descriptors left are reserved"));
    }

    #[test]
    fn those_who_leave_are_forgotten() {
        let mut admission = admission(2, 1);
        admission.introduced(1000);
        admission.left(1000);
        admission.left(1000);
        assert!(admission.users.is_empty());
    }
}
