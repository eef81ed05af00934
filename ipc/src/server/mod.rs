//! The server: all services' sockets and all clients behind one epoll descriptor.
//!
//! Synchronous, and it never blocks: whoever owns it waits until the descriptor is readable, calls
//! [`Server::poll`], carries out what follows from the inputs, and calls [`Server::flush`]. Clients
//! are hostile: whatever one of them does, at most its own connection suffers.

mod alarm;
mod channel;
mod connection;
mod listener;
mod settings;
mod slots;
mod suppress;
mod zero_copy;

use std::{
    collections::VecDeque,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
    time::Timespec,
};
use tracing::{debug, warn};

pub use crate::{setup::Transport, shm::RingError};
pub use listener::BindError;
pub use settings::{AccessRules, Credentials, GoneCause, Input, Limits, ServerSettings};

use crate::{
    message::{ClientId, Event, MESSAGE_BYTES_MAX, Reply},
    setup::Welcome,
    shm::SharedMemory,
};
use alarm::{Alarm, Setting};
use channel::{Channel, Memory};
use connection::{Budget, Connection, Doorbells, Shared, State, Stream, Turn};
use listener::{ACCEPT_PAUSE, ACCEPTS_MAX, Admission, HalfOpen, Listener, Progress};
use slots::Slots;
use suppress::Suppress;

/// Serves clients.
#[derive(Debug)]
pub struct Server {
    epoll: OwnedFd,
    alarm: Alarm,
    listeners: Vec<Listener>,
    shared: SharedMemory,
    transport: Transport,
    rules: AccessRules,
    limits: Limits,
    accepting: bool,
    flow_control: u32,
    admission: Admission,
    slots: Slots<Slot>,
    /// Inputs that were not handed out yet.
    inputs: Vec<Input>,
    /// Clients with requests, in the order of their turns.
    ready: VecDeque<ClientId>,
    /// Clients with doorbells to ring.
    dirty: Vec<ClientId>,
    /// Clients with events that wait for room.
    stalled: Vec<ClientId>,
    /// When connections end that have not become, or are not any more, what they should be; oldest
    /// first.
    half_open: VecDeque<(Instant, ClientId)>,
    closing: VecDeque<(Instant, ClientId)>,
    queued_bytes: usize,
    memory: Memory,
    refused_log: Suppress,
    cut_log: Suppress,
}

#[derive(Debug)]
enum Slot {
    HalfOpen(HalfOpen),
    Connected(Box<Connection>),
}

