//! Whole nodes on a network without faults, in virtual time. The simulator in `tests` brings the faults.

use std::collections::{BTreeMap, VecDeque};

use ipc::message::{cfg, cpg};
use protocol::{
    BootId,
    links::{PeerSettings, Recipients},
    seal::Protection,
};

use super::*;
use crate::MESSAGE_BYTES_MAX;

const HOP: Duration = Duration::from_micros(50);

struct Node {
    executive: Executive,
    /// Everything but transmissions, in order.
    effects: Vec<Effect>,
}

struct Net {
    now: Instant,
    nodes: BTreeMap<u32, Node>,
    flying: VecDeque<(Instant, u32, u32, Vec<u8>)>,
}

fn address(node: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node).unwrap()], 5405))
}

fn settings(node: u32, nodes: u32) -> ExecutiveSettings {
    let id = |node| NodeId::new(node).unwrap();
    let peers: Vec<_> = (1..=nodes)
        .filter(|&other| other != node)
        .map(|other| PeerSettings { node: id(other), address: address(other) })
        .collect();
    let links = LinkSettings::new(id(node), Protection::Cleartext, "test".to_owned(), peers);
    let ring = RingSettings {
        node: id(node),
        token_timeout: Duration::from_millis(1000),
        token_retransmit: Duration::from_millis(238),
        token_hold: Duration::from_millis(180),
        join: Duration::from_millis(50),
        consensus: Duration::from_millis(1200),
        merge: Duration::from_millis(200),
        listen: Duration::from_millis(300),
        window_size: 50,
        max_messages: 17,
        seqno_unchanged_const: 30,
        frame_bytes_max: links.frame_bytes_max(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        send_queue_bytes_max: 4 << 20,
        peers: links.peers.len(),
    };
    ExecutiveSettings { ring, links, address: address(node) }
}

impl Net {
    fn new(nodes: u32) -> Self {
        let now = Instant::ZERO;
        let mut net = Self { now, nodes: BTreeMap::new(), flying: VecDeque::new() };
        for node in 1..=nodes {
            let boot = Boot { id: BootId(u64::from(node) << 32), seed: node.into(), ring_seq: RingSeq(0) };
            let executive = Executive::new(settings(node, nodes), boot, now);
            net.nodes.insert(node, Node { executive, effects: Vec::new() });
            net.drain(node);
        }
        net
    }

    fn with(&mut self, node: u32, act: impl FnOnce(&mut Executive, Instant)) {
        let now = self.now;
        act(&mut self.nodes.get_mut(&node).unwrap().executive, now);
        self.drain(node);
    }

    fn drain(&mut self, id: u32) {
        let node = self.nodes.get_mut(&id).unwrap();
        while let Some(effect) = node.executive.poll_effect() {
            match effect {
                Effect::Transmit => {
                    let batch = node.executive.transmits();
                    assert!(!batch.is_empty(), "an announced transmission has something to send");
                    for transmit in batch.transmits() {
                        let octets = &batch.bytes()[transmit.start..transmit.start + transmit.len];
                        let to: Vec<SocketAddr> = match transmit.to {
                            Recipients::All => batch.peers().to_vec(),
                            Recipients::One(address) => vec![address],
                        };
                        for to in to {
                            let SocketAddr::V4(to) = to else { panic!("all addresses are IPv4") };
                            let to = u32::from(to.ip().octets()[3]);
                            self.flying.push_back((self.now + HOP, id, to, octets.to_vec()));
                        }
                    }
                    batch.clear();
                }
                Effect::Store(seq) => node.executive.handle_done(self.now, Done::Stored(seq)),
                other => node.effects.push(other),
            }
        }
        assert!(node.executive.transmits().is_empty(), "what is to be sent was announced");
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let datagram = self.flying.front().map(|&(at, ..)| at);
            let timer = self
                .nodes
                .iter()
                .filter_map(|(&id, node)| node.executive.poll_timeout().map(|(at, _)| (at, id)))
                .min();
            let next = datagram.into_iter().chain(timer.map(|(at, _)| at)).min().unwrap_or(Instant::NEVER);
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if datagram == Some(next) {
                let (_, from, to, mut octets) = self.flying.pop_front().unwrap();
                if self.nodes.contains_key(&to) {
                    self.with(to, |executive, now| {
                        let received = Received { source: address(from), datagram: &mut octets };
                        executive.handle_datagrams(now, &mut [received]);
                    });
                }
            } else if let Some((_, id)) = timer {
                self.with(id, Executive::handle_timeout);
            }
        }
    }

    fn connect(&mut self, node: u32, client: u64) {
        self.with(node, |executive, now| {
            executive.handle_client(now, ClientId(client), ClientChange::Joined(Service::Cpg));
        });
    }

    fn ask(&mut self, node: u32, client: u64, request: cpg::Request) {
        self.with(node, |executive, now| {
            executive.handle_request(now, ClientId(client), Request::Cpg(request));
        });
    }

    fn member(&mut self, node: u32, client: u64) {
        self.connect(node, client);
        self.ask(node, client, join());
        self.run_for(Duration::from_millis(100));
    }

    fn take(&mut self, node: u32) -> Vec<Effect> {
        std::mem::take(&mut self.nodes.get_mut(&node).unwrap().effects)
    }

    /// What a node's clients were told in events, in order.
    fn heard(&mut self, node: u32) -> Vec<cpg::Event> {
        let event = |effect| match effect {
            Effect::Notify { event: Event::Cpg(event), .. } => Some(event),
            _ => None,
        };
        self.take(node).into_iter().filter_map(event).collect()
    }
}

