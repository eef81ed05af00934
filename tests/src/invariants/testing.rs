//! Histories written by hand: client `n` is alone on node `n`, whose number is `n + 1`.

use ipc::message::{
    ClientId,
    cpg::{GroupName, Reason},
};
use protocol::{BootId, Instant, RingSeq, ring::Guarantee};

use crate::history::{History, NodeHistory, Process, RingName, What};

/// A history and the clients in it.
pub(super) struct Story {
    pub(super) history: History,
    clients: Vec<(ClientId, Process)>,
}

impl Story {
    pub(super) fn new(nodes: usize) -> Self {
        let mut story = Self { history: History::default(), clients: Vec::new() };
        for node in 0..nodes {
            let nodeid = u32::try_from(node).expect("few nodes") + 1;
            let name = nodeid.to_string();
            story.history.nodes.push(NodeHistory { name, nodeid, lives: Vec::new() });
            story.history.node_started(node, BootId(u64::from(nodeid)), RingSeq(0));
            story.connects(node);
        }
        story
    }

    /// Another client connects on a node; its index.
    pub(super) fn connects(&mut self, node: usize) -> usize {
        self.step();
        let index = self.clients.len();
        let pid = 100 + u32::try_from(index).expect("few clients");
        let (id, group) = (ClientId(index as u64 + 1), GroupName::new(b"g").expect("short"));
        self.history.connected(id, node, pid, group, false);
        self.clients.push((id, Process { node: self.history.nodes[node].nodeid, pid }));
        index
    }

    pub(super) fn joins(&mut self, client: usize) {
        self.view(client, &[client], &[(client, Reason::Join)], &[]);
    }

    pub(super) fn makes(&mut self, client: usize, len: usize) -> u64 {
        self.history.made(self.clients[client].0, Guarantee::Agreed, len).0
    }

    pub(super) fn submits(&mut self, client: usize, len: usize) {
        self.submits_as(client, len, Guarantee::Agreed);
    }

    pub(super) fn submits_as(&mut self, client: usize, len: usize, guarantee: Guarantee) {
        self.step();
        let (number, _) = self.history.made(self.clients[client].0, guarantee, len);
        self.history.submitted(self.clients[client].0, number);
    }

    pub(super) fn payload(&self, client: usize, number: u64) -> Vec<u8> {
        let index = usize::try_from(number).expect("a count");
        self.history.clients[&self.clients[client].0].sent[index].payload.to_vec()
    }

    pub(super) fn delivers(&mut self, client: usize, sender: usize, number: u64) {
        let octets = self.payload(sender, number);
        self.delivers_octets(client, sender, &octets);
    }

    pub(super) fn delivers_octets(&mut self, client: usize, sender: usize, octets: &[u8]) {
        self.step();
        self.history.delivered(self.clients[client].0, self.clients[sender].1, octets, false);
    }

    pub(super) fn delivers_all(&mut self, client: usize, messages: &[(usize, u64)]) {
        messages.iter().for_each(|(sender, number)| self.delivers(client, *sender, *number));
    }

    pub(super) fn view(
        &mut self,
        client: usize,
        members: &[usize],
        joined: &[(usize, Reason)],
        left: &[(usize, Reason)],
    ) {
        self.step();
        let process = |index: &usize| self.clients[*index].1;
        let list = |list: &[(usize, Reason)]| list.iter().map(|(who, why)| (process(who), *why)).collect();
        let members = members.iter().map(process).collect();
        let view = What::View { members, joined: list(joined), left: list(left) };
        self.history.saw(self.clients[client].0, view);
    }

    pub(super) fn ring(&mut self, client: usize, seq: u64, nodes: &[usize]) {
        let node = self.history.clients[&self.clients[client].0].node;
        self.step();
        self.history.stored(node, RingSeq(seq));
        self.ring_unstored(client, seq, nodes);
    }

    pub(super) fn ring_unstored(&mut self, client: usize, seq: u64, nodes: &[usize]) {
        self.step();
        let members: Vec<u32> = nodes.iter().map(|node| self.history.nodes[*node].nodeid).collect();
        let ring = RingName { seq, rep: members[0] };
        self.history.saw(self.clients[client].0, What::Totem { ring, members });
    }

    pub(super) fn ring_all(&mut self, seq: u64, nodes: &[usize]) {
        (0..self.clients.len()).for_each(|client| self.ring(client, seq, nodes));
    }

    fn step(&mut self) {
        let now = Instant::from_nanos(self.history.step());
        self.history.begin_step(now);
    }
}