impl Server {
    /// Listens on the sockets of all services and removes what daemons that died have left in
    /// `/dev/shm`. Nobody is let in before [`Self::set_accepting`].
    ///
    /// # Errors
    /// A socket is taken (another daemon runs) or cannot be had.
    pub fn bind(settings: ServerSettings) -> Result<Self, BindError> {
        let shared = SharedMemory::open().map_err(BindError::SharedMemory)?;
        let bind = |service: &_| Listener::bind(settings.instance.as_deref(), *service);
        let listeners = settings.services.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        if let Err(error) = shared.remove_leftovers(&settings.services) {
            warn!(%error, "cannot look for leftovers in /dev/shm");
        }
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| BindError::Poll(error.into()))?;
        let alarm = Alarm::new().map_err(BindError::Poll)?;
        let server = Self {
            epoll,
            alarm,
            listeners,
            shared,
            transport: settings.transport,
            rules: settings.rules,
            limits: settings.limits,
            accepting: false,
            flow_control: 0,
            admission: Admission::default(),
            slots: Slots::default(),
            inputs: Vec::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            stalled: Vec::new(),
            half_open: VecDeque::new(),
            closing: VecDeque::new(),
            queued_bytes: 0,
            memory: Memory::default(),
            refused_log: Suppress::default(),
            cut_log: Suppress::default(),
        };
        let add = |socket: BorrowedFd<'_>, key| {
            epoll::add(&server.epoll, socket, EventData::new_u64(key), EventFlags::IN)
                .map_err(|error| BindError::Poll(error.into()))
        };
        add(server.alarm.as_fd(), ALARM_KEY)?;
        for (place, listener) in server.listeners.iter().enumerate() {
            add(listener.socket.as_fd(), place as u64)?;
        }
        Ok(server)
    }

    /// Appends what clients did since, within the limits of one call, and sends what could not be
    /// sent before. Never blocks.
    ///
    /// True if there may be more: call it again before waiting. An owner that is told only once when
    /// the descriptor becomes readable (`EPOLLET`, as in tokio's `AsyncFd`) may wait only after
    /// false. Work that is left over keeps the descriptor readable all the same.
    #[must_use = "true asks for another call"]
    pub fn poll(&mut self, inputs: &mut Vec<Input>) -> bool {
        let now = Instant::now();
        let mut space = [MaybeUninit::uninit(); 64];
        let found = match epoll::wait(&self.epoll, &mut space, Some(&NOT_AT_ALL)) {
            Ok((events, _)) => {
                for event in events.iter() {
                    self.on_event(event.data.u64(), event.flags, now);
                }
                !events.is_empty()
            }
            // Interrupted: the next call finds them.
            Err(_) => true,
        };
        self.take_requests();
        self.on_time(now);
        inputs.append(&mut self.inputs);
        self.flush();
        found || self.has_work()
    }

    /// Answers the client's request. Nothing happens if it is gone.
    pub fn reply(&mut self, client: ClientId, reply: &Reply) {
        if let Some(Slot::Connected(connection)) = self.slots.get_mut(client) {
            let result = connection.reply(reply, &mut self.memory);
            self.cut_off_if(client, result);
        }
    }

    /// Tells the client something, now or as soon as it has read what it was told before; its doorbell
    /// rings at the next [`Self::flush`]. Nothing happens if it is gone. A client that lets more events
    /// wait than [`Limits`] allow is cut off.
    pub fn notify(&mut self, client: ClientId, event: &Event) {
        let Some(Slot::Connected(connection)) = self.slots.get_mut(client) else { return };
        let was_stalled = connection.retry.is_some();
        let mut shared = Shared {
            memory: &mut self.memory,
            directory: &self.shared,
            limits: &self.limits,
            queued_bytes: &mut self.queued_bytes,
        };
        let result = connection.notify(event, Instant::now, &mut shared);
        if connection.retry.is_some() != was_stalled {
            self.stalled.push(client);
        }
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(client);
        }
        self.cut_off_if(client, result);
    }

    /// Closes the client's connection once it has had time to read its last reply. No input of it
    /// follows, not even [`Input::Gone`].
    pub fn disconnect(&mut self, client: ClientId) {
        let Some(Slot::Connected(connection)) = self.slots.get_mut(client) else { return };
        match connection.state {
            State::Open => {
                connection.state = State::Closing;
                self.closing.push_back((Instant::now() + CLOSING_TIME, client));
            }
            State::HungUp { .. } => self.remove(client),
            State::Closing => {}
        }
    }

    /// Tells all clients what they may send: 0 everything, 1 nothing, 2 no cpg multicasts. While it
    /// is not 0, no requests are read from anybody; those that were sent wait.
    pub fn set_flow_control(&mut self, value: u32) {
        if self.flow_control == value {
            return;
        }
        self.flow_control = value;
        for slot in self.slots.values_mut() {
            if let Slot::Connected(connection) = slot {
                connection.set_flow_control(value);
            }
        }
        self.set_alarm();
    }

    /// Whether newcomers are let in. Before, they are told to try again.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Changes who may connect. Those who are connected stay.
    pub fn set_rules(&mut self, rules: AccessRules) {
        self.rules = rules;
    }

    /// How many connections there are, half-open ones included.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// Rings the doorbells for all events since the last call. To be called after each batch.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for client in dirty.drain(..) {
            if let Some(Slot::Connected(connection)) = self.slots.get_mut(client) {
                connection.is_dirty = false;
                ring_doorbells(&self.epoll, connection);
            }
        }
        self.dirty = dirty;
        self.set_alarm();
    }

    fn on_event(&mut self, key: u64, flags: EventFlags, now: Instant) {
        if key == ALARM_KEY {
            return;
        }
        if key < self.listeners.len() as u64 {
            return self.accept(key as usize, now);
        }
        let client = ClientId(key);
        match self.slots.get_mut(client) {
            Some(Slot::HalfOpen(half_open)) => {
                let progress = half_open.receive();
                self.introduce(client, progress);
            }
            Some(Slot::Connected(_)) => self.on_connection(client, flags),
            None => {}
        }
    }

    fn on_connection(&mut self, client: ClientId, flags: EventFlags) {
        let Some(Slot::Connected(connection)) = self.slots.get_mut(client) else { return };
        if flags.contains(EventFlags::OUT) {
            ring_doorbells(&self.epoll, connection);
        }
        let stream = connection.drain_doorbells();
        if stream == Stream::Closed || flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            // A hang-up cannot be masked, so the socket leaves the set.
            let _ = epoll::delete(&self.epoll, &connection.socket);
            match connection.state {
                State::Open => connection.state = State::HungUp { bytes_left: RING_BYTES },
                State::Closing => return self.remove(client),
                State::HungUp { .. } => {}
            }
        }
        if !connection.is_ready {
            connection.is_ready = true;
            self.ready.push_back(client);
        }
    }

    fn accept(&mut self, place: usize, now: Instant) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(place) else { return };
            match listener.accept() {
                Ok(socket) => self.enter(socket, listener.service, now),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    warn!(%error, "cannot accept clients; trying again soon");
                    self.admission.paused_until = Some(now + ACCEPT_PAUSE);
                    return self.watch_listeners(EventFlags::empty());
                }
            }
        }
    }

    fn enter(&mut self, socket: OwnedFd, service: crate::message::Service, now: Instant) {
        let connections = self.slots.len();
        let half_open = match self.admission.enter(socket, service, connections, &self.limits) {
            Ok(half_open) => half_open,
            Err(reason) => {
                if let Some(suppressed) = self.refused_log.pass(now) {
                    warn!(%service, reason, suppressed, "turned a client away");
                }
                return;
            }
        };
        let uid = half_open.credentials.uid;
        let Some(client) = self.slots.insert(|_| Slot::HalfOpen(half_open)) else {
            self.admission.introduced(uid);
            return self.admission.left(uid);
        };
        self.half_open.push_back((now + self.limits.handshake_timeout, client));
        let Some(Slot::HalfOpen(half_open)) = self.slots.get_mut(client) else { return };
        if epoll::add(&self.epoll, &half_open.socket, EventData::new_u64(client.0), STREAM_EVENTS).is_err() {
            return self.remove(client);
        }
        // It has usually said all it has to say.
        let progress = half_open.receive();
        self.introduce(client, progress);
    }

    fn introduce(&mut self, client: ClientId, progress: Progress) {
        match progress {
            Progress::Wait => {}
            Progress::Nonsense => self.remove(client),
            Progress::TooBig => self.refuse(client, Errno::MSGSIZE),
            Progress::Introduced => {
                if let Err(errno) = self.connect(client) {
                    self.refuse(client, errno);
                }
            }
        }
    }

    /// Gives an introduced client its channel.
    fn connect(&mut self, client: ClientId) -> Result<(), Errno> {
        let Some(Slot::HalfOpen(half_open)) = self.slots.get_mut(client) else { return Ok(()) };
        let (service, credentials) = (half_open.service, half_open.credentials);
        if !self.accepting {
            return Err(Errno::AGAIN);
        }
        if !self.rules.allow(credentials) {
            return Err(Errno::ACCESS);
        }
        let descriptor = half_open.socket.as_raw_fd();
        let (channel, welcome) =
            Channel::create(self.transport, &self.shared, service, credentials, descriptor)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
        let flow_control = self.flow_control;
        channel.set_flow_control(flow_control);
        if let Some(socket) = channel.request_socket() {
            let flags = EventFlags::IN | EventFlags::ET;
            epoll::add(&self.epoll, socket, EventData::new_u64(client.0), flags)?;
        }
        if !half_open.answer(&welcome) {
            self.remove(client);
            return Ok(());
        }
        self.admission.introduced(credentials.uid);
        self.slots.change(client, |slot| match slot {
            Slot::HalfOpen(HalfOpen { socket, .. }) => {
                let mut connection = Connection::new(client, service, credentials, socket, channel);
                connection.set_flow_control(flow_control);
                Slot::Connected(Box::new(connection))
            }
            slot @ Slot::Connected(_) => slot,
        });
        debug!(client = client.0, %service, pid = credentials.pid, uid = credentials.uid, "client connected");
        self.inputs.push(Input::Joined { client, service, credentials });
        Ok(())
    }

    fn refuse(&mut self, client: ClientId, errno: Errno) {
        let Some(Slot::HalfOpen(half_open)) = self.slots.get_mut(client) else { return };
        let Credentials { uid, gid, pid } = half_open.credentials;
        half_open.answer(&Welcome::Refused(errno));
        if errno == Errno::AGAIN {
            debug!(uid, gid, pid, "asked a client to try again later");
        } else if let Some(suppressed) = self.refused_log.pass(Instant::now()) {
            warn!(uid, gid, pid, cause = %errno, suppressed, "Denied connection attempt");
        }
        self.remove(client);
    }

    /// Lets clients have their turns, as many as one poll allows.
    fn take_requests(&mut self) {
        if self.flow_control != 0 {
            return;
        }
        let mut poll = Budget { requests: self.limits.poll_requests_max, bytes: self.limits.poll_bytes_max };
        for _ in 0..self.ready.len() {
            if poll.is_spent() {
                return;
            }
            let Some(client) = self.ready.pop_front() else { return };
            let Some(Slot::Connected(connection)) = self.slots.get_mut(client) else { continue };
            let mut shared = Shared {
                memory: &mut self.memory,
                directory: &self.shared,
                limits: &self.limits,
                queued_bytes: &mut self.queued_bytes,
            };
            match connection.take_turn(&mut shared, &mut poll, &mut self.inputs) {
                Ok(Turn::Drained) => connection.is_ready = false,
                Ok(Turn::MoreToCome) => self.ready.push_back(client),
                Err(cause) => self.cut_off(client, cause),
            }
        }
    }

    /// Does what is due.
    fn on_time(&mut self, now: Instant) {
        while let Some((_, client)) = self.half_open.pop_front_if(|(deadline, _)| *deadline <= now) {
            if let Some(Slot::HalfOpen(_)) = self.slots.get_mut(client) {
                debug!(client = client.0, "client did not introduce itself in time");
                self.remove(client);
            }
        }
        while let Some((_, client)) = self.closing.pop_front_if(|(deadline, _)| *deadline <= now) {
            self.remove(client);
        }
        if self.admission.paused_until.is_some_and(|until| until <= now) {
            self.admission.paused_until = None;
            self.watch_listeners(EventFlags::IN);
        }
        self.retry_stalled(now);
    }

    fn retry_stalled(&mut self, now: Instant) {
        let mut stalled = std::mem::take(&mut self.stalled);
        stalled.retain(|&client| {
            let Some(Slot::Connected(connection)) = self.slots.get_mut(client) else { return false };
            let mut shared = Shared {
                memory: &mut self.memory,
                directory: &self.shared,
                limits: &self.limits,
                queued_bytes: &mut self.queued_bytes,
            };
            let result = connection.retry(now, &mut shared);
            ring_doorbells(&self.epoll, connection);
            let waits = connection.retry.is_some() && connection.state == State::Open;
            self.cut_off_if(client, result);
            waits
        });
        self.stalled = stalled;
    }

    fn watch_listeners(&mut self, flags: EventFlags) {
        for (place, listener) in self.listeners.iter().enumerate() {
            let key = EventData::new_u64(place as u64);
            if let Err(error) = epoll::modify(&self.epoll, &listener.socket, key, flags) {
                warn!(%error, service = %listener.service, "cannot watch a listening socket");
            }
        }
    }

    fn cut_off_if(&mut self, client: ClientId, result: Result<(), GoneCause>) {
        if let Err(cause) = result {
            self.cut_off(client, cause);
        }
    }

    /// Ends a connection; the client's fault, or its wish.
    fn cut_off(&mut self, client: ClientId, cause: GoneCause) {
        let Some(Slot::Connected(connection)) = self.slots.get_mut(client) else { return };
        let Credentials { pid, uid, .. } = connection.credentials;
        let service = connection.service;
        let said = connection.state != State::Closing;
        if matches!(cause, GoneCause::Closed | GoneCause::Message(crate::message::MessageError::Goodbye)) {
            debug!(client = client.0, %service, pid, uid, "client disconnected");
        } else if let Some(suppressed) = self.cut_log.pass(Instant::now()) {
            warn!(client = client.0, %service, pid, uid, %cause, suppressed, "client cut off");
        }
        self.remove(client);
        if said {
            self.inputs.push(Input::Gone { client, cause });
        }
    }

    /// Closes the socket and removes the channel with its files.
    fn remove(&mut self, client: ClientId) {
        match self.slots.remove(client) {
            Some(Slot::HalfOpen(half_open)) => {
                self.admission.introduced(half_open.credentials.uid);
                self.admission.left(half_open.credentials.uid);
            }
            Some(Slot::Connected(connection)) => {
                self.queued_bytes -= connection.queue_bytes();
                self.admission.left(connection.credentials.uid);
            }
            None => {}
        }
    }

    /// Whether a call of [`Self::poll`] would find something without waiting.
    fn has_work(&self) -> bool {
        !self.inputs.is_empty() || (self.flow_control == 0 && !self.ready.is_empty())
    }

    fn set_alarm(&mut self) {
        if self.has_work() {
            return self.alarm.set(Setting::Now, Instant::now());
        }
        let retries = self.stalled.iter().filter_map(|&client| match self.slots.get(client)? {
            Slot::Connected(connection) => connection.retry.map(|retry| retry.at),
            Slot::HalfOpen(_) => None,
        });
        let first = |queue: &VecDeque<(Instant, ClientId)>| queue.front().map(|(deadline, _)| *deadline);
        let times = [first(&self.half_open), first(&self.closing), self.admission.paused_until];
        match times.into_iter().flatten().chain(retries).min() {
            Some(time) => self.alarm.set(Setting::At(time), Instant::now()),
            None => self.alarm.set(Setting::Off, Instant::now()),
        }
    }
}

impl AsFd for Server {
    /// The epoll descriptor: readable when [`Server::poll`] has something to do. Timeouts included;
    /// no other timer is needed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Rings, and has the socket polled for room if it did not take all.
fn ring_doorbells(epoll: &OwnedFd, connection: &mut Connection) {
    let wants_room = connection.ring_doorbells() == Doorbells::Owed;
    if wants_room != connection.wants_room && connection.state == State::Open {
        let flags = if wants_room { STREAM_EVENTS | EventFlags::OUT } else { STREAM_EVENTS };
        let key = EventData::new_u64(connection.id.0);
        // Fails only for a socket that has left the set because its client is gone.
        if epoll::modify(epoll, &connection.socket, key, flags).is_ok() {
            connection.wants_room = wants_room;
        }
    }
}

const STREAM_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);
/// Not a client's number: those start at 65,536 and never get there.
const ALARM_KEY: u64 = u64::MAX;
/// How long a client may take to read its last reply.
const CLOSING_TIME: Duration = Duration::from_secs(1);
/// No more than this fits into a request ring.
const RING_BYTES: usize = MESSAGE_BYTES_MAX + 4096;
const NOT_AT_ALL: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
