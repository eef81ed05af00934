//! A toy cluster: fixed members, one of them numbers all messages. It shows that the simulator works
//! without a daemon, and, broken on purpose, that the invariants notice.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use ipc::message::{
    ClientId, CsError, Event, Reply, Request, RingId,
    cpg::{self, Address, GroupName, Reason},
};
use protocol::{
    Instant, RingSeq,
    ring::{Boot, Timer},
};
use services::executive::{ClientChange, Done, Effect, ExecutiveSettings, Received, Wake};

use crate::machine::{Machine, Outgoing};

/// What a toy does wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Now and then it delivers two messages the wrong way round.
    Reorders,
    /// Now and then it delivers a message twice.
    Duplicates,
    /// Now and then it loses a message.
    Loses,
    /// Now and then it changes an octet.
    Damages,
    /// It forgets somebody in a view.
    WrongView,
    /// It uses a ring before it is on the disk.
    StoresNothing,
}

/// An ordered event.
#[derive(Clone, Debug)]
enum Ordered {
    Join { group: GroupName, pid: u32 },
    Leave { group: GroupName, pid: u32, reason: Reason },
    Message { group: GroupName, pid: u32, payload: Bytes },
}

/// A node of the toy cluster.
#[derive(Debug)]
pub struct Toy {
    fault: Fault,
    nodeid: u32,
    members: Vec<u32>,
    peers: BTreeMap<u32, SocketAddr>,
    clients: BTreeMap<ClientId, (GroupName, u32, bool)>,
    groups: BTreeMap<GroupName, Vec<Address>>,
    /// Own events by own number, until the sequencer's order has come back to here.
    own: BTreeMap<u64, Vec<u8>>,
    own_next: u64,
    /// At the sequencer: the order, and what was taken from each node.
    order: Vec<Vec<u8>>,
    taken: BTreeMap<u32, u64>,
    held: BTreeMap<u32, BTreeMap<u64, Vec<u8>>>,
    /// Everywhere: what has come, and how far it was delivered.
    come: BTreeMap<u64, Vec<u8>>,
    next: u64,
    late: Option<Vec<u8>>,
    effects: VecDeque<Effect>,
    outgoing: Vec<Outgoing>,
    timer: Instant,
}

impl Machine for Toy {
    fn start(settings: ExecutiveSettings, boot: Boot, now: Instant) -> Self {
        Self::broken(Fault::None, settings, boot, now)
    }

    fn handle_datagrams(&mut self, _now: Instant, batch: &mut [Received<'_>]) {
        for received in batch {
            let Some((kind, rest)) = received.datagram.split_first() else { continue };
            let Some((from, rest)) = rest.split_first_chunk() else { continue };
            let Some((number, event)) = rest.split_first_chunk() else { continue };
            let (from, number) = (u32::from_le_bytes(*from), u64::from_le_bytes(*number));
            match kind {
                0 => self.submitted(from, number, event.to_vec()),
                1 if number >= self.next => {
                    self.come.insert(number, event.to_vec());
                }
                2 => self.resend(from, number),
                _ => {}
            }
        }
        self.deliver();
        self.transmit();
    }

    fn handle_request(&mut self, _now: Instant, client: ClientId, request: Request) {
        match request {
            Request::Cpg(cpg::Request::Join { group: Some(group), pid, .. }) => {
                self.clients.insert(client, (group, pid, false));
                self.reply(client, cpg::Reply::Join(CsError::Ok));
                self.submit(&Ordered::Join { group, pid });
            }
            Request::Cpg(cpg::Request::Leave { group: Some(group), pid }) => {
                self.reply(client, cpg::Reply::Leave(CsError::Ok));
                self.submit(&Ordered::Leave { group, pid, reason: Reason::Leave });
            }
            Request::Cpg(cpg::Request::Multicast { message, .. }) => {
                if let Some((group, pid, _)) = self.clients.get(&client).copied() {
                    self.submit(&Ordered::Message { group, pid, payload: message });
                }
            }
            Request::Cpg(cpg::Request::PartialMulticast { .. }) => {
                self.reply(client, cpg::Reply::PartialMulticast(CsError::TryAgain));
            }
            other => panic!("toys do not know {other:?}"),
        }
        self.transmit();
    }

    fn handle_client(&mut self, _now: Instant, client: ClientId, change: ClientChange) {
        if change == ClientChange::Gone
            && let Some((group, pid, _)) = self.clients.remove(&client)
        {
            self.submit(&Ordered::Leave { group, pid, reason: Reason::ProcDown });
        }
        self.transmit();
    }

    fn handle_done(&mut self, _now: Instant, _done: Done) {
        self.effects.push_back(Effect::Ready);
    }

    /// Sends again what may have been lost, and asks for what is missing.
    fn handle_timeout(&mut self, now: Instant) {
        self.timer = now + Duration::from_millis(20);
        let own: Vec<(u64, Vec<u8>)> = self.own.iter().take(8).map(|(n, e)| (*n, e.clone())).collect();
        for (number, event) in own {
            self.send_sequencer(number, &event);
        }
        let sequencer = self.members[0];
        if sequencer != self.nodeid {
            self.send(sequencer, 2, self.next, &[]);
        }
        self.deliver();
        self.transmit();
    }

    fn leave(&mut self, _now: Instant) {
        self.effects.push_back(Effect::Left);
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        Some((self.timer, Wake::Ring(Timer::TokenRetransmit)))
    }

    fn drain_transmits(&mut self, out: &mut Vec<Outgoing>) {
        out.append(&mut self.outgoing);
    }
}

impl Toy {
    /// A toy with a fault.
    pub fn broken(fault: Fault, settings: ExecutiveSettings, _boot: Boot, now: Instant) -> Self {
        let nodeid = settings.ring.node.get();
        let peers: BTreeMap<u32, SocketAddr> =
            settings.links.peers.iter().map(|peer| (peer.node.get(), peer.address)).collect();
        let mut members: Vec<u32> = peers.keys().copied().chain([nodeid]).collect();
        members.sort_unstable();
        let first = if fault == Fault::StoresNothing { Effect::Ready } else { Effect::Store(RingSeq(4)) };
        Self {
            fault,
            nodeid,
            members,
            peers,
            clients: BTreeMap::new(),
            groups: BTreeMap::new(),
            own: BTreeMap::new(),
            own_next: 0,
            order: Vec::new(),
            taken: BTreeMap::new(),
            held: BTreeMap::new(),
            come: BTreeMap::new(),
            next: 0,
            late: None,
            effects: VecDeque::from([first]),
            outgoing: Vec::new(),
            timer: now + Duration::from_millis(20),
        }
    }

