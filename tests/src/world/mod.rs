//! A whole cluster in virtual time: one queue of events, one seed.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, panic::Location, time::Duration};

use ipc::message::{ClientId, cpg::GroupName};
use protocol::{BootId, Instant, NodeId, ring::Boot, seal::Protection};
use services::executive::ExecutiveSettings;

use crate::{
    client::Client,
    history::{End, Fate, History, NodeHistory},
    machine::{Machine, Outgoing},
    network::{Arrival, Network, Quality},
    node::{ClientInput, Clock, Identity, Node, Packet, address},
    rng::Rng,
    workload::Workload,
};

mod script;
mod settings;
mod turn;

pub use script::Cluster;
pub use settings::{Timing, settings};

/// Where a run's randomness comes from, and how to repeat it.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The number.
    pub value: u64,
    /// The command that repeats the run.
    pub repeat: String,
}

impl Seed {
    /// The seed of the test at this place: the environment's `SEED`, or a number of the place's own.
    pub fn of_test(krate: &str, file: &str, line: u32) -> Self {
        let place = crate::trace::digest(format!("{file}:{line}").as_bytes()) >> 16;
        let value = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(place);
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let repeat = format!("SEED={value} cargo test -p tests --test {krate} {test}");
        Self { value, repeat }
    }
}

/// The seed of a test: see [`world::Seed::of_test`](crate::world::Seed::of_test).
#[macro_export]
macro_rules! seed {
    () => {
        $crate::world::Seed::of_test(env!("CARGO_CRATE_NAME"), file!(), line!())
    };
}

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes' timers.
    pub timing: Timing,
    /// How datagrams are protected.
    pub protection: Protection,
    /// How the network behaves while all is well.
    pub quality: Quality,
    /// How long a write takes.
    pub disk: Range<Duration>,
    /// The largest IP packet.
    pub netmtu: u16,
    /// Frames of the whole ring in one rotation.
    pub window_size: u32,
    /// Frames of one node in one visit.
    pub max_messages: u32,
    /// Clocks are up to so many parts per million off.
    pub drift: i32,
    /// The groups that a client joins on each node as soon as it accepts clients.
    pub groups: Vec<&'static str>,
    /// What these clients do by themselves.
    pub workload: Option<Workload>,
    /// Puts the octets of every datagram into the fingerprint.
    pub trace_datagrams: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            protection: Protection::Cleartext,
            quality: Quality::default(),
            disk: Duration::from_micros(100)..Duration::from_millis(3),
            netmtu: 1500,
            window_size: 50,
            max_messages: 17,
            drift: 100,
            groups: vec!["alpha"],
            workload: None,
            trace_datagrams: false,
        }
    }
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Event {
    /// A datagram reaches a node.
    Arrive { to: usize, packet: Packet },
    /// A node gets to work.
    Turn { node: usize, life: u64 },
    /// A node's timer is due.
    Wake { node: usize, life: u64 },
    /// A node's oldest write is durable.
    Stored { node: usize, life: u64 },
    /// A node goes on after a pause.
    Resume { node: usize, life: u64 },
    /// A client does what it can.
    Act { client: ClientId },
    /// A client makes its next message.
    Compose { client: ClientId },
    /// A client connects to a node.
    Connect { node: usize, life: u64, group: Box<GroupName>, watcher: bool },
}

/// Makes a node: `M::start`, except where a test wants broken ones.
type Start<M> = Box<dyn FnMut(ExecutiveSettings, Boot, Instant) -> M>;

/// A cluster.
pub struct World<M: Machine> {
    /// What everybody saw.
    pub history: History,
    /// What the cluster looks like at the start.
    pub options: Options,
    now: Instant,
    rng: Rng,
    seed: Seed,
    queue: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    events: u64,
    second_events: u64,
    nodes: Vec<Node<M>>,
    by_address: BTreeMap<SocketAddr, usize>,
    clients: BTreeMap<ClientId, Client>,
    clients_made: u64,
    network: Network,
    start: Start<M>,
    arrivals: Vec<Arrival>,
    outgoing: Vec<Outgoing>,
    buffers: Vec<Vec<u8>>,
    verbose: bool,
}

