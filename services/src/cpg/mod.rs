//! Closed process groups: local processes join named groups, multicast to them, and all see the same
//! messages and membership changes in the same order.
//!
//! What all nodes share are [`Groups`]; only ordered messages and completed syncs change them, so that
//! every node of a configuration has the same at the same place in the order. What is a node's own
//! are its clients' connections. A request changes its connection and sends an ordered message;
//! the delivery of that message, here as everywhere, changes the groups.
//!
//! Behaviour towards clients is that of corosync 3.1 (cpg_overview(3) and the pages it names), with
//! these differences, which no client can have relied upon:
//!
//! - After its leave was delivered, a connection may join again.
//! - A leave leaves the group that the connection joined, whatever group and process it names.
//! - Fragments must add up to the length that the first one announced.

mod connection;
mod group;
mod iteration;
mod joinlist;
mod message;
mod process;

use bytes::Bytes;
use ipc::message::{
    ClientId, CsError, Reply as AnyReply, RingId,
    cpg::{
        Address, Event, Fragment, GroupName, IterationKind, JOIN_INITIAL_TOTEM_CONF, Reason, Reply, Request,
    },
};
use protocol::{
    NodeId,
    ring::{Class, Guarantee},
};
use tracing::{trace, warn};

use self::{
    connection::{Connection, Connections, Membership, State},
    group::{Group, Groups},
    iteration::{Handles, Iteration},
    joinlist::Staging,
    message::{Content, HeadPool, Ordered},
    process::{Assembly, FragmentError, ProcessId},
};
use crate::{
    executive::DisconnectCause,
    service::{OrderedMessage, Outbox},
    sync::Completion,
};

/// Largest ordered message in octets: the largest request with the longest head. The ring's
/// `message_bytes_max` must not be below.
pub const MESSAGE_BYTES_MAX: usize = (1 << 20) + message::HEAD_BYTES_MAX;

/// Most entries in a list of an event: corosync's library copies them into arrays of this size. More
/// members are not listed; more that joined or left at once come in several events.
const EVENT_LIST_MAX: usize = 128;

/// Most members in the answer to a membership request.
const MEMBERSHIP_LIST_MAX: usize = 384;

/// The service on one node.
#[derive(Debug)]
pub(crate) struct Cpg {
    node: NodeId,
    groups: Groups,
    staging: Staging,
    connections: Connections,
    ring: Ring,
    heads: HeadPool,
    handles: Handles,
}

/// The configuration whose sync completed last, as clients are told.
#[derive(Clone, Debug, Default)]
struct Ring {
    id: RingId,
    members: Vec<u32>,
}

/// Whether a request sends an ordered message.
pub(crate) fn needs_ring(request: &Request) -> bool {
    match request {
        Request::Join { .. }
        | Request::Leave { .. }
        | Request::Multicast { .. }
        | Request::Finalize
        | Request::ZeroCopyExecute { .. }
        | Request::PartialMulticast { .. } => true,
        Request::MembershipGet { .. }
        | Request::LocalGet
        | Request::IterationInitialize { .. }
        | Request::IterationNext { .. }
        | Request::IterationFinalize { .. } => false,
    }
}

impl Cpg {
    /// A service without clients and groups.
    pub(crate) fn new(node: NodeId, seed: u64) -> Self {
        Self {
            node,
            groups: Groups::default(),
            staging: Staging::default(),
            connections: Connections::new(),
            ring: Ring::default(),
            heads: HeadPool::default(),
            handles: Handles::new(seed),
        }
    }

    /// Local processes in groups.
    pub(crate) fn processes_local(&self) -> usize {
        self.groups.memberships(self.node)
    }

    /// A client has connected.
    pub(crate) fn connect(&mut self, client: ClientId) {
        self.connections.insert(client, Connection::default());
    }

