//! One client's connection: requests in, replies and events out.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{
    Credentials, GoneCause, Input, Limits,
    channel::{Channel, Memory, Sent},
    zero_copy::Buffers,
};
use crate::{
    message::{
        ClientId, CsError, Encode, Event, Incoming, MESSAGE_BYTES_MAX, Reply, Request, Service,
        cpg::{self, ZeroCopy},
    },
    shm::SharedMemory,
};

/// An authorised client.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ClientId,
    pub(super) service: Service,
    pub(super) credentials: Credentials,
    pub(super) socket: OwnedFd,
    pub(super) channel: Channel,
    pub(super) state: State,
    /// Whether it stands in the server's list of clients with requests.
    pub(super) is_ready: bool,
    /// Whether it stands in the server's list of clients with doorbells to ring.
    pub(super) is_dirty: bool,
    /// Whether the socket is polled for room.
    pub(super) wants_room: bool,
    /// When to try again to send the events that wait. `None`: none wait.
    pub(super) retry: Option<Retry>,
    /// Octets for events that were sent and not announced yet.
    owed: usize,
    queue: VecDeque<Box<[u8]>>,
    queue_bytes: usize,
    /// What all clients may send, see [`Server::set_flow_control`](super::Server::set_flow_control).
    flow_control: u32,
    /// So many of its events wait that it may not multicast until it has read them.
    is_behind: bool,
    /// It has sent a message in fragments; from then on flow control for its own arrears is by answer.
    sends_fragments: bool,
    zero_copy: Buffers,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Alive.
    Open,
    /// The client is gone; what it had asked before is still taken, at most this many octets.
    HungUp {
        /// Octets that may still be taken.
        bytes_left: usize,
    },
    /// We are done with it and wait for it to close, so that it can read its last reply.
    Closing,
}

/// When to try again, and how long to wait after that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) at: Instant,
    after: Duration,
}

/// How many requests may be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.requests == 0 || self.bytes == 0
    }

    fn spend(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What all connections use.
pub(super) struct Shared<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) directory: &'a SharedMemory,
    pub(super) limits: &'a Limits,
    /// Octets of events that wait, of all clients.
    pub(super) queued_bytes: &'a mut usize,
}

/// Whether a client's turn ended because nothing was left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    Drained,
    MoreToCome,
}

impl Connection {
    pub(super) fn new(
        id: ClientId,
        service: Service,
        credentials: Credentials,
        socket: OwnedFd,
        channel: Channel,
    ) -> Self {
        Self {
            id,
            service,
            credentials,
            socket,
            channel,
            state: State::Open,
            is_ready: false,
            is_dirty: false,
            wants_room: false,
            retry: None,
            owed: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            flow_control: 0,
            is_behind: false,
            sends_fragments: false,
            zero_copy: Buffers::default(),
        }
    }

    /// Tells the client what all clients may send. Its own arrears come on top of that.
    pub(super) fn set_flow_control(&mut self, value: u32) {
        self.flow_control = value;
        self.show_flow_control();
    }

    /// A client that sends faster than it reads mostly reads its own messages late. Its library
    /// answers multicasts with "try again" until it has caught up, and everything else still goes.
    ///
    /// Not so for a client that sends fragments: libcpg repeats a fragment that flow control refuses for a
    /// whole second before the program hears of it and can read again, and meanwhile ever more events wait.
    /// See [`Self::refuses_fragment`].
    fn set_behind(&mut self, is_behind: bool) {
        if self.is_behind != is_behind {
            self.is_behind = is_behind;
            self.show_flow_control();
        }
    }

    fn show_flow_control(&self) {
        let own = if self.is_behind && !self.sends_fragments { NO_MULTICASTS } else { 0 };
        self.channel.set_flow_control(if self.flow_control == 0 { own } else { self.flow_control });
    }

    /// Octets of events that wait.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Reads the client's doorbells, all that one call gives; what is left wakes the poll again.
    pub(super) fn drain_doorbells(&self) -> Stream {
        let mut octets = [0_u8; 512];
        match recv(&self.socket, &mut octets, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Stream::Closed,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Stream::Open,
            Err(_) => Stream::Closed,
        }
    }

