//! One whole node as one value.
//!
//! This file dispatches and nothing else: datagrams go through the links to the ring, what the ring
//! delivers goes to the services, what those want ordered goes through admission back to the ring, and
//! whatever concerns the world comes out as one ordered stream of effects.

use std::{
    mem::{Discriminant, discriminant},
    net::SocketAddr,
    time::Duration,
};

pub use ipc::message::ClientId;
use ipc::message::{CsError, Event, Reply, Request, Service};
use protocol::{
    Instant, Member, NodeId, RingSeq,
    links::{DatagramError, LinkEvent, LinkSettings, Links, TransmitBatch},
    ring::{Boot, Class, Configuration, Delivery, Output, PeerChange, Ring, RingSettings},
    seal::OpenError,
    wire::FrameError,
};
use tracing::{debug, info, warn};

pub use crate::service::Dropped as DroppedMessages;
use crate::{
    admission::{Admission, Overflow, Queue},
    cfg::Cfg,
    service::{OrderedMessage, Outbox, Services, has_reply, needs_ring},
    throttle::Throttle,
};

/// What the executive needs to know.
#[derive(Clone, Debug)]
pub struct ExecutiveSettings {
    /// The ring's.
    pub ring: RingSettings,
    /// The links'.
    pub links: LinkSettings,
    /// Where the others reach this node, for programs that ask. Of the peers, `links` knows it.
    pub address: SocketAddr,
}

/// A datagram as it came from the network. It is opened in place.
#[derive(Debug)]
pub struct Received<'a> {
    /// Who claims to have sent it.
    pub source: SocketAddr,
    /// Its octets.
    pub datagram: &'a mut [u8],
}

/// What happened to a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientChange {
    /// It connected to this service and was authorised.
    Joined(Service),
    /// It is gone: closed, crashed or cut off.
    Gone,
}

/// An effect that takes time has finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// [`Effect::Store`]: this sequence is on stable storage.
    Stored(RingSeq),
}

/// What clients may send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u32)]
pub enum FlowControl {
    /// Everything.
    #[default]
    Open = 0,
    /// No multicasts; and the server reads no request of any client until it opens again.
    MulticastsHeld = 2,
}

/// Why the executive cuts a client off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DisconnectCause {
    /// It finalised; the connection closes after the reply.
    #[error("the client finalised its handle")]
    Finalized,
    /// It went on multicasting while held, beyond what is kept for it. Its multicasts have no answer,
    /// so this is how it learns that one was not sent.
    #[error("the client multicasts although multicasts are held")]
    IgnoresFlowControl,
    /// Its message is larger than the ring's settings allow.
    #[error("the client's message is larger than the ring carries")]
    MessageTooBig,
    /// The node leaves the ring; all clients go before it does.
    #[error("the node is leaving")]
    Leaving,
}

/// What an executive wants done, in this order.
#[derive(Clone, Debug)]
#[must_use]
pub enum Effect {
    /// Datagrams wait in `Executive::transmits`; send them and clear it.
    Transmit,
    /// Put the ring sequence on stable storage off the loop, then hand in [`Done::Stored`].
    Store(RingSeq),
    /// Answer a client's request.
    Reply {
        /// To whom.
        client: ClientId,
        /// What.
        reply: Reply,
    },
    /// Tell a client something.
    Notify {
        /// Whom.
        client: ClientId,
        /// What.
        event: Event,
    },
    /// Close a client's connection.
    Disconnect {
        /// Whose.
        client: ClientId,
        /// Why.
        cause: DisconnectCause,
    },
    /// From now on clients may send this much.
    FlowControl(FlowControl),
    /// The first sync has completed: accept clients, tell systemd.
    Ready,
    /// One line for `systemctl status`.
    Status(String),
    /// The node has left; the daemon may end.
    Left,
    /// The node must end: another one uses its number.
    Refused,
}

/// Who wants to be woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// The ring, for this timer.
    Ring(protocol::ring::Timer),
    /// The links.
    Links,
    /// The node itself: it has waited long enough to say goodbye.
    Leave,
}

/// What was dropped, counted since the start. The links count for themselves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExecutiveStats {
    /// Frames of peers that are not well formed.
    pub frames_malformed: u64,
    /// Ordered messages that were dropped.
    pub messages: DroppedMessages,
}