    /// A client's connection is gone. If it was in a group and was not about to leave it, all are told
    /// that the process ended: one reason for the end of each membership, never two.
    pub(crate) fn disconnect(&mut self, client: ClientId, out: &mut Outbox) {
        let Some(connection) = self.connections.remove(&client) else { return };
        let Some(membership) = connection.state.membership() else { return };
        if let Some(group) = self.groups.group_mut(membership.group.as_bytes()) {
            group.unlisten(client);
        }
        if connection.state.sender().is_some() {
            self.send(membership, Guarantee::Agreed, None, Content::Down(client), out);
        }
    }

    /// The node stops: every client goes.
    pub(crate) fn shut_down(&mut self, out: &mut Outbox) {
        let clients: Vec<ClientId> = self.connections.keys().copied().collect();
        for client in clients {
            self.disconnect(client, out);
            out.disconnect(client, DisconnectCause::Leaving);
        }
    }

    /// A client asks. One that is not connected is not answered.
    pub(crate) fn handle_request(&mut self, client: ClientId, request: Request, out: &mut Outbox) {
        if !self.connections.contains_key(&client) {
            trace!(client = client.0, "request of a client that is not connected to cpg dropped");
            return;
        }
        let reply = match request {
            Request::Join { group, pid, flags } => Reply::Join(self.join(client, group, pid, flags, out)),
            Request::Leave { .. } => Reply::Leave(self.leave(client, out)),
            Request::Multicast { guarantee, message } => {
                // Nobody waits for an answer; a client that is in no group talks to nobody.
                let _ = self.multicast(client, guarantee, message, out);
                return;
            }
            Request::ZeroCopyExecute { guarantee, message } => {
                Reply::ZeroCopyExecute(self.multicast(client, guarantee, message, out))
            }
            Request::PartialMulticast { guarantee, message_bytes, kind, fragment } => {
                Reply::PartialMulticast(self.partial(client, guarantee, message_bytes, kind, fragment, out))
            }
            Request::MembershipGet { group } => Reply::MembershipGet(self.membership(group)),
            Request::LocalGet => Reply::LocalGet { nodeid: self.node.get() },
            Request::IterationInitialize { group, kind } => {
                Reply::IterationInitialize(self.iteration_initialize(client, group, kind))
            }
            Request::IterationNext { handle } => Reply::IterationNext(self.iteration_next(client, handle)),
            Request::IterationFinalize { handle } => {
                Reply::IterationFinalize(self.iteration_finalize(client, handle))
            }
            Request::Finalize => {
                self.disconnect(client, out);
                out.reply(client, AnyReply::Cpg(Reply::Finalize(CsError::Ok)));
                out.disconnect(client, DisconnectCause::Finalized);
                return;
            }
        };
        out.reply(client, AnyReply::Cpg(reply));
    }

    /// A message of this service was delivered at its place in the order. `false`: it was dropped.
    pub(crate) fn handle_message(&mut self, sender: NodeId, message: &Bytes, out: &mut Outbox) -> bool {
        let Ok(Ordered { pid, group, content }) =
            message::decode(message).inspect_err(|error| trace!(node = %sender, %error, "dropped"))
        else {
            return false;
        };
        let process = ProcessId { node: sender, pid };
        match content {
            Content::Message(payload) => self.on_message(process, group, payload, out),
            Content::Fragment { kind, message_bytes, payload } => {
                self.on_fragment(process, group, (kind, message_bytes, payload), out)
            }
            Content::Join(client) => self.on_join(process, group, client, out),
            Content::Leave(client) => self.on_leave(process, group, client, Reason::Leave, out),
            Content::Down(client) => self.on_leave(process, group, client, Reason::ProcDown, out),
        }
    }
}

/// The sync.
impl Cpg {
    /// A round begins: what this node reports.
    pub(crate) fn begin_sync(&mut self) -> Vec<Bytes> {
        self.staging = Staging::default();
        joinlist::encode(&self.groups, self.node)
    }

    /// The round is over without a result.
    pub(crate) fn abort_sync(&mut self) {
        self.staging = Staging::default();
    }

    /// A part of what `node` reports.
    pub(crate) fn stage(&mut self, node: NodeId, part: &[u8]) {
        if let Err(error) = self.staging.add(node, part) {
            warn!(%node, %error, "joinlist is wrong; taken as empty");
        }
    }