fn join() -> cpg::Request {
    cpg::Request::Join { group: cpg::GroupName::new(b"g"), pid: 10, flags: 0 }
}

fn multicast(octets: usize) -> cpg::Request {
    cpg::Request::Multicast { guarantee: 2, message: vec![7; octets].into() }
}

fn replies(effects: &[Effect]) -> Vec<&Reply> {
    fn reply(effect: &Effect) -> Option<&Reply> {
        if let Effect::Reply { reply, .. } = effect { Some(reply) } else { None }
    }
    effects.iter().filter_map(reply).collect()
}

fn statuses(effects: &[Effect]) -> Vec<&str> {
    fn status(effect: &Effect) -> Option<&str> {
        if let Effect::Status(status) = effect { Some(status) } else { None }
    }
    effects.iter().filter_map(status).collect()
}

fn flows(effects: &[Effect]) -> Vec<FlowControl> {
    let flow = |effect: &Effect| if let Effect::FlowControl(flow) = effect { Some(*flow) } else { None };
    effects.iter().filter_map(flow).collect()
}

#[test]
fn a_node_without_peers_serves_at_once() {
    let mut net = Net::new(1);
    let effects = net.take(1);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Ready)));
    let [waiting, synchronising, synchronised] = statuses(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(waiting, "0 of 1 nodes, no ring yet");
    assert!(synchronising.starts_with("1 of 1 nodes, ring 1.") && synchronising.ends_with(", synchronising"));
    assert!(synchronised.starts_with("1 of 1 nodes, ring 1.") && synchronised.ends_with(", synchronised"));
    assert_eq!(flows(&effects).last().copied().unwrap_or_default(), FlowControl::Open);

    net.connect(1, 1);
    net.ask(1, 1, join());
    net.ask(1, 1, multicast(3));
    let heard = net.heard(1);
    assert!(matches!(heard[0], cpg::Event::ConfigurationChange { .. }));
    assert!(matches!(&heard[1], cpg::Event::Deliver { message, .. } if message[..] == [7; 3]));
}

#[test]
fn three_nodes_come_up_and_carry_messages_of_all_sizes() {
    let mut net = Net::new(3);
    net.run_for(Duration::from_secs(1));
    for node in 1..=3 {
        let effects = net.take(node);
        assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Ready)).count(), 1);
        let status = statuses(&effects).last().copied().unwrap_or_default().to_owned();
        assert!(
            status.starts_with("3 of 3 nodes, ring 1.") && status.ends_with(", synchronised"),
            "{status}"
        );
        assert_eq!(flows(&effects).last(), Some(&FlowControl::Open));
    }
    for node in 1..=3 {
        net.member(node, 1);
    }
    for node in 1..=3 {
        net.take(node);
        for octets in [0, 1, 1_400, 100_000, cpg::ATOMIC_MESSAGE_BYTES_MAX] {
            net.ask(node, 1, multicast(octets));
        }
    }
    net.run_for(Duration::from_secs(2));
    let heard = net.heard(1);
    assert_eq!(heard.len(), 15);
    assert_eq!(net.heard(2), heard);
    assert_eq!(net.heard(3), heard);
}

#[test]
fn clients_wait_until_the_first_sync_and_then_are_served() {
    let mut net = Net::new(2);
    net.connect(1, 1);
    net.ask(1, 1, join());
    net.ask(1, 1, cpg::Request::LocalGet);
    let effects = net.take(1);
    assert_eq!(flows(&effects), [FlowControl::MulticastsHeld]);
    assert_eq!(
        replies(&effects),
        [&Reply::Refused(CsError::TryAgain), &Reply::Cpg(cpg::Reply::LocalGet { nodeid: 1 })]
    );
    net.run_for(Duration::from_secs(1));
    assert_eq!(flows(&net.take(1)), [FlowControl::Open]);
    net.ask(1, 1, join());
    assert_eq!(replies(&net.take(1)), [&Reply::Cpg(cpg::Reply::Join(CsError::Ok))]);
}

