//! The services of one node behind one door: deliveries, configurations and client requests go in,
//! ordered messages and effects come out.
//!
//! Not here: the ring and its queue ([`crate::executive`], [`crate::admission`]). So the services can be
//! tested against any source of a total order.

use std::collections::VecDeque;

use bytes::Bytes;
use ipc::message::{ClientId, Reply, Request, Service};
use protocol::{
    NodeId, RingId,
    ring::{Class, Configuration, Delivery, Guarantee, PeerChange},
};
use tracing::{info, trace};

use crate::{
    cfg::Cfg,
    cpg::{self, Cpg},
    executive::{ClientChange, DisconnectCause, Effect},
    sync::{Barrier, Step},
};

/// What an ordered message is for: its first octet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Channel {
    /// The sync barrier.
    Sync = 1,
    /// Closed process groups.
    Cpg = 2,
}

impl Channel {
    fn of(message: &[u8]) -> Option<Self> {
        match *message.first()? {
            1 => Some(Self::Sync),
            2 => Some(Self::Cpg),
            _ => None,
        }
    }
}

/// A message on its way to the ring.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OrderedMessage {
    /// When it may be numbered.
    pub(crate) class: Class,
    /// What it asks for.
    pub(crate) guarantee: Guarantee,
    /// The client whose payload it carries. `None`: the executive's own word, which may never be lost.
    pub(crate) origin: Option<ClientId>,
    /// The service's header.
    pub(crate) head: Bytes,
    /// The client's payload, untouched.
    pub(crate) body: Bytes,
}

impl OrderedMessage {
    /// Octets, head and body together.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Where services put what they want done.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// For the daemon, in order.
    pub(crate) effects: VecDeque<Effect>,
    /// For the ring, in order.
    pub(crate) messages: VecDeque<OrderedMessage>,
}

impl Outbox {
    /// Answers a request.
    pub(crate) fn reply(&mut self, client: ClientId, reply: Reply) {
        self.effects.push_back(Effect::Reply { client, reply });
    }

    /// Tells a client something about its groups.
    pub(crate) fn notify(&mut self, client: ClientId, event: ipc::message::cpg::Event) {
        self.effects.push_back(Effect::Notify { client, event: ipc::message::Event::Cpg(event) });
    }

    /// Cuts a client off.
    pub(crate) fn disconnect(&mut self, client: ClientId, cause: DisconnectCause) {
        self.effects.push_back(Effect::Disconnect { client, cause });
    }
}

/// Ordered messages that were dropped because they made no sense. Peers hold the cluster's key, so these
/// are faults of programs and not of strangers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Dropped {
    /// For no service of this version.
    pub unknown: u64,
    /// Of clients, but ordered while the configuration was not synchronised.
    pub unsynchronised: u64,
    /// Not well formed, or at odds with the groups as they are: of a process that is not a member, a
    /// join of one that is. Some are harmless: a message whose sender has just been lost.
    pub unfit: u64,
}

/// Barrier and services of one node.
#[derive(Debug)]
pub(crate) struct Services {
    barrier: Barrier,
    cfg: Cfg,
    cpg: Cpg,
    dropped: Dropped,
}

impl Services {
    /// Services of a node that is in no configuration yet. `seed` makes iteration handles hard to guess.
    pub(crate) fn new(node: NodeId, seed: u64, cfg: Cfg) -> Self {
        Self { barrier: Barrier::new(), cfg, cpg: Cpg::new(node, seed), dropped: Dropped::default() }
    }

    /// Whether the current configuration's barrier has completed and no other configuration is on its
    /// way. While it is not so, clients' messages are not to be numbered.
    pub(crate) fn synchronised(&self) -> bool {
        self.barrier.is_complete()
    }

    /// The last regular configuration that was installed, completed or not, and how many members it has.
    pub(crate) fn configuration(&self) -> Option<(RingId, usize)> {
        self.barrier.configuration()
    }

    /// Local processes that are in a group or on their way in or out.
    pub(crate) fn processes_local(&self) -> usize {
        self.cpg.processes_local()
    }