    /// The round has completed: the groups become what the members have reported.
    ///
    /// Each group gets one event for processes whose nodes are gone, one for those that nodes have
    /// brought, one for those that their nodes no longer report; then every client gets the ring.
    pub(crate) fn activate(&mut self, completion: &Completion, out: &mut Outbox) {
        let mut staging = std::mem::take(&mut self.staging);
        staging.void(&completion.void);

        self.remove_lost_nodes(completion, out);
        self.add_reported(&staging, out);
        self.remove_unreported(&staging, out);

        let nodes = completion.members.iter().map(|member| member.node.get());
        self.ring = Ring {
            id: RingId { nodeid: completion.ring.rep.get(), seq: completion.ring.seq.0 },
            members: nodes.take(EVENT_LIST_MAX).collect(),
        };
        for &client in self.connections.keys() {
            out.notify(client, self.ring.event());
        }
    }

    fn remove_lost_nodes(&mut self, completion: &Completion, out: &mut Outbox) {
        let Self { groups, connections, node, .. } = self;
        // A node always comes along with itself.
        let stays = |id: ProcessId| {
            id.node == *node || completion.survivors.iter().any(|member| member.node == id.node)
        };
        groups.remove_all(
            |_, id| !stays(id),
            |group, lost| announce(group, Change::Left(Reason::NodeDown, lost), connections, out),
        );
    }

    fn add_reported(&mut self, staging: &Staging, out: &mut Outbox) {
        for (name, reported) in staging.iter() {
            let new: Vec<ProcessId> = reported.filter(|&id| self.groups.insert(name, id).is_some()).collect();
            if let Some(group) = self.groups.group(name).filter(|_| !new.is_empty()) {
                announce(group, Change::Joined(Reason::NodeUp, &new), &mut self.connections, out);
            }
        }
    }

    fn remove_unreported(&mut self, staging: &Staging, out: &mut Outbox) {
        let Self { groups, connections, node, .. } = self;
        groups.remove_all(
            // This node's own processes are what it says they are.
            |group, id| id.node != *node && !staging.contains(group.name().as_bytes(), id),
            |group, ended| announce(group, Change::Left(Reason::ProcDown, ended), connections, out),
        );
    }
}

/// Requests.
impl Cpg {
    fn join(
        &mut self,
        client: ClientId,
        group: Option<GroupName>,
        pid: u32,
        flags: u32,
        out: &mut Outbox,
    ) -> CsError {
        let same = |membership: &Membership| membership.pid == pid && Some(membership.group) == group;
        if self.connections.values().any(|other| other.state.membership().is_some_and(same)) {
            return CsError::Exist;
        }
        let Some(group) = group else { return CsError::NameTooLong };
        let process = ProcessId { node: self.node, pid };
        if self.groups.group(group.as_bytes()).is_some_and(|group| group.contains(process)) {
            // The end of an earlier connection's membership is still on its way.
            return CsError::TryAgain;
        }
        // Counted by connections and not only by what was delivered, so that joins on their way count.
        let joined = self.connections.values().filter(|other| other.state.membership().is_some()).count();
        let Some(connection) = self.connections.get_mut(&client) else { return CsError::BadHandle };
        match connection.state {
            State::Unjoined => {}
            State::JoinStarted(_) | State::Joined(_) => return CsError::Exist,
            State::LeaveStarted(_) => return CsError::Busy,
        }
        if joined.max(self.groups.memberships(self.node)) >= Groups::NODE_MEMBERSHIPS_MAX {
            return CsError::NoResources;
        }
        let membership = Membership { group, pid, flags };
        connection.state = State::JoinStarted(membership);
        connection.upload = None;
        self.send(&membership, Guarantee::Agreed, None, Content::Join(client), out);
        CsError::Ok
    }