/// A node as one value.
///
/// After each `handle_*` and [`leave`](Self::leave), and after [`new`](Self::new), call
/// [`poll_effect`](Self::poll_effect) until it returns `None`, carrying out each effect before asking
/// for the next; then sleep until [`poll_timeout`](Self::poll_timeout). `now` never goes backwards.
#[derive(Debug)]
pub struct Executive {
    node: NodeId,
    nodes_configured: usize,
    links: Links,
    ring: Ring,
    services: Services,
    admission: Admission,
    /// What the services want done; its effects are also the executive's own queue.
    out: Outbox,
    /// An [`Effect::Transmit`] lies among the effects.
    transmit_announced: bool,
    /// The ring may number clients' messages in the installed configuration.
    clients_released: bool,
    /// The first sync has completed.
    ready: bool,
    status: String,
    leaving: Leaving,
    datagram_errors: Throttle<Discriminant<DatagramError>>,
    frame_errors: Throttle<Discriminant<FrameError>>,
    stats: ExecutiveStats,
}

/// How far the node's way out is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leaving {
    /// It stays.
    No,
    /// The ends of its processes are on their way through the ring; it waits no longer than this.
    ByeUntil(Instant),
    /// The ring was told.
    Left,
}

/// How long a leaving node waits for the others to learn of the ends of its processes. They would
/// learn of it anyway, as a lost node.
const BYE_TIMEOUT: Duration = Duration::from_millis(200);

impl Executive {
    /// A node that has just started. Without peers it is a ring of its own at once.
    ///
    /// `settings.ring.message_bytes_max` should be at least [`MESSAGE_BYTES_MAX`](crate::MESSAGE_BYTES_MAX)
    /// and `settings.ring.send_queue_bytes_max` some times that: a client whose message is above
    /// either is cut off.
    pub fn new(settings: ExecutiveSettings, boot: Boot, now: Instant) -> Self {
        let node = settings.ring.node;
        let peers = settings.links.peers.iter().map(|peer| (peer.node, peer.address.ip()));
        let cfg = Cfg::new(node, settings.address.ip(), peers, settings.links.frame_bytes_max());
        let mut executive = Self {
            node,
            nodes_configured: settings.links.peers.len() + 1,
            links: Links::new(settings.links, boot.id, boot.seed, now),
            admission: Admission::new(&settings.ring),
            ring: Ring::new(settings.ring, boot, now),
            services: Services::new(node, boot.seed, cfg),
            out: Outbox::default(),
            transmit_announced: false,
            clients_released: false,
            ready: false,
            status: String::new(),
            leaving: Leaving::No,
            datagram_errors: Throttle::new(),
            frame_errors: Throttle::new(),
            stats: ExecutiveStats::default(),
        };
        executive.update_status();
        executive.settle(now);
        executive
    }

    /// Datagrams from the network, in the order in which they came.
    pub fn handle_datagrams(&mut self, now: Instant, datagrams: &mut [Received<'_>]) {
        for received in datagrams {
            let opened = self.links.handle_datagram(now, received.source, received.datagram);
            // A datagram that proves a peer may be followed by that peer's frames: the ring hears of the
            // peer first.
            while let Some(event) = self.links.poll_event() {
                self.on_link_event(now, event);
            }
            match opened {
                Ok(Some(opened)) => {
                    if let Err(error) = self.ring.handle_frame(now, opened.from, opened.frame) {
                        self.on_frame_error(now, opened.from.node, error);
                    }
                }
                Ok(None) => {}
                Err(error) => self.on_datagram_error(now, received.source, error),
            }
        }
        self.ring.handle_drained(now);
        self.settle(now);
    }

    /// A local program asks.
    pub fn handle_request(&mut self, now: Instant, client: ClientId, request: Request) {
        let held = self.admission.flow() != FlowControl::Open || self.leaving != Leaving::No;
        if held && needs_ring(&request) && has_reply(&request) {
            self.out.reply(client, Reply::Refused(CsError::TryAgain));
        } else {
            // A multicast has no answer that could refuse it. It was sent before its client could know
            // that it should not; admission finds a place for it.
            self.services.handle_request(client, request, &mut self.out);
        }
        self.settle(now);
    }

    /// A client has come or gone.
    pub fn handle_client(&mut self, now: Instant, client: ClientId, change: ClientChange) {
        if matches!(change, ClientChange::Joined(_)) && self.leaving != Leaving::No {
            self.out.disconnect(client, DisconnectCause::Leaving);
            return;
        }
        self.services.handle_client(client, change, &mut self.out);
        self.settle(now);
    }

    /// An effect that takes time has finished.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        match done {
            Done::Stored(seq) => self.ring.handle_stored(now, seq),
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.links.handle_timeout(now);
        self.ring.handle_timeout(now);
        self.settle(now);
    }