    /// Takes requests until none are left or the budget is spent.
    pub(super) fn take_turn(
        &mut self,
        shared: &mut Shared<'_>,
        poll: &mut Budget,
        inputs: &mut Vec<Input>,
    ) -> Result<Turn, GoneCause> {
        let limits = shared.limits;
        let mut turn = Budget { requests: limits.turn_requests_max, bytes: limits.turn_bytes_max };
        while !turn.is_spent() && !poll.is_spent() {
            let Some(message) = self.channel.read_request(shared.memory)? else {
                return self.drained();
            };
            turn.spend(message.len());
            poll.spend(message.len());
            if self.state == State::Closing {
                continue;
            }
            self.count_last_bytes(message.len())?;
            let client = self.id;
            match Incoming::decode(self.service, message)? {
                Incoming::Request(request) if self.refuses_fragment(&request) => {
                    self.reply(&Reply::Cpg(cpg::Reply::PartialMulticast(CsError::TryAgain)), shared.memory)?;
                }
                Incoming::Request(request) => inputs.push(Input::Request { client, request }),
                Incoming::ZeroCopy(request) => {
                    if let Some(request) = self.zero_copy(&request, shared)? {
                        inputs.push(Input::Request { client, request: Request::Cpg(request) });
                    }
                }
            }
        }
        Ok(Turn::MoreToCome)
    }

    fn drained(&self) -> Result<Turn, GoneCause> {
        match self.state {
            State::HungUp { .. } => Err(GoneCause::Closed),
            State::Open | State::Closing => Ok(Turn::Drained),
        }
    }

    /// Of a client that is gone only as much is taken as its ring could hold: another process may
    /// go on writing there.
    fn count_last_bytes(&mut self, bytes: usize) -> Result<(), GoneCause> {
        if let State::HungUp { bytes_left } = &mut self.state {
            *bytes_left = bytes_left.checked_sub(bytes.max(1)).ok_or(GoneCause::Closed)?;
        }
        Ok(())
    }

    /// A client that is behind does not begin another large message. Its library hands this answer on at
    /// once, so the program can read.
    fn refuses_fragment(&mut self, request: &Request) -> bool {
        let Request::Cpg(cpg::Request::PartialMulticast { kind, .. }) = request else { return false };
        if !self.sends_fragments {
            self.sends_fragments = true;
            self.show_flow_control();
        }
        self.is_behind && *kind == Some(cpg::Fragment::First)
    }

    fn zero_copy(
        &mut self,
        request: &ZeroCopy,
        shared: &mut Shared<'_>,
    ) -> Result<Option<cpg::Request>, GoneCause> {
        let reply = match request {
            ZeroCopy::Allocate { map_bytes, path } => {
                let max = shared.limits.zero_copy_buffers_max;
                let result =
                    self.zero_copy.allocate(shared.directory, self.credentials, *map_bytes, path, max);
                cpg::Reply::ZeroCopyBuffer(result.err().unwrap_or(CsError::Ok))
            }
            ZeroCopy::Free { token } => {
                cpg::Reply::ZeroCopyBuffer(self.zero_copy.free(*token).err().unwrap_or(CsError::Ok))
            }
            ZeroCopy::Execute { token } => match self.zero_copy.execute(*token) {
                Ok(request) => return Ok(Some(request)),
                Err(error) => cpg::Reply::ZeroCopyExecute(error),
            },
        };
        self.channel.write_reply(&Reply::Cpg(reply), shared.memory)?;
        Ok(None)
    }

    /// Answers.
    pub(super) fn reply(&mut self, reply: &Reply, memory: &mut Memory) -> Result<(), GoneCause> {
        if self.state == State::Open { self.channel.write_reply(reply, memory) } else { Ok(()) }
    }