    /// What was dropped so far.
    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Takes a configuration at its place among the deliveries.
    pub(crate) fn handle_configuration(&mut self, configuration: Configuration, out: &mut Outbox) {
        match configuration {
            Configuration::Transitional { members, .. } => {
                self.barrier.interrupt(&members);
                self.cpg.abort_sync();
            }
            Configuration::Regular { ring, members } => {
                // A round that no transitional configuration ended first is replaced just as well.
                self.cpg.abort_sync();
                let parts = self.cpg.begin_sync().into_iter().map(|part| (Service::Cpg, part));
                self.barrier.begin(ring, members, parts, &mut out.messages);
            }
        }
    }

    /// Takes a message at its place in the total order.
    pub(crate) fn handle_delivery(&mut self, delivery: Delivery, out: &mut Outbox) {
        match Channel::of(&delivery.message) {
            Some(Channel::Cpg) if self.barrier.admits_clients() => {
                let fits = self.cpg.handle_message(delivery.sender, &delivery.message, out);
                self.dropped.unfit += u64::from(!fits);
            }
            Some(Channel::Cpg) => {
                self.dropped.unsynchronised += 1;
                trace!(node = %delivery.sender, "message of a client before the end of the sync dropped");
            }
            Some(Channel::Sync) => self.on_sync_message(&delivery, out),
            None => {
                self.dropped.unknown += 1;
                trace!(node = %delivery.sender, "message for an unknown service dropped");
            }
        }
    }

    /// A client has come or gone.
    pub(crate) fn handle_client(&mut self, client: ClientId, change: ClientChange, out: &mut Outbox) {
        match change {
            ClientChange::Joined(Service::Cfg) => self.cfg.connect(client),
            ClientChange::Joined(Service::Cpg) => self.cpg.connect(client),
            ClientChange::Gone => {
                self.cfg.disconnect(client);
                self.cpg.disconnect(client, out);
            }
        }
    }

    /// A peer began or ceased to answer on its link.
    pub(crate) fn handle_peer(&mut self, node: NodeId, change: PeerChange) {
        self.cfg.handle_peer(node, change);
    }

    /// A client asks.
    pub(crate) fn handle_request(&mut self, client: ClientId, request: Request, out: &mut Outbox) {
        match request {
            Request::Cfg(request) => self.cfg.handle_request(client, request, out),
            Request::Cpg(request) => self.cpg.handle_request(client, request, out),
            Request::Unknown => out.reply(client, Reply::Refused(ipc::message::CsError::InvalidParam)),
        }
    }

    /// The node is about to leave: all clients are cut off and their processes announced as ended.
    pub(crate) fn shut_down(&mut self, out: &mut Outbox) {
        self.cfg.shut_down(out);
        self.cpg.shut_down(out);
    }

    fn on_sync_message(&mut self, delivery: &Delivery, out: &mut Outbox) {
        match self.barrier.handle_message(delivery.sender, &delivery.message) {
            // cfg has nothing to exchange.
            Step::Nothing | Step::Part { service: Service::Cfg, .. } => {}
            Step::Part { service: Service::Cpg, data } => self.cpg.stage(delivery.sender, &data),
            Step::Completed(completion) => {
                info!(
                    ring.rep = %completion.ring.rep,
                    ring.seq = %completion.ring.seq,
                    members = completion.members.len(),
                    "synchronised"
                );
                // The order of activation is fixed; today only cpg takes part.
                self.cpg.activate(&completion, out);
            }
        }
    }
}

/// Whether a request needs room in the ring's queue: refused with `TryAgain` where there is none.
pub(crate) fn needs_ring(request: &Request) -> bool {
    match request {
        Request::Cpg(request) => cpg::needs_ring(request),
        Request::Cfg(_) | Request::Unknown => false,
    }
}

/// Whether a client gets an answer to its request. One kind does not.
pub(crate) fn has_reply(request: &Request) -> bool {
    !matches!(request, Request::Cpg(ipc::message::cpg::Request::Multicast { .. }))
}
