//! A total order for tests: several nodes' services, joined by hand into rings.
//!
//! It orders one message at a time and delivers it to all members at once, holds messages of clients
//! until their node is synchronised, and keeps what was not ordered across configurations, as the ring
//! does. Which node sends next is the test's choice.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
};

use bytes::Bytes;
use ipc::message::{
    ClientId, CsError, Event, Reply, Request, RingId as ClientRingId, Service,
    cpg::{self, Address, GroupName, Reason},
};
use protocol::{
    BootId, Member, NodeId, RingId, RingSeq,
    ring::{Class, Configuration, Delivery, Guarantee},
};

use crate::{
    cfg::Cfg,
    executive::{ClientChange, Effect},
    service::{OrderedMessage, Outbox, Services},
};

/// Nodes and the order of their messages.
pub(crate) struct Bus {
    pub(crate) nodes: BTreeMap<u32, Node>,
    ring_seq: u64,
    boots: u64,
    clients: u64,
}

/// One of them.
pub(crate) struct Node {
    pub(crate) services: Services,
    member: Member,
    ring: Option<RingId>,
    members: Vec<u32>,
    pub(crate) sync: VecDeque<OrderedMessage>,
    pub(crate) client: VecDeque<OrderedMessage>,
    pub(crate) programs: BTreeMap<ClientId, Program>,
    out: Outbox,
}

/// What a client has seen.
#[derive(Default)]
pub(crate) struct Program {
    events: VecDeque<cpg::Event>,
    replies: VecDeque<Reply>,
    disconnected: bool,
    /// What it has asked to be in.
    joined: Option<(GroupName, u32)>,
    /// The group as told so far; each event is checked against it. `None` where it was too large for
    /// an event when the client joined.
    view: Option<BTreeSet<(u32, u32)>>,
}

/// A client of a node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Client {
    pub(crate) node: u32,
    pub(crate) id: ClientId,
}

impl Bus {
    /// Nodes of these numbers, in one ring and synchronised.
    pub(crate) fn ring_of(nodes: &[u32]) -> Self {
        let mut bus = Self { nodes: BTreeMap::new(), ring_seq: 0, boots: 0, clients: 0 };
        for &node in nodes {
            bus.start(node);
        }
        bus.form(nodes);
        bus.settle();
        bus
    }

    /// Starts a node, or starts it again in a new life. It is in no ring yet.
    pub(crate) fn start(&mut self, node: u32) {
        self.boots += 1;
        let id = NodeId::new(node).expect("nodes have numbers above zero");
        self.nodes.insert(
            node,
            Node {
                services: Services::new(id, self.boots, Cfg::new(id, Ipv4Addr::LOCALHOST.into(), [], 0)),
                member: Member { node: id, boot: BootId(self.boots) },
                ring: None,
                members: Vec::new(),
                sync: VecDeque::new(),
                client: VecDeque::new(),
                programs: BTreeMap::new(),
                out: Outbox::default(),
            },
        );
    }

    /// Ends a node.
    pub(crate) fn crash(&mut self, node: u32) {
        self.nodes.remove(&node);
    }

    /// Puts these nodes into a new ring; nothing in it is ordered yet.
    pub(crate) fn form(&mut self, nodes: &[u32]) {
        self.ring_seq += 4;
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        let rep = self.nodes[&nodes[0]].member.node;
        let ring = RingId { seq: RingSeq(self.ring_seq), rep, nonce: 7 };
        let members: Vec<Member> = nodes.iter().map(|node| self.nodes[node].member).collect();
        let old: BTreeMap<u32, Option<RingId>> = nodes.iter().map(|n| (*n, self.nodes[n].ring)).collect();
        for &number in &nodes {
            let from = old[&number];
            let node = self.nodes.get_mut(&number).expect("it was started");
            if let Some(old_ring) = from {
                let along = members.iter().filter(|m| old[&m.node.get()] == from).copied().collect();
                let transitional = Configuration::Transitional { old: old_ring, new: ring, members: along };
                node.services.handle_configuration(transitional, &mut node.out);
            }
            let regular = Configuration::Regular { ring, members: members.clone() };
            node.services.handle_configuration(regular, &mut node.out);
            node.ring = Some(ring);
            node.members.clone_from(&nodes);
            node.collect();
        }
    }

    /// Orders the next message of a node. `false`: it has none that may be sent.
    pub(crate) fn order(&mut self, node: u32) -> bool {
        let Some(message) = self.nodes.get_mut(&node).and_then(Node::next) else { return false };
        let message = [&message.head[..], &message.body[..]].concat().into();
        self.deliver(node, message);
        true
    }