    fn reply(&mut self, client: ClientId, reply: cpg::Reply) {
        self.effects.push_back(Effect::Reply { client, reply: Reply::Cpg(reply) });
    }

    fn submit(&mut self, ordered: &Ordered) {
        let event = encode(self.nodeid, ordered);
        let number = self.own_next;
        self.own_next += 1;
        self.own.insert(number, event.clone());
        self.send_sequencer(number, &event);
    }

    fn send_sequencer(&mut self, number: u64, event: &[u8]) {
        if self.members[0] == self.nodeid {
            self.submitted(self.nodeid, number, event.to_vec());
            self.deliver();
        } else {
            self.send(self.members[0], 0, number, event);
        }
    }

    /// At the sequencer: takes each node's events in the node's order.
    fn submitted(&mut self, from: u32, number: u64, event: Vec<u8>) {
        self.held.entry(from).or_default().insert(number, event);
        let taken = self.taken.entry(from).or_default();
        while let Some(event) = self.held.get_mut(&from).and_then(|held| held.remove(taken)) {
            *taken += 1;
            let place = self.order.len() as u64;
            self.order.push(event.clone());
            for index in 1..self.members.len() {
                let datagram = datagram(1, self.nodeid, place, &event);
                let to = self.peers[&self.members[index]];
                self.outgoing.push(Outgoing { to, datagram });
            }
            self.come.insert(place, event);
        }
        let taken = *taken;
        self.held.entry(from).or_default().retain(|number, _| *number >= taken);
    }

    fn resend(&mut self, to: u32, from: u64) {
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(self.order.len());
        let end = (start + 32).min(self.order.len());
        for place in start..end {
            let event = self.order[place].clone();
            self.send(to, 1, place as u64, &event);
        }
    }

    fn send(&mut self, to: u32, kind: u8, number: u64, event: &[u8]) {
        if let Some(&to) = self.peers.get(&to) {
            self.outgoing.push(Outgoing { to, datagram: datagram(kind, self.nodeid, number, event) });
        }
    }

    fn transmit(&mut self) {
        if !self.outgoing.is_empty() {
            self.effects.push_back(Effect::Transmit);
        }
    }

    fn deliver(&mut self) {
        while let Some(event) = self.come.remove(&self.next) {
            self.next += 1;
            let now_and_then = self.nodeid == 2 && self.next.is_multiple_of(16);
            match self.fault {
                Fault::Loses if now_and_then => {}
                Fault::Reorders if now_and_then => self.late = Some(event),
                Fault::Duplicates if now_and_then => {
                    self.hand_up(&event);
                    self.hand_up(&event);
                }
                Fault::Damages if now_and_then => {
                    let mut event = event;
                    if let Some(last) = event.last_mut() {
                        *last ^= 1;
                    }
                    self.hand_up(&event);
                }
                _ => {
                    self.hand_up(&event);
                    if let Some(late) = self.late.take() {
                        self.hand_up(&late);
                    }
                }
            }
        }
    }