#[test]
fn a_full_queue_holds_clients_and_loses_nothing() {
    let mut net = Net::new(2);
    net.run_for(Duration::from_secs(1));
    net.member(1, 1);
    net.member(2, 1);
    net.take(1);
    net.take(2);
    for _ in 0..10 {
        net.ask(1, 1, multicast(1_000_000));
    }
    assert_eq!(flows(&net.take(1)), [FlowControl::MulticastsHeld]);
    net.ask(1, 1, cpg::Request::Leave { group: cpg::GroupName::new(b"g"), pid: 10 });
    assert_eq!(replies(&net.take(1)), [&Reply::Refused(CsError::TryAgain)]);
    net.run_for(Duration::from_secs(5));
    let effects = net.take(1);
    assert_eq!(flows(&effects), [FlowControl::Open]);
    assert_eq!(net.heard(2).len(), 10);
}

#[test]
fn a_client_that_does_not_stop_is_cut_off_and_its_end_is_ordered() {
    let mut net = Net::new(2);
    net.run_for(Duration::from_secs(1));
    net.member(1, 1);
    net.member(2, 1);
    net.take(1);
    net.take(2);
    for _ in 0..30 {
        net.ask(1, 1, multicast(1_000_000));
    }
    let disconnected = |effect: &Effect| match effect {
        Effect::Disconnect { client, cause } => Some((*client, *cause)),
        _ => None,
    };
    assert_eq!(
        net.take(1).iter().find_map(disconnected),
        Some((ClientId(1), DisconnectCause::IgnoresFlowControl))
    );
    net.run_for(Duration::from_secs(20));
    let heard = net.heard(2);
    let Some(cpg::Event::ConfigurationChange { left, .. }) = heard.last() else {
        panic!("the last event is the client's end");
    };
    assert_eq!(left[0].reason, cpg::Reason::ProcDown);
    assert!(heard.len() > 10, "what was kept is delivered first");
}

#[test]
fn a_leaving_node_says_goodbye_for_its_processes_first() {
    let mut net = Net::new(2);
    net.run_for(Duration::from_secs(1));
    net.member(1, 1);
    net.member(2, 1);
    net.take(1);
    net.take(2);
    net.with(2, Executive::leave);
    net.run_for(Duration::from_millis(50));
    let effects = net.take(2);
    assert!(matches!(effects.last(), Some(Effect::Left)));
    assert!(
        effects
            .iter()
            .any(|effect| { matches!(effect, Effect::Disconnect { cause: DisconnectCause::Leaving, .. }) })
    );
    let heard = net.heard(1);
    let cpg::Event::ConfigurationChange { left, .. } = &heard[0] else { panic!("{heard:?}") };
    assert_eq!(left[0].reason, cpg::Reason::ProcDown);
    let cpg::Event::TotemConfigurationChange { members, .. } = &heard[1] else { panic!("{heard:?}") };
    assert_eq!(members, &[1]);
    assert_eq!(heard.len(), 2);
}

#[test]
fn what_is_no_datagram_is_dropped_and_disturbs_nobody() {
    let mut net = Net::new(2);
    net.run_for(Duration::from_secs(1));
    net.take(1);
    for len in 0..200 {
        net.with(1, |executive, now| {
            let mut octets = vec![0xa5; len];
            executive.handle_datagrams(now, &mut [Received { source: address(2), datagram: &mut octets }]);
        });
    }
    assert!(net.take(1).is_empty());
    assert!(net.nodes[&1].executive.is_synchronised());
}

#[test]
fn a_cfg_client_is_told_of_the_links_as_they_are() {
    let mut net = Net::new(3);
    net.run_for(Duration::from_secs(1));
    net.with(1, |executive, now| {
        executive.handle_client(now, ClientId(5), ClientChange::Joined(Service::Cfg));
    });
    net.take(1);
    let status = |net: &mut Net| {
        net.with(1, |executive, now| {
            executive.handle_request(now, ClientId(5), Request::Cfg(cfg::Request::RingStatusGet));
        });
        match replies(&net.take(1)).as_slice() {
            [Reply::Cfg(cfg::Reply::RingStatusGet(links))] => links.clone(),
            other => panic!("{other:?}"),
        }
    };
    let links = |status: &str| vec![cfg::Interface { name: "0 10.0.0.1".into(), status: status.into() }];
    assert_eq!(status(&mut net), links("n33"));
    net.nodes.remove(&3);
    net.run_for(Duration::from_secs(5));
    assert_eq!(status(&mut net), links("n31"));
}