    /// Delivers octets as an ordered message of this node, to its whole ring.
    pub(crate) fn deliver(&mut self, sender: u32, message: Bytes) {
        let (ring, id) = (self.nodes[&sender].ring, self.nodes[&sender].member.node);
        for node in self.nodes.values_mut().filter(|node| node.ring == ring) {
            let delivery = Delivery { sender: id, guarantee: Guarantee::Agreed, message: message.clone() };
            node.services.handle_delivery(delivery, &mut node.out);
            node.collect();
        }
    }

    /// Orders until nobody has anything left that may be sent.
    pub(crate) fn settle(&mut self) {
        let numbers: Vec<u32> = self.nodes.keys().copied().collect();
        while numbers.iter().filter(|&&node| self.order(node)).count() > 0 {}
    }

    /// A client connects.
    pub(crate) fn connect(&mut self, node: u32) -> Client {
        self.clients += 1;
        let id = ClientId(self.clients);
        self.change(Client { node, id }, ClientChange::Joined(Service::Cpg));
        Client { node, id }
    }

    /// A client's connection ends.
    pub(crate) fn gone(&mut self, client: Client) {
        self.change(client, ClientChange::Gone);
    }

    fn change(&mut self, client: Client, change: ClientChange) {
        let node = self.nodes.get_mut(&client.node).expect("the client's node runs");
        node.programs.entry(client.id).or_default();
        node.services.handle_client(client.id, change, &mut node.out);
        node.collect();
        if change == ClientChange::Gone {
            node.programs.remove(&client.id);
        }
    }

    /// A client asks; nothing is ordered yet.
    pub(crate) fn ask(&mut self, client: Client, request: cpg::Request) {
        let node = self.nodes.get_mut(&client.node).expect("the client's node runs");
        node.services.handle_request(client.id, Request::Cpg(request), &mut node.out);
        node.collect();
    }

    /// A client asks and gets its answer; nothing is ordered yet.
    pub(crate) fn call(&mut self, client: Client, request: cpg::Request) -> cpg::Reply {
        self.ask(client, request);
        match self.program(client).replies.pop_front().expect("it is answered at once") {
            Reply::Cpg(reply) => reply,
            Reply::Cfg(reply) => panic!("another service's answer: {reply:?}"),
            Reply::Refused(error) => panic!("refused: {error}"),
        }
    }

    /// A client joins; its answer.
    pub(crate) fn join(&mut self, client: Client, name: &str, pid: u32) -> CsError {
        let cpg::Reply::Join(error) =
            self.call(client, cpg::Request::Join { group: group(name), pid, flags: 0 })
        else {
            panic!("a join gets a join's answer");
        };
        if error == CsError::Ok {
            self.program(client).joined = group(name).map(|group| (group, pid));
        }
        error
    }

    /// A client leaves; its answer.
    pub(crate) fn leave(&mut self, client: Client) -> CsError {
        let cpg::Reply::Leave(error) = self.call(client, cpg::Request::Leave { group: group("any"), pid: 0 })
        else {
            panic!("a leave gets a leave's answer");
        };
        if error == CsError::Ok {
            self.program(client).joined = None;
        }
        error
    }

    /// A client multicasts.
    pub(crate) fn multicast(&mut self, client: Client, text: &str) {
        let message = Bytes::copy_from_slice(text.as_bytes());
        self.ask(client, cpg::Request::Multicast { guarantee: 2, message });
    }

    /// A process that joined and is settled.
    pub(crate) fn member(&mut self, node: u32, name: &str, pid: u32) -> Client {
        let client = self.connect(node);
        assert_eq!(self.join(client, name, pid), CsError::Ok);
        self.settle();
        client
    }

    /// What a client was told since the last call, one line each.
    pub(crate) fn told(&mut self, client: Client) -> Vec<String> {
        self.program(client).events.drain(..).map(|event| describe(&event)).collect()
    }

    /// As [`Self::told`], as it came.
    pub(crate) fn events(&mut self, client: Client) -> Vec<cpg::Event> {
        self.program(client).events.drain(..).collect()
    }

    /// Forgets what everybody was told.
    pub(crate) fn forget(&mut self) {
        for program in self.nodes.values_mut().flat_map(|node| node.programs.values_mut()) {
            program.events.clear();
        }
    }

    /// Whether the node has cut the client off.
    pub(crate) fn is_disconnected(&mut self, client: Client) -> bool {
        self.program(client).disconnected
    }

