//! The socket transport: one datagram a message, between abstract sockets.
//!
//! Everybody in the network namespace can send to an abstract socket, so the server looks at the
//! credentials that the kernel attaches to each datagram. There are no doorbells; nothing is written
//! to the stream socket after the answer.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt},
    time::Timespec,
};

use crate::{
    message::{Encode, MESSAGE_BYTES_MAX, Service},
    server::Credentials,
    setup::abstract_address,
    shm::{Control, Directory, SharedMemory, receive_from_user},
};

/// Memory for one datagram in each direction, shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Scratch {
    fn incoming(&mut self) -> &mut [u8] {
        self.incoming.resize(MESSAGE_BYTES_MAX, 0);
        &mut self.incoming
    }

    fn encode(&mut self, message: &(impl Encode + ?Sized)) -> &[u8] {
        self.outgoing.clear();
        message.encode(&mut self.outgoing);
        &self.outgoing
    }
}

/// The server's sockets of one connection.
#[derive(Debug)]
pub(crate) struct ServerSockets {
    requests: OwnedFd,
    events: OwnedFd,
    replies_to: SocketAddrUnix,
    events_to: SocketAddrUnix,
    client: Credentials,
    control: Control,
    _directory: Directory,
}

/// What the server's answer says about them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SocketNames {
    /// Path of the control file.
    pub(crate) control: String,
    /// Base of the sockets' names.
    pub(crate) base: String,
}

impl ServerSockets {
    /// Makes the sockets of one connection. Nothing is left behind on failure.
    pub(crate) fn create(
        parent: &SharedMemory,
        service: Service,
        client: Credentials,
        descriptor: i32,
    ) -> io::Result<(Self, SocketNames)> {
        let mut directory = Directory::new(parent, client.pid, descriptor)?;
        let control = Control::create(&mut directory, service, client)?;
        let base = format!("{}/qb-{service}", directory.path());
        let requests = bound(&format!("{base}-request"))?;
        sockopt::set_socket_passcred(&requests, true)?;
        let sockets = Self {
            requests,
            events: bound(&format!("{base}-event-tx"))?,
            replies_to: abstract_address(&format!("{base}-response"))?,
            events_to: abstract_address(&format!("{base}-event"))?,
            client,
            control,
            _directory: directory,
        };
        sockets._directory.hand_over(client)?;
        let control = format!("{}/{}", sockets._directory.path(), crate::shm::control_file(service));
        Ok((sockets, SocketNames { control, base }))
    }

    /// Where requests come from, to be polled.
    pub(crate) fn request_socket(&self) -> BorrowedFd<'_> {
        self.requests.as_fd()
    }

    /// The next request. Datagrams of strangers are dropped.
    pub(crate) fn read_request(&self, scratch: &mut Scratch) -> Result<Option<Bytes>, Errno> {
        for _ in 0..STRANGERS_MAX {
            let incoming = scratch.incoming();
            match receive_from_user(self.requests.as_fd(), incoming) {
                Ok((bytes, Some(uid))) if uid == self.client.uid || uid == 0 => {
                    return Ok(Some(Bytes::copy_from_slice(&incoming[..bytes])));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
        Ok(None)
    }

    /// Answers.
    pub(crate) fn write_reply(&self, reply: &impl Encode, scratch: &mut Scratch) -> Result<(), Errno> {
        send(self.requests.as_fd(), scratch.encode(reply), &self.replies_to)
    }

    /// Tells. `AGAIN`: the client has not bound its socket yet or does not read.
    pub(crate) fn write_event(
        &self,
        event: &(impl Encode + ?Sized),
        scratch: &mut Scratch,
    ) -> Result<(), Errno> {
        send(self.events.as_fd(), scratch.encode(event), &self.events_to)
    }

    /// Says what the client may send.
    pub(crate) fn set_flow_control(&self, value: u32) {
        self.control.set_flow_control(value);
    }

    /// Whether the client has cut the control file.
    pub(crate) fn is_broken(&self) -> bool {
        self.control.is_broken()
    }
}

/// The client's sockets of one connection.
#[derive(Debug)]
pub(crate) struct ClientSockets {
    requests: OwnedFd,
    events: OwnedFd,
    control: Control,
    scratch: Scratch,
}

impl ClientSockets {
    /// Binds and connects them.
    pub(crate) fn attach(names: &SocketNames) -> io::Result<Self> {
        let SocketNames { control, base } = names;
        let control = Control::attach(control)?;
        let connected = |own: &str, peer: &str| -> io::Result<OwnedFd> {
            let socket = bound(&format!("{base}-{own}"))?;
            net::connect(&socket, &abstract_address(&format!("{base}-{peer}"))?)?;
            Ok(socket)
        };
        let events = connected("event", "event-tx")?;
        let requests = connected("response", "request")?;
        Ok(Self { requests, events, control, scratch: Scratch::default() })
    }

    /// Asks. `AGAIN`: the server has not read enough yet.
    pub(crate) fn write_request(&mut self, request: &impl Encode) -> Result<(), Errno> {
        net::send(&self.requests, self.scratch.encode(request), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            .map(drop)
    }

    /// Waits for the reply.
    pub(crate) fn read_reply(&mut self, timeout: Duration) -> Result<Option<Bytes>, Errno> {
        let timeout = Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
        poll(&mut [PollFd::new(&self.requests, PollFlags::IN)], Some(&timeout))?;
        take(self.requests.as_fd(), &mut self.scratch)
    }

    /// The next event, if there is one.
    pub(crate) fn read_event(&mut self) -> Result<Option<Bytes>, Errno> {
        take(self.events.as_fd(), &mut self.scratch)
    }

    /// Readable when there are events.
    pub(crate) fn event_socket(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// What the server lets us send.
    pub(crate) fn flow_control(&self) -> u32 {
        self.control.flow_control()
    }
}

fn bound(name: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    net::bind(&socket, &abstract_address(name)?)?;
    // Beyond the system's limit only with privileges; without them the largest message is smaller.
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
        sockopt::set_socket_send_buffer_size(&socket, BUFFER_BYTES)?;
    }
    Ok(socket)
}

fn send(socket: BorrowedFd<'_>, message: &[u8], to: &SocketAddrUnix) -> Result<(), Errno> {
    match net::sendto(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, to) {
        Ok(_) => Ok(()),
        // Not bound yet: the client does that after reading the answer.
        Err(Errno::CONNREFUSED | Errno::NOBUFS) => Err(Errno::AGAIN),
        Err(errno) => Err(errno),
    }
}

fn take(socket: BorrowedFd<'_>, scratch: &mut Scratch) -> Result<Option<Bytes>, Errno> {
    let incoming = scratch.incoming();
    match net::recv(socket, &mut *incoming, RecvFlags::DONTWAIT) {
        Ok((bytes, _)) => Ok(Some(Bytes::copy_from_slice(&incoming[..bytes]))),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Foreign datagrams dropped in a row before others have their turn.
const STRANGERS_MAX: usize = 64;
const BUFFER_BYTES: usize = MESSAGE_BYTES_MAX;
