//! What a test does to a cluster, in the words of the test.

use std::time::Duration;

use protocol::ring::Guarantee;
use services::executive::Executive;

use super::{Options, Seed, World};
use crate::{history::End, liveness::Failed, machine::Machine, network::Quality, rng::Rng, workload::Sizes};

/// A cluster of real nodes.
pub type Cluster = World<Executive>;

impl Cluster {
    /// A cluster with its nodes switched on and everything else as usual.
    pub fn new<'a>(seed: Seed, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::started(seed, names, Options::default())
    }
}

impl<M: Machine> World<M> {
    /// Switches everything on that is off.
    pub fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].machine.is_none() {
                self.start(index);
            }
        }
    }

    /// No datagram passes between the two sides, in neither direction.
    #[track_caller]
    pub fn cut<'a>(
        &mut self,
        one: impl IntoIterator<Item = &'a str>,
        other: impl IntoIterator<Item = &'a str>,
    ) {
        let other: Vec<usize> = other.into_iter().map(|name| self.index(name)).collect();
        for name in one {
            let one = self.index(name);
            for &other in &other {
                self.network.cut(one, other);
                self.network.cut(other, one);
            }
        }
    }

    /// No datagram passes from `from` to `to`; the other direction works.
    #[track_caller]
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        let (from, to) = (self.index(from), self.index(to));
        self.network.cut(from, to);
    }

    /// Everything reaches everybody again, as well as at the start.
    pub fn heal(&mut self) {
        self.network.heal(self.options.quality);
    }

    /// All paths behave like this from now on.
    pub fn quality(&mut self, quality: Quality) {
        self.network.set_base(quality);
    }

    /// Kills a node's process.
    #[track_caller]
    pub fn crash(&mut self, name: &str) {
        let index = self.index(name);
        self.stop(index, End::Crashed);
    }

    /// Starts a node, with the disk of its earlier life.
    #[track_caller]
    pub fn restart(&mut self, name: &str) {
        let index = self.index(name);
        self.start(index);
    }

    /// A node's process does not run for a while; then everything that came meanwhile is there at once.
    #[track_caller]
    pub fn pause(&mut self, name: &str, duration: Duration) {
        let index = self.index(name);
        self.pause_node(index, duration);
    }

    /// A node leaves the cluster in good order.
    #[track_caller]
    pub fn leave(&mut self, name: &str) {
        let index = self.index(name);
        self.leave_node(index);
    }

    /// A node that is off will find an empty disk.
    #[track_caller]
    pub fn lose_disk(&mut self, name: &str) {
        let index = self.index(name);
        self.nodes[index].disk.roll_back(protocol::RingSeq(0));
    }

    /// A node that is off will start with another cluster key, and is not expected in the ring any more.
    #[track_caller]
    pub fn change_key(&mut self, name: &str, key: u8) {
        let index = self.index(name);
        let identity = &mut self.nodes[index].identity;
        (identity.key, identity.expected) = (key, false);
    }

    /// Each client sends so many messages of mixed sizes.
    pub fn each_sends(&mut self, count: usize, guarantee: Guarantee) {
        let mut rng = self.rng.fork();
        let frame_bytes = usize::from(self.options.netmtu) - 100;
        self.sends_if(|_| true, count, guarantee, || Sizes::Mixed.draw(&mut rng, frame_bytes));
    }

    /// Each client of a node sends so many messages of this size.
    #[track_caller]
    pub fn sends(&mut self, name: &str, count: usize, len: usize, guarantee: Guarantee) {
        let index = self.index(name);
        self.sends_if(|node| node == index, count, guarantee, || len);
    }

    fn sends_if(
        &mut self,
        wanted: impl Fn(usize) -> bool,
        count: usize,
        guarantee: Guarantee,
        mut len: impl FnMut() -> usize,
    ) {
        let clients = self.clients.values_mut().filter(|client| !client.watcher && wanted(client.node));
        let mut ids = Vec::new();
        for client in clients {
            (0..count).for_each(|_| client.wants(len(), guarantee));
            ids.push(client.id);
        }
        for client in ids {
            self.schedule(self.now, super::Event::Act { client });
        }
    }

    /// Stops all clients' own sending.
    pub fn quiet(&mut self) {
        self.options.workload = None;
        for client in self.clients.values_mut() {
            client.workload = None;
        }
    }

    /// Fails the test if any property does not hold.
    #[track_caller]
    pub fn check_invariants(&self) {
        let violations = crate::invariants::check(&self.history);
        let stories: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(stories.is_empty(), "{}", stories.join("\n"));
    }

    /// Stops all sending, waits until everything is delivered, and fails the test if it is not or if any
    /// property does not hold.
    #[track_caller]
    pub fn finish(&mut self) {
        if let Err(Failed(story)) = self.try_finish() {
            // A property that is violated usually explains why it did not come to rest.
            self.check_invariants();
            panic!("liveness: {story}");
        }
        self.check_invariants();
    }

    /// Runs until connected nodes are in one ring, and fails the test if that takes too long.
    #[track_caller]
    pub fn run_until_operational(&mut self) -> Duration {
        match self.try_until_operational() {
            Ok(took) => took,
            Err(Failed(story)) => {
                self.check_invariants();
                panic!("liveness: {story}");
            }
        }
    }

    /// Runs until everything sent is delivered, and fails the test if that takes too long.
    #[track_caller]
    pub fn run_until_delivered(&mut self) {
        if let Err(Failed(story)) = self.try_until_delivered() {
            self.check_invariants();
            panic!("liveness: {story}");
        }
    }

    /// A cluster with its nodes switched on.
    pub fn started<'a>(seed: Seed, names: impl IntoIterator<Item = &'a str>, options: Options) -> Self
    where
        M: 'static,
    {
        let mut world = Self::with_options(seed, names, options, M::start);
        world.start_all();
        world
    }

    /// The seed's own randomness, for a test that wants to vary with it.
    pub fn dice(&mut self) -> Rng {
        self.rng.fork()
    }
}
