//! The client's side, for our own tools and tests: blocking, without a thread of its own.
//!
//! [`cpg::Client`] is what programs use, [`cfg::Client`] what tools ask for addresses. They wait where
//! corosync's libraries make their callers repeat: while the cluster changes its membership, and while
//! queues are full.

pub mod cfg;
pub mod cpg;

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    time::Timespec,
};

use crate::{
    message::{CsError, Encode, MESSAGE_BYTES_MAX, MessageError, Service},
    setup::{Hello, Transport, Welcome, abstract_address, socket_name},
    shm::{ClientRings, RingError, RingPaths, WriteError},
    socket::{ClientSockets, SocketNames},
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("no daemon listens on @{0}")]
    NotRunning(String),
    /// The daemon runs, but its node is not part of a ring yet.
    #[error("the daemon is not ready yet")]
    NotReady,
    /// The daemon does not want this client.
    #[error("the daemon refused the connection: {0}")]
    Refused(Errno),
    /// The connection is gone; everything later fails in the same way.
    #[error("the daemon closed the connection")]
    Disconnected,
    /// Not possible without waiting, and the call does not wait, or 64 MiB of events wait for this
    /// client to read them. Nothing was sent.
    #[error("not without waiting")]
    WouldBlock,
    /// The service says no.
    #[error("the service answered {0}")]
    Service(CsError),
    /// What the daemon sent is no message.
    #[error("the daemon sent nonsense: {0}")]
    Message(#[from] MessageError),
    /// The shared memory makes no sense.
    #[error("the shared memory is broken: {0}")]
    Ring(#[from] RingError),
    /// A message larger than its kind can be.
    #[error("message of {bytes} octets, more than {max}")]
    TooBig {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A system call failed.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for ClientError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::CONNRESET | Errno::CONNREFUSED | Errno::PIPE | Errno::NOTCONN => Self::Disconnected,
            errno => Self::System(errno.into()),
        }
    }
}

/// A connection to one service.
#[derive(Debug)]
struct Connection {
    stream: OwnedFd,
    channel: Channel,
    pool: BytesMut,
    /// Events that came while a call waited.
    parked: VecDeque<Bytes>,
    parked_bytes: usize,
}

#[derive(Debug)]
enum Channel {
    Rings(ClientRings),
    Sockets(ClientSockets),
}

/// What a request needs from the flow control word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Urgency {
    /// Goes only while everything goes.
    Multicast,
    /// Goes unless nothing goes.
    Other,
}

impl Connection {
    fn open(instance: Option<&str>, service: Service) -> Result<Self, ClientError> {
        let name = socket_name(instance, service);
        let stream = connect(&name)?;
        let hello = Hello::USUAL.encode();
        if net::send(&stream, &hello, SendFlags::NOSIGNAL)? != hello.len() {
            return Err(ClientError::Disconnected);
        }
        let channel = match receive_welcome(&stream)? {
            Welcome::Refused(Errno::AGAIN) => return Err(ClientError::NotReady),
            Welcome::Refused(errno) => return Err(ClientError::Refused(errno)),
            Welcome::Granted { transport: Transport::SharedMemory, request, response, event } => {
                Channel::Rings(ClientRings::attach(&RingPaths { request, response, event })?)
            }
            Welcome::Granted { transport: Transport::Socket, request, response, .. } => {
                Channel::Sockets(ClientSockets::attach(&SocketNames { control: request, base: response })?)
            }
        };
        Ok(Self { stream, channel, pool: BytesMut::new(), parked: VecDeque::new(), parked_bytes: 0 })
    }