impl<M: Machine> World<M> {
    /// A cluster of these nodes, switched off. Numbers count from one.
    pub fn with_options<'a>(
        seed: Seed,
        names: impl IntoIterator<Item = &'a str>,
        options: Options,
        start: impl FnMut(ExecutiveSettings, Boot, Instant) -> M + 'static,
    ) -> Self {
        let mut rng = Rng::new(seed.value);
        let network = Network::new(rng.fork(), options.quality);
        let verbose = std::env::var_os("TRACE").is_some();
        if verbose {
            show_logs();
        }
        let mut world = Self {
            history: History::default(),
            options,
            now: Instant::ZERO,
            rng,
            seed,
            queue: BTreeMap::new(),
            scheduled: 0,
            events: 0,
            second_events: 0,
            nodes: Vec::new(),
            by_address: BTreeMap::new(),
            clients: BTreeMap::new(),
            clients_made: 0,
            network,
            start: Box::new(start),
            arrivals: Vec::new(),
            outgoing: Vec::new(),
            buffers: Vec::new(),
            verbose,
        };
        for name in names {
            let id = u32::try_from(world.nodes.len() + 1).expect("few nodes");
            world.add(name, id, true, 0);
        }
        world
    }

    /// Adds a machine to the network, switched off.
    pub fn add(&mut self, name: &str, id: u32, expected: bool, key: u8) {
        let index = self.nodes.len();
        let id = NodeId::new(id).expect("node numbers count from one");
        let identity = Identity { name: name.to_owned(), id, address: address(index), expected, key };
        let offset = Duration::from_nanos(self.rng.below(1 << 50));
        let spread = u64::from(self.options.drift.unsigned_abs()) * 2 + 1;
        let drift = i32::try_from(self.rng.below(spread)).expect("small") - self.options.drift.abs();
        self.by_address.insert(identity.address, index);
        let nodeid = id.get();
        self.history.nodes.push(NodeHistory { name: name.to_owned(), nodeid, lives: Vec::new() });
        self.nodes.push(Node::new(identity, Clock { offset, drift }));
    }

    /// Now.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Events handled so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The network, to change it.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The network, to look at it.
    pub fn network_view(&self) -> &Network {
        &self.network
    }

    /// The world's own randomness.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node<M>] {
        &self.nodes
    }

    /// The clients, also those that are gone.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Lets time pass until `end`.
    pub fn run_until(&mut self, end: Instant) {
        while let Some(next) = self.queue.first_entry()
            && next.key().0 <= end
        {
            let ((at, _), event) = next.remove_entry();
            self.count(at);
            self.now = at;
            self.history.begin_step(at);
            self.handle(event);
        }
        self.now = self.now.max(end);
    }

    /// Counts events, and notices nodes that answer each other without end.
    fn count(&mut self, at: Instant) {
        self.events += 1;
        self.second_events += 1;
        if at.as_nanos() / NANOS_PER_SECOND != self.now.as_nanos() / NANOS_PER_SECOND {
            self.second_events = 0;
        }
        assert!(
            self.second_events < EVENTS_PER_SECOND_MAX,
            "a storm: {EVENTS_PER_SECOND_MAX} events within a second"
        );
    }

    /// The index of a node.
    #[track_caller]
    pub fn index(&self, name: &str) -> usize {
        let found = self.nodes.iter().position(|node| node.identity.name == name);
        found.unwrap_or_else(|| panic!("{}: there is no node {name}", Location::caller()))
    }

    /// Switches a node on.
    pub fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        assert!(node.machine.is_none(), "{} runs already", node.identity.name);
        let (id, seed) = (BootId(self.rng.next()), self.rng.next());
        let boot = Boot { id, seed, ring_seq: node.disk.ring_seq() };
        let now = node.clock.local(self.now).max(node.latest);
        node.latest = now;
        let identities: Vec<&Identity> = self.nodes.iter().map(|node| &node.identity).collect();
        let settings = settings(&self.options, &identities, index);
        let machine = (self.start)(settings, boot, now);
        self.nodes[index].machine = Some(machine);
        self.history.begin_step(self.now);
        self.history.node_started(index, id, boot.ring_seq);
        self.log(index, || format!("starts as {id} with ring sequence {}", boot.ring_seq));
        self.wants_turn(index);
    }

    /// Kills a node; its clients lose their connection.
    pub fn stop(&mut self, index: usize, end: End) {
        if self.nodes[index].machine.is_none() {
            return;
        }
        self.log(index, || format!("ends: {end:?}"));
        self.nodes[index].disk.crash(&mut self.rng);
        self.nodes[index].stop();
        self.history.begin_step(self.now);
        self.history.node_ended(index, end);
        for client in self.clients.values_mut().filter(|client| client.node == index) {
            if client.state != crate::client::State::Gone {
                client.state = crate::client::State::Gone;
                self.history.disconnected(client.id, Fate::NodeEnded);
            }
        }
    }

    /// Stops a node's clock hands for a while: everything that comes in waits.
    pub fn pause_node(&mut self, index: usize, duration: Duration) {
        let until = self.now + duration;
        let node = &mut self.nodes[index];
        if node.machine.is_some() {
            node.paused_until = Some(until);
            let life = node.life;
            self.schedule(until, Event::Resume { node: index, life });
            self.log(index, || format!("is paused for {duration:?}"));
        }
    }

    /// All paused nodes go on, and what was planned for later does not happen.
    pub fn end_faults(&mut self) {
        for index in 0..self.nodes.len() {
            self.nodes[index].crash_after = None;
            self.nodes[index].leave_asked = false;
            if self.nodes[index].paused_until.is_some() {
                self.nodes[index].paused_until = Some(self.now);
                self.resume(index);
            }
        }
    }

    /// A node's process is killed in the middle of its work, after so many more effects.
    pub fn crash_after_effects(&mut self, index: usize, effects: u32) {
        if self.nodes[index].machine.is_some() {
            self.nodes[index].crash_after = Some(effects);
        }
    }

    /// A node is asked to leave the cluster.
    pub fn leave_node(&mut self, index: usize) {
        if self.nodes[index].machine.is_some() {
            self.nodes[index].leave_asked = true;
            self.wants_turn(index);
        }
    }

    /// A new client connects to a node some time soon.
    pub fn connect(&mut self, index: usize, group: &str) {
        let group = GroupName::new(group.as_bytes()).expect("a short name");
        self.connect_later(index, group, false);
    }

    /// Ends a client's process; its node notices a little later.
    pub fn kill_client(&mut self, id: ClientId) {
        self.history.begin_step(self.now);
        self.end_client(id, Fate::Died);
    }

    /// Hands a copy of some earlier datagram to the node it was for, or to any other. Without a key, what
    /// it was for is anybody's guess, so there it goes where it was meant to go.
    pub fn replay(&mut self) {
        let Some(captured) = self.network.pick_captured() else { return };
        let sealed = !matches!(self.options.protection, Protection::Cleartext);
        let elsewhere = sealed && self.rng.chance(200);
        let to = if elsewhere { self.rng.index(self.nodes.len()) } else { captured.to };
        let source = self.nodes[captured.from].identity.address;
        self.schedule(self.now, Event::Arrive { to, packet: Packet { source, datagram: captured.datagram } });
    }

    /// Sends octets of the test's own making to a node.
    pub fn inject(&mut self, source: SocketAddr, to: usize, octets: &[u8]) {
        let packet = Packet { source, datagram: octets.into() };
        self.schedule(self.now, Event::Arrive { to, packet });
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), event);
    }

    fn handle(&mut self, event: Event) {
        let alive = |world: &Self, node: usize, life: u64| {
            world.nodes[node].machine.is_some() && world.nodes[node].life == life
        };
        match event {
            Event::Arrive { to, packet } => {
                if self.nodes[to].machine.is_some() {
                    self.nodes[to].receive(packet);
                    self.wants_turn(to);
                }
            }
            Event::Turn { node, life } if alive(self, node, life) => self.turn(node),
            Event::Wake { node, life } if alive(self, node, life) => self.woken(node),
            Event::Stored { node, life } if alive(self, node, life) => self.stored(node),
            Event::Resume { node, life } if alive(self, node, life) => self.resume(node),
            Event::Connect { node, life, group, watcher } if alive(self, node, life) => {
                self.connected(node, *group, watcher);
            }
            Event::Turn { .. }
            | Event::Wake { .. }
            | Event::Stored { .. }
            | Event::Resume { .. }
            | Event::Connect { .. } => {}
            Event::Act { client } => self.act(client),
            Event::Compose { client } => self.compose(client),
        }
    }

    /// The timer may have moved on in the meantime.
    fn woken(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.wake_at = None;
        let timeout = node.machine.as_ref().and_then(Machine::poll_timeout);
        match timeout {
            Some((at, _)) if at > node.clock.local(self.now).max(node.latest) => self.wake(index, at),
            Some(_) => self.wants_turn(index),
            None => {}
        }
    }

    /// A pause ends when its own end has come, not that of an earlier one.
    fn resume(&mut self, index: usize) {
        if self.nodes[index].paused_until.is_some_and(|until| until <= self.now) {
            self.nodes[index].paused_until = None;
            self.log(index, || "goes on".to_owned());
            self.wants_turn(index);
        }
    }

    fn stored(&mut self, index: usize) {
        // A disk goes on writing while its host's process is paused.
        if let Some(seq) = self.nodes[index].disk.complete() {
            self.history.stored(index, seq);
            self.nodes[index].done.push_back(services::executive::Done::Stored(seq));
            self.wants_turn(index);
        }
    }

    fn connect_later(&mut self, index: usize, group: GroupName, watcher: bool) {
        let at = self.now + self.rng.duration(Duration::from_micros(50)..Duration::from_millis(2));
        let life = self.nodes[index].life;
        self.schedule(at, Event::Connect { node: index, life, group: Box::new(group), watcher });
    }

    fn connected(&mut self, index: usize, group: GroupName, watcher: bool) {
        self.clients_made += 1;
        let id = ClientId(self.clients_made);
        let pid = 1000 + u32::try_from(self.clients_made).expect("few clients");
        let mut client = Client::new(id, index, pid, group, watcher);
        if !watcher {
            client.workload = self.options.workload.clone();
        }
        self.clients.insert(id, client);
        self.history.connected(id, index, pid, group, watcher);
        self.log(index, || format!("c{} connects for group {group}", id.0));
        self.nodes[index].inputs.push_back(ClientInput::Joined(id));
        self.wants_turn(index);
        self.schedule(self.now, Event::Act { client: id });
        self.schedule(self.now, Event::Compose { client: id });
    }

    fn end_client(&mut self, id: ClientId, fate: Fate) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.state == crate::client::State::Gone {
            return;
        }
        client.state = crate::client::State::Gone;
        let index = client.node;
        self.history.disconnected(id, fate);
        self.log(index, || format!("c{} disconnects: {fate:?}", id.0));
        // What it had asked and nobody had read is gone with its ring.
        let node = &mut self.nodes[index];
        node.inputs.retain(|input| input.client() != id || !matches!(input, ClientInput::Request(..)));
        node.inputs.push_back(ClientInput::Gone(id));
        self.wants_turn(index);
    }

    /// Lets a client ask what it has to ask.
    fn act(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let node = &mut self.nodes[client.node];
        if node.machine.is_none() {
            return;
        }
        let mut asked = false;
        while let Some(next) = client.poll_request(node.flow, &mut self.history) {
            node.inputs.push_back(ClientInput::Request(id, next.request, next.message));
            asked = true;
        }
        let index = client.node;
        if asked {
            self.wants_turn(index);
        }
    }

    /// Lets a client with habits make its next message.
    fn compose(&mut self, id: ClientId) {
        let frame_bytes = usize::from(self.options.netmtu) - 100;
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(workload) = client.workload.clone() else { return };
        let at = self.now + self.rng.duration(workload.every.clone());
        if client.state == crate::client::State::Joined && client.backlog() < BACKLOG_MAX {
            client.wants(workload.sizes.draw(&mut self.rng, frame_bytes), workload.guarantee(&mut self.rng));
            let (index, group) = (client.node, client.group);
            let (leaves, dies) = (self.rng.chance(workload.leaves), self.rng.chance(workload.dies));
            if leaves {
                client.departs();
            }
            if dies {
                // Some of what it wanted to send may be with the node already.
                self.act(id);
                self.end_client(id, Fate::Died);
            }
            if leaves || dies {
                self.connect_later(index, group, false);
            }
            self.schedule(self.now, Event::Act { client: id });
        }
        if self.clients.get(&id).is_some_and(|client| client.state != crate::client::State::Gone) {
            self.schedule(at, Event::Compose { client: id });
        }
    }

    /// Gives a node a turn as soon as it can have one.
    fn wants_turn(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.is_up() && node.turn_at.is_none() {
            let at = self.now.max(node.busy_until);
            node.turn_at = Some(at);
            let life = node.life;
            self.schedule(at, Event::Turn { node: index, life });
        }
    }

    /// Prints a line when `TRACE` is set.
    fn log(&self, index: usize, line: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{} {:>3} {}", self.now, self.nodes[index].identity.name, line());
        }
    }
}

impl<M: Machine> Drop for World<M> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, at {}. Repeat: {}", self.seed.value, self.now, self.seed.repeat);
        }
    }
}

/// Prints what the nodes log; they have no clock, so the world's lines and the spans say when.
fn show_logs() {
    let debug = tracing_subscriber::filter::LevelFilter::DEBUG;
    let lines = tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(debug);
    // Whoever came first in this process has the say.
    drop(lines.with_writer(std::io::stderr).try_init());
}

/// Messages a client with habits piles up while it may not send.
const BACKLOG_MAX: usize = 8;
/// A cluster of eight with 1 MiB messages makes some hundred thousand.
const EVENTS_PER_SECOND_MAX: u64 = 1_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
