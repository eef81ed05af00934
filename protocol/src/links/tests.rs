//! Links through an in-memory network, in virtual time.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::*;
use crate::seal::{ClusterKey, Protection};

mod drops;
mod duplicates;
mod replay;
mod sessions;

const LATENCY: Duration = Duration::from_millis(1);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn member(id: u32, boot: u64) -> Member {
    Member { node: node(id), boot: BootId(boot) }
}

/// Where node `id` is configured to be.
fn home(id: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(id).unwrap()], 5405))
}

fn protection(key: u8) -> Protection {
    Protection::Aes256Gcm(ClusterKey(Zeroizing::new(vec![key; 32])))
}

/// Settings of node `id` in a cluster of nodes 1 to `nodes`.
fn settings(id: u32, nodes: u32) -> LinkSettings {
    let peers = (1..=nodes)
        .filter(|peer| *peer != id)
        .map(|peer| PeerSettings { node: node(peer), address: home(peer) })
        .collect();
    LinkSettings::new(node(id), protection(7), "alpha".to_owned(), peers)
}

/// A running life of a node.
struct Host {
    links: Links,
    address: SocketAddr,
    member: Member,
    events: Vec<(Instant, LinkEvent)>,
    frames: Vec<(Member, Vec<u8>)>,
    errors: Vec<DatagramError>,
    /// What it sends gets lost.
    mute: bool,
}

impl Host {
    fn handle(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        match self.links.handle_datagram(now, source, &mut datagram) {
            Ok(Some(opened)) => self.frames.push((opened.from, opened.frame.to_vec())),
            Ok(None) => {}
            Err(error) => self.errors.push(error),
        }
        self.note_events(now);
    }

    fn note_events(&mut self, now: Instant) {
        while let Some(event) = self.links.poll_event() {
            self.events.push((now, event));
        }
    }

    /// The events since the last call.
    fn take_events(&mut self) -> Vec<LinkEvent> {
        self.events.drain(..).map(|(_, event)| event).collect()
    }

    fn session_of(&self, id: u32) -> Option<BootId> {
        self.links.peers().find(|peer| peer.node == node(id)).unwrap().session
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    octets: Vec<u8>,
}

/// How the network treats packets, in thousandths of them.
#[derive(Clone, Copy, Default)]
struct Weather {
    loss: u64,
    duplication: u64,
    /// Up to this much later than [`LATENCY`].
    delay: Duration,
}

struct World {
    now: Instant,
    hosts: Vec<Host>,
    flying: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    /// Everything that was ever sent.
    captured: Vec<Packet>,
    weather: Weather,
    dice: Jitter,
    /// An attacker who sends copies of what comes from the first address from the second, and passes
    /// what goes to the second on to the first.
    relay: Option<(SocketAddr, SocketAddr)>,
    /// Of several hosts with one address, each packet reaches another one.
    takes_turns: bool,
}

impl World {
    fn new() -> Self {
        Self::with_weather(Weather::default(), 1)
    }

    fn with_weather(weather: Weather, seed: u64) -> Self {
        Self {
            now: Instant::from_nanos(3_600_000_000_000),
            hosts: Vec::new(),
            flying: BTreeMap::new(),
            sent: 0,
            captured: Vec::new(),
            weather,
            dice: Jitter::new(seed),
            relay: None,
            takes_turns: false,
        }
    }

    /// `nodes` nodes that have found each other; their events are taken.
    fn together(nodes: u32) -> Self {
        let mut world = Self::new();
        for id in 1..=nodes {
            world.start(id, nodes, u64::from(id));
        }
        world.run(ms(60));
        for host in &mut world.hosts {
            assert_eq!(host.take_events().len(), nodes as usize - 1);
        }
        world
    }

    fn start(&mut self, id: u32, nodes: u32, boot: u64) -> usize {
        self.start_with(settings(id, nodes), boot, home(id))
    }

