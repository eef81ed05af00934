//! A client of the cpg service.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use super::ClientError;
use super::{Connection, Urgency};
use crate::message::{
    self, CsError, Encode, Service,
    cpg::{ATOMIC_MESSAGE_BYTES_MAX, Address, Fragment, GroupName, IterationKind, Reply, Request},
};

pub use crate::message::cpg::Event;

/// A connection to the cpg service; in at most one group at a time.
///
/// Calls wait where corosync's library returns `CS_ERR_TRY_AGAIN`. A client that sends faster than it
/// reads is made to wait, too; the events that come meanwhile are kept here, and
/// [`dispatch`](Self::dispatch) hands them out first. The descriptor does not speak of those: after a
/// call, dispatch without waiting until there is nothing before waiting for the descriptor.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    group: Option<GroupName>,
    assembling: BTreeMap<(u32, u32), Assembly>,
}

/// A large message of which some fragments are here.
#[derive(Debug)]
struct Assembly {
    message_bytes: usize,
    octets: Vec<u8>,
}

impl Client {
    /// Connects to the daemon of this instance (see
    /// [`ServerSettings::instance`](crate::server::ServerSettings::instance)).
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::NotReady`] or [`ClientError::Refused`], at once.
    pub fn connect(instance: Option<&str>) -> Result<Self, ClientError> {
        let connection = Connection::open(instance, Service::Cpg)?;
        Ok(Self { connection, group: None, assembling: BTreeMap::new() })
    }

    /// As [`Self::connect`], but waits for a daemon that is starting.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`ClientError::NotRunning`] and [`ClientError::NotReady`] only after all
    /// the time.
    pub fn connect_within(instance: Option<&str>, time: Duration) -> Result<Self, ClientError> {
        let deadline = Instant::now() + time;
        loop {
            match Self::connect(instance) {
                Err(ClientError::NotRunning(_) | ClientError::NotReady) if Instant::now() < deadline => {
                    std::thread::sleep(START_PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Joins a group as this process. The configuration change that says so comes as an event.
    ///
    /// # Errors
    /// [`CsError::Exist`]: this process, or this client, is in a group already.
    pub fn join(&mut self, group: GroupName) -> Result<(), ClientError> {
        self.join_with(group, 0)
    }

    /// As [`Self::join`], with flags:
    /// [`JOIN_INITIAL_TOTEM_CONF`](crate::message::cpg::JOIN_INITIAL_TOTEM_CONF) or 0.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn join_with(&mut self, group: GroupName, flags: u32) -> Result<(), ClientError> {
        match self.ask(&Request::Join { group: Some(group), pid: std::process::id(), flags })? {
            Reply::Join(error) => checked(error)?,
            _ => return Err(ClientError::Service(CsError::Library)),
        }
        self.group = Some(group);
        Ok(())
    }

    /// Leaves the group. The configuration change that says so comes as an event.
    ///
    /// # Errors
    /// [`CsError::NotExist`]: this client is in no group.
    pub fn leave(&mut self) -> Result<(), ClientError> {
        let group = Some(self.group.ok_or(ClientError::Service(CsError::NotExist))?);
        match self.ask(&Request::Leave { group, pid: std::process::id() })? {
            Reply::Leave(error) => checked(error)?,
            _ => return Err(ClientError::Service(CsError::Library)),
        }
        self.group = None;
        Ok(())
    }

    /// Sends to the group, waiting while the daemon takes nothing. Any size up to 4 GiB: above
    /// [`ATOMIC_MESSAGE_BYTES_MAX`] it goes in fragments. `guarantee`: 2 agreed, 3 safe.
    ///
    /// Success means that the daemon has it, not that it was delivered; a client that is in no group
    /// gets no error unless the message goes in fragments.
    ///
    /// # Errors
    /// The connection is gone, or [`CsError::NotExist`] for fragments of a client in no group.
    /// [`ClientError::WouldBlock`] only when 64 MiB of events wait to be dispatched.
    pub fn multicast(&mut self, guarantee: u32, message: &[u8]) -> Result<(), ClientError> {
        if message.len() > ATOMIC_MESSAGE_BYTES_MAX {
            return self.multicast_in_fragments(guarantee, message);
        }
        self.connection.send(&Multicast { guarantee, message }, Urgency::Multicast)
    }

    /// As [`Self::multicast`] in one piece, but never waits.
    ///
    /// # Errors
    /// [`ClientError::WouldBlock`]: nothing was sent, try again later. [`ClientError::TooBig`].
    pub fn try_multicast(&mut self, guarantee: u32, message: &[u8]) -> Result<(), ClientError> {
        let (bytes, max) = (message.len(), ATOMIC_MESSAGE_BYTES_MAX);
        if bytes > max {
            return Err(ClientError::TooBig { bytes, max });
        }
        self.connection.try_send(&Multicast { guarantee, message }, Urgency::Multicast)
    }

    /// The next event; `None` if none comes within the time. Without a timeout it waits for ever.
    /// Large messages come whole, as [`Event::Deliver`].
    ///
    /// # Errors
    /// The connection is gone and all its events are read.
    pub fn dispatch(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ClientError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(octets) = self.connection.next_event(left)? else { return Ok(None) };
            let message::Event::Cpg(event) = message::Event::decode(Service::Cpg, octets)?;
            if let Some(event) = self.assemble(event) {
                return Ok(Some(event));
            }
        }
    }

    /// The members of a group, this client's or another.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn membership_get(&mut self, group: GroupName) -> Result<Vec<Address>, ClientError> {
        match self.ask(&Request::MembershipGet { group: Some(group) })? {
            Reply::MembershipGet(members) => Ok(members),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// The number of the daemon's node.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn local_get(&mut self) -> Result<u32, ClientError> {
        match self.ask(&Request::LocalGet)? {
            Reply::LocalGet { nodeid } => Ok(nodeid),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// All groups, or their members: a snapshot. `group` means something for
    /// [`IterationKind::OneGroup`].
    ///
    /// # Errors
    /// The connection is gone, or the service has no room for another iteration.
    pub fn iterate(
        &mut self,
        kind: IterationKind,
        group: Option<GroupName>,
    ) -> Result<Vec<(GroupName, Address)>, ClientError> {
        let group = group.or_else(|| GroupName::new(b""));
        let handle = match self.ask(&Request::IterationInitialize { group, kind: Some(kind) })? {
            Reply::IterationInitialize(handle) => handle.map_err(ClientError::Service)?,
            _ => return Err(ClientError::Service(CsError::Library)),
        };
        let mut entries = Vec::new();
        let result = loop {
            match self.ask(&Request::IterationNext { handle })? {
                Reply::IterationNext(Ok(entry)) => entries.push(entry),
                Reply::IterationNext(Err(CsError::NoSections)) => break Ok(entries),
                Reply::IterationNext(Err(error)) => break Err(ClientError::Service(error)),
                _ => break Err(ClientError::Service(CsError::Library)),
            }
        };
        self.ask(&Request::IterationFinalize { handle })?;
        result
    }

    /// Ends the connection in an orderly way; the other members see this process leave either way.
    ///
    /// # Errors
    /// The connection was gone before.
    pub fn finalize(mut self) -> Result<(), ClientError> {
        match self.ask(&Request::Finalize)? {
            Reply::Finalize(error) => checked(error),
            _ => Err(ClientError::Service(CsError::Library)),
        }
    }

    /// Asks until the answer is another than "not now".
    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let urgency = match request {
            Request::PartialMulticast { .. } => Urgency::Multicast,
            _ => Urgency::Other,
        };
        loop {
            let octets = self.connection.ask(request, urgency)?;
            let error = match message::Reply::decode(request, octets)? {
                message::Reply::Refused(error) => error,
                message::Reply::Cpg(Reply::Join(CsError::TryAgain)) => CsError::TryAgain,
                message::Reply::Cpg(Reply::Leave(error @ (CsError::TryAgain | CsError::Busy))) => error,
                message::Reply::Cpg(Reply::PartialMulticast(CsError::TryAgain)) => CsError::TryAgain,
                message::Reply::Cpg(reply) => return Ok(reply),
                message::Reply::Cfg(_) => CsError::Library,
            };
            if !matches!(error, CsError::TryAgain | CsError::Busy) {
                return Err(ClientError::Service(error));
            }
            // The daemon may be waiting for this very client to read.
            self.connection.park_events_and_pause(RETRY_PAUSE)?;
        }
    }

    fn multicast_in_fragments(&mut self, guarantee: u32, message: &[u8]) -> Result<(), ClientError> {
        let max = u32::MAX as usize;
        let too_big = |_| ClientError::TooBig { bytes: message.len(), max };
        let message_bytes = u32::try_from(message.len()).map_err(too_big)?;
        let fragments = message.len().div_ceil(ATOMIC_MESSAGE_BYTES_MAX);
        'message: loop {
            for (place, fragment) in message.chunks(ATOMIC_MESSAGE_BYTES_MAX).enumerate() {
                let kind = match place {
                    0 => Fragment::First,
                    place if place + 1 == fragments => Fragment::Last,
                    _ => Fragment::Continued,
                };
                let fragment = Bytes::copy_from_slice(fragment);
                let request =
                    Request::PartialMulticast { guarantee, message_bytes, kind: Some(kind), fragment };
                match self.ask(&request)? {
                    Reply::PartialMulticast(CsError::Ok) => {}
                    // The membership changed in between: the receivers drop what they have of it.
                    Reply::PartialMulticast(CsError::Interrupt) => continue 'message,
                    Reply::PartialMulticast(error) => return Err(ClientError::Service(error)),
                    _ => return Err(ClientError::Service(CsError::Library)),
                }
            }
            return Ok(());
        }
    }

    /// Keeps fragments; passes on everything else, and messages that are whole.
    fn assemble(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::PartialDeliver { group, nodeid, pid, message_bytes, kind, fragment } => {
                let message_bytes = message_bytes as usize;
                let sender = (nodeid, pid);
                if kind == Fragment::First {
                    self.assembling.insert(sender, Assembly { message_bytes, octets: Vec::new() });
                }
                // Without a first fragment we came too late for the message.
                let assembly = self.assembling.get_mut(&sender)?;
                assembly.octets.extend_from_slice(&fragment);
                let have = assembly.octets.len();
                if kind != Fragment::Last && have <= assembly.message_bytes {
                    return None;
                }
                let assembly = self.assembling.remove(&sender)?;
                let message = Bytes::from(assembly.octets);
                (have == assembly.message_bytes).then_some(Event::Deliver { group, nodeid, pid, message })
            }
            Event::ConfigurationChange { ref left, .. } => {
                for gone in left {
                    self.assembling.remove(&(gone.nodeid, gone.pid));
                }
                Some(event)
            }
            event => Some(event),
        }
    }
}

impl AsFd for Client {
    /// Readable when [`Client::dispatch`] has something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// A multicast that borrows its payload.
struct Multicast<'a> {
    guarantee: u32,
    message: &'a [u8],
}

impl Encode for Multicast<'_> {
    fn encoded_bytes(&self) -> usize {
        Request::multicast_bytes(self.message)
    }

    fn encode(&self, sink: &mut impl message::Sink) {
        Request::put_multicast(self.guarantee, self.message, sink);
    }
}

fn checked(error: CsError) -> Result<(), ClientError> {
    match error {
        CsError::Ok => Ok(()),
        error => Err(ClientError::Service(error)),
    }
}

/// How often we ask again while the daemon says "not now".
const RETRY_PAUSE: Duration = Duration::from_millis(1);
/// How often we knock at a daemon that is starting.
const START_PAUSE: Duration = Duration::from_millis(10);