    fn hand_up(&mut self, event: &[u8]) {
        let (nodeid, ordered) = decode(event);
        if nodeid == self.nodeid {
            // In order, and only the oldest can be the next to come back.
            self.own.pop_first();
        }
        match ordered {
            Ordered::Join { group, pid } => {
                let who = Address { nodeid, pid, reason: Reason::Join };
                let members = self.groups.entry(group).or_default();
                members.push(Address { reason: Reason::Undefined, ..who });
                members.sort_unstable();
                for (own, own_pid, joined) in self.clients.values_mut() {
                    *joined |= *own == group && *own_pid == pid && nodeid == self.nodeid;
                }
                self.tell(group, vec![who], Vec::new());
                self.tell_ring(group, nodeid, pid);
            }
            Ordered::Leave { group, pid, reason } => {
                let members = self.groups.entry(group).or_default();
                let before = members.len();
                members.retain(|member| (member.nodeid, member.pid) != (nodeid, pid));
                // A process that left is not told of as dead as well.
                if members.len() < before {
                    self.tell(group, Vec::new(), vec![Address { nodeid, pid, reason }]);
                }
            }
            Ordered::Message { group, pid, payload } => {
                for client in self.members_here(group) {
                    let message = payload.clone();
                    let event = cpg::Event::Deliver { group, nodeid, pid, message };
                    self.effects.push_back(Effect::Notify { client, event: Event::Cpg(event) });
                }
            }
        }
    }

    fn members_here(&self, group: GroupName) -> Vec<ClientId> {
        let here = self.clients.iter().filter(|(_, (own, _, joined))| *own == group && *joined);
        here.map(|(client, _)| *client).collect()
    }

    fn tell(&mut self, group: GroupName, joined: Vec<Address>, left: Vec<Address>) {
        let mut members = self.groups[&group].clone();
        if self.fault == Fault::WrongView && self.nodeid == 2 && members.len() > 2 {
            members.remove(0);
        }
        let gone = |pid| left.iter().any(|entry| entry.pid == pid && entry.nodeid == self.nodeid);
        for client in self.members_here(group) {
            let (members, joined, left) = (members.clone(), joined.clone(), left.clone());
            let event = cpg::Event::ConfigurationChange { group, members, joined, left };
            self.effects.push_back(Effect::Notify { client, event: Event::Cpg(event) });
        }
        self.clients.retain(|_, (_, pid, _)| !gone(*pid));
    }

    fn tell_ring(&mut self, group: GroupName, nodeid: u32, pid: u32) {
        for client in self.members_here(group) {
            if nodeid == self.nodeid && self.clients[&client].1 == pid {
                let ring = RingId { nodeid: self.members[0], seq: 4 };
                let event = cpg::Event::TotemConfigurationChange { ring, members: self.members.clone() };
                self.effects.push_back(Effect::Notify { client, event: Event::Cpg(event) });
            }
        }
    }
}

fn datagram(kind: u8, from: u32, number: u64, event: &[u8]) -> Rc<[u8]> {
    let mut octets = vec![kind];
    octets.extend_from_slice(&from.to_le_bytes());
    octets.extend_from_slice(&number.to_le_bytes());
    octets.extend_from_slice(event);
    octets.into()
}

fn encode(nodeid: u32, ordered: &Ordered) -> Vec<u8> {
    let (kind, group, pid, payload) = match ordered {
        Ordered::Join { group, pid } => (0, group, pid, Bytes::new()),
        Ordered::Leave { group, pid, reason } => (*reason as u8, group, pid, Bytes::new()),
        Ordered::Message { group, pid, payload } => (9, group, pid, payload.clone()),
    };
    let mut octets = vec![kind];
    octets.extend_from_slice(&nodeid.to_le_bytes());
    octets.extend_from_slice(&pid.to_le_bytes());
    octets.push(u8::try_from(group.as_bytes().len()).expect("group names are short"));
    octets.extend_from_slice(group.as_bytes());
    octets.extend_from_slice(&payload);
    octets
}

/// The toys' network neither damages nor invents anything.
fn decode(event: &[u8]) -> (u32, Ordered) {
    let nodeid = u32::from_le_bytes(*event[1..].first_chunk().expect("a toy's event"));
    let pid = u32::from_le_bytes(*event[5..].first_chunk().expect("a toy's event"));
    let (group, payload) = event[10..].split_at(usize::from(event[9]));
    let group = GroupName::new(group).expect("a toy's group");
    let ordered = match event[0] {
        0 => Ordered::Join { group, pid },
        9 => Ordered::Message { group, pid, payload: Bytes::copy_from_slice(payload) },
        reason if reason == Reason::Leave as u8 => Ordered::Leave { group, pid, reason: Reason::Leave },
        _ => Ordered::Leave { group, pid, reason: Reason::ProcDown },
    };
    (nodeid, ordered)
}

#[cfg(test)]
mod tests;