    /// The node is to stop: clients are cut off, their processes announced as ended, and then the ring
    /// is left. [`Effect::Left`] is the end of it.
    pub fn leave(&mut self, now: Instant) {
        if self.leaving != Leaving::No {
            return;
        }
        info!(node = %self.node, "leaving");
        self.leaving = Leaving::ByeUntil(now + BYE_TIMEOUT);
        self.services.shut_down(&mut self.out);
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.out.effects.pop_front()?;
        if matches!(effect, Effect::Transmit) {
            self.transmit_announced = false;
        }
        Some(effect)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        let ring = self.ring.poll_timeout().map(|(at, timer)| (at, Wake::Ring(timer)));
        let links = self.links.poll_timeout().map(|at| (at, Wake::Links));
        let leave = match self.leaving {
            Leaving::ByeUntil(at) => Some((at, Wake::Leave)),
            Leaving::No | Leaving::Left => None,
        };
        [ring, links, leave].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Datagrams waiting to be sent; whoever carries out [`Effect::Transmit`] clears them.
    pub fn transmits(&mut self) -> &mut TransmitBatch {
        self.links.transmits()
    }

    /// The node's links, for their figures.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// What was dropped.
    pub fn stats(&self) -> ExecutiveStats {
        ExecutiveStats { messages: self.services.dropped(), ..self.stats }
    }

    /// Whether clients may be served: the installed configuration's sync has completed.
    pub fn is_synchronised(&self) -> bool {
        self.services.synchronised()
    }
}

/// From one part to the other, until nothing moves any more.
impl Executive {
    fn settle(&mut self, now: Instant) {
        self.announce_transmits();
        loop {
            self.carry_out(now);
            if !self.submit(now) {
                break;
            }
        }
        let synchronised = self.services.synchronised();
        let queue = RingQueue { ring: &mut self.ring, now };
        if let Some(flow) = self.admission.assess(&queue, synchronised) {
            self.out.effects.push_back(Effect::FlowControl(flow));
        }
        self.leave_if_said_goodbye(now);
    }

    /// Carries out what ring and links want, each thing before the next is asked for.
    fn carry_out(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.ring.poll_output() {
                self.on_output(output);
            } else if let Some(event) = self.links.poll_event() {
                self.on_link_event(now, event);
            } else {
                return;
            }
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::StoreRingSeq(seq) => self.out.effects.push_back(Effect::Store(seq)),
            Output::Send { to, frame } => {
                self.links.send(to, &frame);
                self.announce_transmits();
            }
            Output::Deliver(delivery) => self.on_delivery(delivery),
            Output::Configure(configuration) => self.on_configuration(configuration),
            Output::Left => self.out.effects.push_back(Effect::Left),
        }
    }

    fn on_delivery(&mut self, delivery: Delivery) {
        let before = self.services.synchronised();
        self.services.handle_delivery(delivery, &mut self.out);
        if self.services.synchronised() != before {
            self.update_status();
            if !std::mem::replace(&mut self.ready, true) {
                self.out.effects.push_back(Effect::Ready);
            }
        }
    }

    fn on_configuration(&mut self, configuration: Configuration) {
        self.clients_released = false;
        let regular = matches!(configuration, Configuration::Regular { .. });
        self.services.handle_configuration(configuration, &mut self.out);
        if regular {
            self.update_status();
        }
    }