    fn leave(&mut self, client: ClientId, out: &mut Outbox) -> CsError {
        let Some(connection) = self.connections.get_mut(&client) else { return CsError::BadHandle };
        match connection.state {
            State::Unjoined | State::LeaveStarted(_) => CsError::NotExist,
            State::JoinStarted(_) => CsError::Busy,
            State::Joined(membership) => {
                connection.state = State::LeaveStarted(membership);
                connection.upload = None;
                self.send(&membership, Guarantee::Agreed, None, Content::Leave(client), out);
                CsError::Ok
            }
        }
    }

    fn multicast(&mut self, client: ClientId, guarantee: u32, message: Bytes, out: &mut Outbox) -> CsError {
        let state = self.connections.get(&client).map(|connection| connection.state);
        let Some(membership) = state.as_ref().and_then(State::sender) else {
            return CsError::NotExist;
        };
        self.send(membership, guarantee_of(guarantee), Some(client), Content::Message(message), out);
        CsError::Ok
    }

    fn partial(
        &mut self,
        client: ClientId,
        guarantee: u32,
        message_bytes: u32,
        kind: Option<Fragment>,
        payload: Bytes,
        out: &mut Outbox,
    ) -> CsError {
        let Some(connection) = self.connections.get_mut(&client) else { return CsError::BadHandle };
        let state = connection.state;
        let Some(membership) = state.sender() else { return CsError::NotExist };
        let Some(kind) = kind else { return CsError::InvalidParam };
        match Assembly::add(&mut connection.upload, kind, message_bytes, payload.len()) {
            Ok(()) => {}
            // Nothing was begun, or it was given up because the group changed in between.
            Err(FragmentError::NotBegun) => return CsError::Interrupt,
            Err(FragmentError::WrongSize) => return CsError::InvalidParam,
        }
        let content = Content::Fragment { kind, message_bytes, payload };
        self.send(membership, guarantee_of(guarantee), Some(client), content, out);
        CsError::Ok
    }

    fn membership(&self, group: Option<GroupName>) -> Vec<Address> {
        let group = group.and_then(|name| self.groups.group(name.as_bytes()));
        group.map(|group| group.addresses(MEMBERSHIP_LIST_MAX)).unwrap_or_default()
    }

    fn iteration_initialize(
        &mut self,
        client: ClientId,
        group: Option<GroupName>,
        kind: Option<IterationKind>,
    ) -> Result<u64, CsError> {
        let kind = kind.ok_or(CsError::InvalidParam)?;
        if kind == IterationKind::OneGroup && group.is_none() {
            return Err(CsError::NameTooLong);
        }
        let iteration = Iteration::new(&self.groups, kind, group.as_ref());
        let handle = self.handles.next();
        let connection = self.connections.get_mut(&client).ok_or(CsError::BadHandle)?;
        if connection.iterations.open(handle, iteration) { Ok(handle) } else { Err(CsError::NoResources) }
    }

    fn iteration_next(&mut self, client: ClientId, handle: u64) -> Result<(GroupName, Address), CsError> {
        let connection = self.connections.get_mut(&client).ok_or(CsError::BadHandle)?;
        let iteration = connection.iterations.find(handle).ok_or(CsError::Library)?;
        iteration.next().ok_or(CsError::NoSections)
    }

    fn iteration_finalize(&mut self, client: ClientId, handle: u64) -> CsError {
        let closed = self.connections.get_mut(&client).is_some_and(|c| c.iterations.close(handle));
        if closed { CsError::Ok } else { CsError::Library }
    }

    fn send(
        &mut self,
        membership: &Membership,
        guarantee: Guarantee,
        origin: Option<ClientId>,
        content: Content,
        out: &mut Outbox,
    ) {
        let (head, body) = self.heads.encode(membership.pid, &membership.group, content);
        out.messages.push_back(OrderedMessage { class: Class::Client, guarantee, origin, head, body });
    }
}

/// Deliveries. What does not fit to the groups as they are is dropped: `false`.
impl Cpg {
    fn on_message(&mut self, sender: ProcessId, group: &[u8], payload: Bytes, out: &mut Outbox) -> bool {
        let Some(group) = self.groups.group(group).filter(|group| group.contains(sender)) else {
            return false;
        };
        for &client in group.listeners() {
            let event = Event::Deliver {
                group: *group.name(),
                nodeid: sender.node.get(),
                pid: sender.pid,
                message: payload.clone(),
            };
            out.notify(client, event);
        }
        true
    }