    /// Members of a group as this client's node knows them.
    pub(crate) fn members(&mut self, client: Client, name: &str) -> Vec<(u32, u32)> {
        match self.call(client, cpg::Request::MembershipGet { group: group(name) }) {
            cpg::Reply::MembershipGet(members) => members.iter().map(|a| (a.nodeid, a.pid)).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Members of a group as this client was told, if its node and it have not ended.
    pub(crate) fn view(&self, client: Client) -> Option<Vec<(u32, u32)>> {
        let program = self.nodes.get(&client.node)?.programs.get(&client.id)?;
        program.view.as_ref().map(|view| view.iter().copied().collect())
    }

    /// The processes of a node that are in a group by their own account.
    pub(crate) fn truth(&self, node: u32, name: &str) -> Vec<(u32, u32)> {
        let programs = self.nodes[&node].programs.values();
        programs
            .filter(|p| p.joined.is_some_and(|(group, _)| Some(group) == self::group(name)))
            .filter_map(|p| p.joined.map(|(_, pid)| (node, pid)))
            .collect()
    }

    fn program(&mut self, client: Client) -> &mut Program {
        let node = self.nodes.get_mut(&client.node).expect("the client's node runs");
        node.programs.get_mut(&client.id).expect("it has connected")
    }
}

impl Node {
    fn next(&mut self) -> Option<OrderedMessage> {
        if let Some(message) = self.sync.pop_front() {
            return Some(message);
        }
        if self.services.synchronised() { self.client.pop_front() } else { None }
    }

    fn collect(&mut self) {
        for message in self.out.messages.drain(..) {
            match message.class {
                Class::Sync => self.sync.push_back(message),
                Class::Client => self.client.push_back(message),
            }
        }
        for effect in self.out.effects.drain(..) {
            match effect {
                Effect::Reply { client, reply } => {
                    self.programs.get_mut(&client).expect("it asked").replies.push_back(reply);
                }
                Effect::Notify { client, event: Event::Cpg(event) } => {
                    self.programs.get_mut(&client).expect("it listens").hear(event);
                }
                Effect::Disconnect { client, .. } => {
                    self.programs.get_mut(&client).expect("it was connected").disconnected = true;
                }
                other => panic!("services alone do not say {other:?}"),
            }
        }
    }
}

impl Program {
    /// Folds changes of the membership: they must fit to what was told before.
    fn hear(&mut self, event: cpg::Event) {
        if let cpg::Event::ConfigurationChange { members, joined, left, .. } = &event {
            assert!(members.len() <= 128 && joined.len() <= 128 && left.len() <= 128);
            assert!(members.iter().all(|member| member.reason == Reason::Undefined));
            assert!(members.is_sorted_by_key(|member| (member.nodeid, member.pid)));
            match &mut self.view {
                Some(view) => {
                    for process in left {
                        assert!(view.remove(&place(process)), "{process:?} left but was no member");
                    }
                    for process in joined {
                        assert!(view.insert(place(process)), "{process:?} joined but was a member");
                    }
                }
                // A full list may be only the beginning.
                None if members.len() < 128 => self.view = Some(members.iter().map(place).collect()),
                None => {}
            }
            if let Some(view) = &self.view
                && members.len() < 128
                // A full list goes on in the next event, whereas the members are already the final ones.
                && joined.len() < 128
                && left.len() < 128
            {
                assert!(members.iter().map(place).eq(view.iter().copied()), "{members:?} are not {view:?}");
            }
        }
        self.events.push_back(event);
    }
}

fn place(address: &Address) -> (u32, u32) {
    (address.nodeid, address.pid)
}

/// A group's name.
pub(crate) fn group(name: &str) -> Option<GroupName> {
    GroupName::new(name.as_bytes())
}

/// An event in one line: `g 1.10 2.20 +2.20 nodeup`, `ring 1.8 [1, 2]`, `g 1.10: hello`.
fn describe(event: &cpg::Event) -> String {
    match event {
        cpg::Event::Deliver { group, nodeid, pid, message } => {
            format!("{group} {nodeid}.{pid}: {}", message.escape_ascii())
        }
        cpg::Event::PartialDeliver { group, nodeid, pid, message_bytes, kind, fragment } => {
            format!("{group} {nodeid}.{pid}: {kind:?} of {message_bytes}: {}", fragment.escape_ascii())
        }
        cpg::Event::ConfigurationChange { group, members, joined, left } => {
            let mut text = group.to_string();
            for member in members {
                text += &format!(" {}.{}", member.nodeid, member.pid);
            }
            for (sign, list) in [('-', left), ('+', joined)] {
                for process in list {
                    let reason = format!("{:?}", process.reason).to_lowercase();
                    text += &format!(" {sign}{}.{} {reason}", process.nodeid, process.pid);
                }
            }
            text
        }
        cpg::Event::TotemConfigurationChange { ring: ClientRingId { nodeid, seq }, members } => {
            format!("ring {nodeid}.{seq:x} {members:?}")
        }
    }
}