    /// The links have logged it already.
    fn on_link_event(&mut self, now: Instant, event: LinkEvent) {
        match event {
            LinkEvent::PeerUp(member) => self.on_peer(now, member, PeerChange::Up),
            LinkEvent::PeerDown(member) => self.on_peer(now, member, PeerChange::Down),
            LinkEvent::DuplicateNode { .. } => {}
            LinkEvent::Refused { .. } => self.out.effects.push_back(Effect::Refused),
        }
    }

    fn on_peer(&mut self, now: Instant, member: Member, change: PeerChange) {
        self.services.handle_peer(member.node, change);
        self.ring.handle_peer(now, member, change);
    }

    /// Gives the ring what the services and waiting clients have for it. `true`: something moved.
    fn submit(&mut self, now: Instant) -> bool {
        let mut queue = RingQueue { ring: &mut self.ring, now };
        let mut moved = self.admission.flush(&mut queue);
        while let Some(message) = self.out.messages.pop_front() {
            moved = true;
            let result = match message.class {
                Class::Sync => {
                    queue.push(message);
                    Ok(())
                }
                Class::Client => self.admission.submit(message, &mut queue),
            };
            if let Err(Overflow { client, cause }) = result {
                warn!(client = client.0, %cause, "client cut off");
                self.services.handle_client(client, ClientChange::Gone, &mut self.out);
                self.out.disconnect(client, cause);
            }
        }
        // Only now that the ring has nothing left to say is its configuration the services' too: a
        // sync that completed further up may have been overtaken by the next configuration.
        if self.services.synchronised() && !self.clients_released {
            self.clients_released = true;
            queue.ring.release_clients(now);
            moved = true;
        }
        moved
    }

    fn leave_if_said_goodbye(&mut self, now: Instant) {
        let Leaving::ByeUntil(until) = self.leaving else { return };
        let queued = self.ring.queued_bytes() > 0 || !self.admission.is_empty();
        if (queued || self.services.processes_local() > 0) && now < until {
            return;
        }
        self.leaving = Leaving::Left;
        self.ring.leave(now);
        self.carry_out(now);
    }

    /// A transmission has its place among the effects: before what its messages led to.
    fn announce_transmits(&mut self) {
        if !self.transmit_announced && !self.links.transmits().is_empty() {
            self.transmit_announced = true;
            self.out.effects.push_back(Effect::Transmit);
        }
    }

    fn update_status(&mut self) {
        let total = self.nodes_configured;
        let status = match self.services.configuration() {
            None => format!("0 of {total} nodes, no ring yet"),
            Some((ring, members)) => {
                let state = if self.services.synchronised() { "synchronised" } else { "synchronising" };
                format!("{members} of {total} nodes, ring {ring}, {state}")
            }
        };
        if self.status != status {
            self.status.clone_from(&status);
            self.out.effects.push_back(Effect::Status(status));
        }
    }

    fn on_datagram_error(&mut self, now: Instant, source: SocketAddr, error: DatagramError) {
        let Some(suppressed) = self.datagram_errors.admit(now, discriminant(&error)) else { return };
        match error {
            // What networks that duplicate and nodes that restart bring about.
            DatagramError::Unproven { .. }
            | DatagramError::Stale { .. }
            | DatagramError::Open { cause: OpenError::Replay(_), .. } => {
                debug!(%source, cause = %error, suppressed, "datagram dropped");
            }
            _ => warn!(%source, cause = %error, suppressed, "datagram dropped"),
        }
    }

    fn on_frame_error(&mut self, now: Instant, node: NodeId, error: FrameError) {
        self.stats.frames_malformed += 1;
        if let Some(suppressed) = self.frame_errors.admit(now, discriminant(&error)) {
            warn!(%node, cause = %error, suppressed, "frame dropped");
        }
    }
}

/// The ring's queue at one moment.
struct RingQueue<'a> {
    ring: &'a mut Ring,
    now: Instant,
}

impl Queue for RingQueue<'_> {
    fn queued_bytes(&self) -> usize {
        self.ring.queued_bytes()
    }

    fn push(&mut self, message: OrderedMessage) {
        let OrderedMessage { class, guarantee, head, body, .. } = message;
        let result = self.ring.multicast(self.now, class, guarantee, head, body);
        result.expect("the ring takes every sync message, and of clients' what has room by its settings");
    }
}

#[cfg(test)]
mod tests;