    /// Tells, now or as soon as the client has read enough.
    pub(super) fn notify(
        &mut self,
        event: &Event,
        now: impl FnOnce() -> Instant,
        shared: &mut Shared<'_>,
    ) -> Result<(), GoneCause> {
        if self.state != State::Open {
            return Ok(());
        }
        let bytes = event.encoded_bytes();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(GoneCause::EventTooBig { bytes });
        }
        if self.queue.is_empty() && self.channel.write_event(event, shared.memory)? == Sent::Done {
            self.owe_doorbell();
            return Ok(());
        }
        self.enqueue(event, bytes, shared)?;
        if self.retry.is_none() {
            self.retry = Some(Retry { at: now() + RETRY_FIRST, after: RETRY_FIRST });
        }
        Ok(())
    }

    /// Encoded, because a message that waits must not keep the memory alive that it is a slice of.
    fn enqueue(&mut self, event: &Event, bytes: usize, shared: &mut Shared<'_>) -> Result<(), GoneCause> {
        let cost = bytes + EVENT_OVERHEAD_BYTES;
        let limits = shared.limits;
        let own = (self.queue_bytes + cost, limits.event_queue_bytes_max);
        let all = (*shared.queued_bytes + cost, limits.event_queues_bytes_max);
        for (bytes, max) in [own, all] {
            if bytes > max {
                return Err(GoneCause::EventQueueFull { bytes, max });
            }
        }
        let mut encoded = Vec::with_capacity(bytes);
        event.encode(&mut encoded);
        self.queue.push_back(encoded.into_boxed_slice());
        self.queue_bytes += cost;
        *shared.queued_bytes += cost;
        if self.queue_bytes > limits.event_queue_bytes_max / BEHIND_SHARE {
            self.set_behind(true);
        }
        Ok(())
    }

    /// Sends of the events that wait as many as the client has made room for.
    pub(super) fn retry(&mut self, now: Instant, shared: &mut Shared<'_>) -> Result<(), GoneCause> {
        let Some(retry) = self.retry.filter(|retry| retry.at <= now && self.state == State::Open) else {
            return Ok(());
        };
        let mut after = (retry.after * 2).min(RETRY_LAST);
        while let Some(event) = self.queue.front() {
            if self.channel.write_event(&**event, shared.memory)? == Sent::Full {
                self.retry = Some(Retry { at: now + after, after });
                return Ok(());
            }
            let cost = event.len() + EVENT_OVERHEAD_BYTES;
            self.queue_bytes -= cost;
            *shared.queued_bytes -= cost;
            self.queue.pop_front();
            self.owe_doorbell();
            after = RETRY_FIRST;
        }
        self.retry = None;
        self.set_behind(false);
        Ok(())
    }

    fn owe_doorbell(&mut self) {
        if self.channel.has_doorbells() {
            self.owed += 1;
        }
    }

    /// Rings one doorbell for each event that was sent: never more, or the client waits for an event
    /// that does not come, and never less, or it never looks.
    pub(super) fn ring_doorbells(&mut self) -> Doorbells {
        while self.owed > 0 {
            let octets = &[0; 1024][..self.owed.min(1024)];
            match send(&self.socket, octets, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => self.owed -= sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Doorbells::Owed,
                // The client is gone, as the poll is about to say.
                Err(_) => self.owed = 0,
            }
        }
        Doorbells::Rung
    }
}

/// What a client's stream socket says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stream {
    Open,
    Closed,
}

/// Whether the socket took all doorbells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Doorbells {
    Rung,
    Owed,
}

/// With more than this share of the most that may wait in its queue, a client is behind, until the
/// queue is empty. Far above the bursts that programs send before they read: some repeat a refused
/// multicast without reading in between.
const BEHIND_SHARE: usize = 4;
/// The flow-control value under which libraries send everything but cpg multicasts.
const NO_MULTICASTS: u32 = 2;
/// What an event in the queue costs besides its octets.
const EVENT_OVERHEAD_BYTES: usize = 64;
/// A client does not say when it has read something, so we look: soon at first,
const RETRY_FIRST: Duration = Duration::from_micros(200);
/// and rarely in the end.
const RETRY_LAST: Duration = Duration::from_millis(20);