    /// Sends a request if that is possible without waiting.
    fn try_send(&mut self, request: &impl Encode, urgency: Urgency) -> Result<(), ClientError> {
        let (bytes, max) = (request.encoded_bytes(), MESSAGE_BYTES_MAX);
        if bytes > max {
            return Err(ClientError::TooBig { bytes, max });
        }
        if !self.may_send(urgency) {
            self.check_alive()?;
            return Err(ClientError::WouldBlock);
        }
        match &mut self.channel {
            Channel::Rings(rings) => match rings.write_request(request) {
                Ok(()) => self.ring_doorbell(),
                Err(WriteError::Full) => {
                    self.check_alive()?;
                    Err(ClientError::WouldBlock)
                }
                Err(WriteError::Broken(error)) => Err(error.into()),
            },
            Channel::Sockets(sockets) => match sockets.write_request(request) {
                Ok(()) => Ok(()),
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    self.check_alive()?;
                    Err(ClientError::WouldBlock)
                }
                Err(Errno::MSGSIZE) => Err(ClientError::Service(CsError::TooBig)),
                Err(errno) => Err(errno.into()),
            },
        }
    }

    /// Sends a request as soon as that is possible.
    fn send(&mut self, request: &impl Encode, urgency: Urgency) -> Result<(), ClientError> {
        loop {
            match self.try_send(request, urgency) {
                Err(ClientError::WouldBlock) => {
                    // The daemon may be waiting for this very client to read.
                    self.park_events_and_pause(PAUSE)?;
                }
                result => return result,
            }
        }
    }

    /// Sends a request and waits for its answer.
    fn ask(&mut self, request: &impl Encode, urgency: Urgency) -> Result<Bytes, ClientError> {
        self.send(request, urgency)?;
        loop {
            let reply = match &mut self.channel {
                Channel::Rings(rings) => rings.read_reply(&mut self.pool, SLICE)?,
                Channel::Sockets(sockets) => sockets.read_reply(SLICE)?,
            };
            match reply {
                Some(reply) => return Ok(reply),
                None => self.check_alive()?,
            }
        }
    }

    /// Reads what is here, then gives the daemon a moment. An error when there is no room for more.
    fn park_events_and_pause(&mut self, time: Duration) -> Result<(), ClientError> {
        self.park_events()?;
        if self.parked_bytes >= PARKED_BYTES_MAX {
            return Err(ClientError::WouldBlock);
        }
        self.pause(time)
    }

    /// Takes the events that are here, to hand them out later.
    fn park_events(&mut self) -> Result<(), ClientError> {
        while self.parked_bytes < PARKED_BYTES_MAX {
            let Some(event) = self.read_event()? else { return Ok(()) };
            self.parked_bytes += event.len();
            self.parked.push_back(event);
        }
        Ok(())
    }

    /// An event, if one is here.
    fn read_event(&mut self) -> Result<Option<Bytes>, ClientError> {
        let event = match &mut self.channel {
            Channel::Rings(rings) => rings.read_event(&mut self.pool)?,
            Channel::Sockets(sockets) => sockets.read_event()?,
        };
        if event.is_some() {
            self.take_doorbell()?;
        }
        Ok(event)
    }

    /// The next event; `None` if none came within the time. `None` as a timeout waits for ever.
    fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Bytes>, ClientError> {
        if let Some(event) = self.parked.pop_front() {
            self.parked_bytes -= event.len();
            return Ok(Some(event));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let stream = self.wait_for_event(left)?;
            if let Some(event) = self.read_event()? {
                return Ok(Some(event));
            }
            if stream.intersects(PollFlags::HUP | PollFlags::ERR) {
                // What the daemon had sent before is read by now.
                return Err(ClientError::Disconnected);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
        }
    }

    /// Waits for an event or the end; says what is up with the stream socket.
    fn wait_for_event(&self, timeout: Option<Duration>) -> Result<PollFlags, ClientError> {
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(|_| Errno::INVAL)?;
        let mut polled = [
            PollFd::new(&self.stream, PollFlags::IN),
            match &self.channel {
                Channel::Rings(_) => PollFd::new(&self.stream, PollFlags::empty()),
                Channel::Sockets(sockets) => PollFd::from_borrowed_fd(sockets.event_socket(), PollFlags::IN),
            },
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(polled[0].revents()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn may_send(&self, urgency: Urgency) -> bool {
        let flow_control = match &self.channel {
            Channel::Rings(rings) => rings.flow_control(),
            Channel::Sockets(sockets) => sockets.flow_control(),
        };
        match urgency {
            Urgency::Multicast => flow_control == 0,
            Urgency::Other => flow_control != NOTHING_GOES,
        }
    }

    /// One octet for each request; a full socket means that the server is about to read.
    fn ring_doorbell(&self) -> Result<(), ClientError> {
        loop {
            match net::send(&self.stream, &[0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.stream, PollFlags::OUT)], None)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// One octet for each event.
    fn take_doorbell(&self) -> Result<(), ClientError> {
        if matches!(self.channel, Channel::Sockets(_)) {
            return Ok(());
        }
        loop {
            match net::recv(&self.stream, &mut [0_u8], RecvFlags::DONTWAIT) {
                // At the end of the stream the rest of the ring is still read.
                Ok(_) | Err(Errno::CONNRESET) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], None)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn check_alive(&self) -> Result<(), ClientError> {
        self.pause(Duration::ZERO)
    }

    /// Waits this long, or until the connection ends.
    fn pause(&self, time: Duration) -> Result<(), ClientError> {
        let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        match poll(&mut polled, Some(&time)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => Err(ClientError::Disconnected),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Connection {
    /// Readable when there is an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Channel::Rings(_) => self.stream.as_fd(),
            Channel::Sockets(sockets) => sockets.event_socket(),
        }
    }
}

fn connect(name: &str) -> Result<OwnedFd, ClientError> {
    let address = abstract_address(name)?;
    let stream = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match net::connect(&stream, &address) {
        Ok(()) => Ok(stream),
        Err(Errno::CONNREFUSED) => Err(ClientError::NotRunning(name.to_owned())),
        Err(errno) => Err(errno.into()),
    }
}

fn receive_welcome(stream: &OwnedFd) -> Result<Welcome, ClientError> {
    let mut octets = vec![0; Welcome::BYTES];
    let mut have = 0;
    while have < octets.len() {
        match net::recv(stream, &mut octets[have..], RecvFlags::empty()) {
            Ok((0, _)) => return Err(ClientError::Disconnected),
            Ok((some, _)) => have += some,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Welcome::decode(&octets).ok_or_else(|| Errno::PROTO.into())
}

/// The flow-control value under which libraries send nothing at all.
const NOTHING_GOES: u32 = 1;
/// Octets of events that are taken from the daemon while a call waits.
const PARKED_BYTES_MAX: usize = 64 << 20;
/// How often we look whether the server has made room: it does not say.
const PAUSE: Duration = Duration::from_micros(500);
/// How often we look whether the server still lives while we wait for an answer.
const SLICE: Duration = Duration::from_millis(500);