    fn on_fragment(
        &mut self,
        sender: ProcessId,
        group: &[u8],
        (kind, message_bytes, fragment): (Fragment, u32, Bytes),
        out: &mut Outbox,
    ) -> bool {
        let Some(group) = self.groups.group_mut(group) else { return false };
        let Some(process) = group.member_mut(sender) else { return false };
        if Assembly::add(&mut process.assembly, kind, message_bytes, fragment.len()).is_err() {
            // Its beginning was delivered before the process became known here, or it is nonsense.
            return false;
        }
        for &client in group.listeners() {
            let event = Event::PartialDeliver {
                group: *group.name(),
                nodeid: sender.node.get(),
                pid: sender.pid,
                message_bytes,
                kind,
                fragment: fragment.clone(),
            };
            out.notify(client, event);
        }
        true
    }

    fn on_join(&mut self, process: ProcessId, name: &[u8], client: ClientId, out: &mut Outbox) -> bool {
        let Some(group) = self.groups.insert(name, process) else {
            return false;
        };
        let own = (process.node == self.node).then(|| self.connections.get_mut(&client)).flatten();
        let mut wants_ring = false;
        // The connection may be gone; then word of its end follows.
        if let Some(connection) = own
            && let State::JoinStarted(membership) = connection.state
        {
            connection.state = State::Joined(membership);
            group.listen(client);
            wants_ring = membership.flags & JOIN_INITIAL_TOTEM_CONF != 0;
        }
        announce(group, Change::Joined(Reason::Join, &[process]), &mut self.connections, out);
        if wants_ring {
            out.notify(client, self.ring.event());
        }
        true
    }

    fn on_leave(
        &mut self,
        process: ProcessId,
        name: &[u8],
        client: ClientId,
        reason: Reason,
        out: &mut Outbox,
    ) -> bool {
        let Some(group) = self.groups.remove(name, process) else {
            return false;
        };
        announce(group, Change::Left(reason, &[process]), &mut self.connections, out);
        if process.node == self.node {
            group.unlisten(client);
            if let Some(connection) = self.connections.get_mut(&client) {
                connection.state = State::Unjoined;
            }
        }
        self.groups.prune(name);
        true
    }
}

/// What happened to a group. The group is already as it is afterwards.
enum Change<'a> {
    Joined(Reason, &'a [ProcessId]),
    Left(Reason, &'a [ProcessId]),
}

/// Tells the group's listeners. What they are handing in piece by piece is interrupted: its beginning
/// went to other members than its end would.
fn announce(group: &Group, change: Change<'_>, connections: &mut Connections, out: &mut Outbox) {
    if group.listeners().is_empty() {
        return;
    }
    let members = group.addresses(EVENT_LIST_MAX);
    let (Change::Joined(reason, ids) | Change::Left(reason, ids)) = change;
    for ids in ids.chunks(EVENT_LIST_MAX) {
        let changed: Vec<Address> = ids.iter().map(|id| id.address(reason)).collect();
        let (joined, left) = match change {
            Change::Joined(..) => (changed, Vec::new()),
            Change::Left(..) => (Vec::new(), changed),
        };
        let event =
            Event::ConfigurationChange { group: *group.name(), members: members.clone(), joined, left };
        for &client in group.listeners() {
            out.notify(client, event.clone());
        }
    }
    for client in group.listeners() {
        if let Some(connection) = connections.get_mut(client) {
            connection.upload = None;
        }
    }
}

impl Ring {
    fn event(&self) -> Event {
        Event::TotemConfigurationChange { ring: self.id, members: self.members.clone() }
    }
}

/// corosync's numbers: 0 unordered, 1 fifo, 2 agreed, 3 safe. The first two get more than they ask for.
fn guarantee_of(guarantee: u32) -> Guarantee {
    if guarantee == 3 { Guarantee::Safe } else { Guarantee::Agreed }
}

#[cfg(test)]
mod tests;