    fn start_with(&mut self, settings: LinkSettings, boot: u64, address: SocketAddr) -> usize {
        let member = Member { node: settings.node, boot: BootId(boot) };
        self.hosts.push(Host {
            links: Links::new(settings, BootId(boot), boot, self.now),
            address,
            member,
            events: Vec::new(),
            frames: Vec::new(),
            errors: Vec::new(),
            mute: false,
        });
        self.hosts.len() - 1
    }

    /// Takes a host out of the world, at once.
    fn kill(&mut self, boot: u64) -> Host {
        let index = self.index(boot);
        self.hosts.remove(index)
    }

    fn index(&self, boot: u64) -> usize {
        self.hosts.iter().position(|host| host.member.boot == BootId(boot)).unwrap()
    }

    fn host(&mut self, boot: u64) -> &mut Host {
        let index = self.index(boot);
        &mut self.hosts[index]
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.collect();
            let packet = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timer = self.hosts.iter().filter_map(|host| host.links.poll_timeout()).min();
            let next = packet.into_iter().chain(timer).min().unwrap_or(Instant::NEVER);
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.deliver_due();
            for host in &mut self.hosts {
                if host.links.poll_timeout().is_some_and(|at| at <= self.now) {
                    host.links.handle_timeout(self.now);
                    assert!(host.links.poll_timeout().is_none_or(|at| at > self.now), "a timer stays due");
                    host.note_events(self.now);
                }
            }
        }
    }

    /// All hosts that have the address get it, as if a hub connected them, unless they take turns.
    fn deliver_due(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let ((_, turn), packet) = entry.remove_entry();
            let mut owners: Vec<_> = self.hosts.iter_mut().filter(|host| host.address == packet.to).collect();
            if self.takes_turns && owners.len() > 1 {
                let turn = usize::try_from(turn).unwrap() % owners.len();
                owners = vec![owners.swap_remove(turn)];
            }
            for host in owners {
                host.handle(self.now, packet.from, &packet.octets);
            }
        }
    }

    fn collect(&mut self) {
        for index in 0..self.hosts.len() {
            let (from, mute) = (self.hosts[index].address, self.hosts[index].mute);
            for packet in outgoing(&mut self.hosts[index].links, from) {
                if !mute {
                    self.captured.push(packet.clone());
                    self.fly(packet);
                }
            }
        }
    }

    fn fly(&mut self, mut packet: Packet) {
        if let Some((victim, elsewhere)) = self.relay {
            if packet.from == victim {
                self.put_in_the_air(Packet { from: elsewhere, ..packet.clone() });
            }
            if packet.to == elsewhere {
                packet.to = victim;
            }
        }
        self.put_in_the_air(packet);
    }

    fn put_in_the_air(&mut self, packet: Packet) {
        let copies = if self.rolls(self.weather.loss) {
            0
        } else {
            1 + u32::from(self.rolls(self.weather.duplication))
        };
        for _ in 0..copies {
            let delay = self.weather.delay * u32::try_from(self.dice.next() % 1_000).unwrap() / 1_000;
            self.sent += 1;
            self.flying.insert((self.now + LATENCY + delay, self.sent), packet.clone());
        }
    }

    fn rolls(&mut self, thousandths: u64) -> bool {
        self.dice.next() % 1_000 < thousandths
    }

    fn send(&mut self, boot: u64, to: Destination, frame: &[u8]) {
        self.host(boot).links.send(to, frame);
    }
}

/// What waits in the batch, one packet for each recipient. Clears the batch.
fn outgoing(links: &mut Links, from: SocketAddr) -> Vec<Packet> {
    let batch = links.transmits();
    let mut packets = Vec::new();
    for Transmit { to, start, len } in batch.transmits() {
        let octets = &batch.bytes()[*start..start + len];
        let recipients = match to {
            Recipients::All => batch.peers(),
            Recipients::One(address) => &[*address],
        };
        packets.extend(recipients.iter().map(|to| Packet { from, to: *to, octets: octets.to_vec() }));
    }
    batch.clear();
    packets
}
