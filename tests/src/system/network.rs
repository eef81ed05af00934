//! The nodes' network: a bridge in a namespace of its own, one namespace a node, and faults between them.
//!
//! All faults are nftables rules on the bridge, where every frame between two nodes passes once for each receiver.

use std::{
    fs::File,
    io::Write as _,
    net::Ipv4Addr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::{NodeNumber, sandbox::run};

/// A network namespace. It ends with its last process and this value.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// A new one, with its loopback interface up.
    #[must_use]
    pub fn new() -> Self {
        let namespace = thread::spawn(|| {
            // SAFETY: a network namespace does not touch the file descriptor table, the one thing that threads of a
            // process rely on sharing; and this thread ends here.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("make a network namespace");
            Self(File::open("/proc/thread-self/ns/net").expect("open the new namespace").into())
        });
        let namespace = namespace.join().expect("the thread that makes a namespace ends well");
        namespace.enter(|| run(Command::new("ip").args(["link", "set", "lo", "up"])));
        namespace
    }

    /// Runs `inside` on a thread of its own that lives in the namespace. What it starts or opens belongs there.
    ///
    /// # Panics
    /// When `inside` does.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("enter a network namespace");
                inside()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A path under which `ip` finds it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// A bridge with nodes at it.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
    nodes: Vec<Namespace>,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Frames from the first to the second do not arrive.
    cuts: Vec<(NodeNumber, NodeNumber)>,
    loss_percent: u8,
}

impl Network {
    /// A bridge with nodes 1 to `count`.
    #[must_use]
    pub fn new(count: NodeNumber) -> Self {
        let switch = Namespace::new();
        let stranger = Self::address(STRANGER);
        switch.enter(|| {
            ip(&format!("link add br0 type bridge\nlink set br0 up\naddr add {stranger}/24 dev br0\n"));
        });
        let nodes = (1..=count).map(|number| plug(&switch, number)).collect();
        Self { switch, nodes, faults: Mutex::default() }
    }

    /// The address of a node.
    #[must_use]
    pub fn address(number: NodeNumber) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, number)
    }

    /// The namespace of a node.
    #[must_use]
    pub fn node(&self, number: NodeNumber) -> &Namespace {
        &self.nodes[usize::from(number) - 1]
    }

    /// A namespace at the same bridge that belongs to no node; [`Network::stranger`] is its address.
    #[must_use]
    pub fn outside(&self) -> &Namespace {
        &self.switch
    }

    /// The address of [`Network::outside`].
    #[must_use]
    pub fn stranger() -> Ipv4Addr {
        Self::address(STRANGER)
    }

    /// Nothing passes from any of `from` to any of `to`; the other way stays.
    pub fn cut_one_way(&self, from: &[NodeNumber], to: &[NodeNumber]) {
        self.change(|faults| {
            for &from in from {
                faults.cuts.extend(to.iter().map(|&to| (from, to)));
            }
        });
    }

    /// Nothing passes between the two sides.
    pub fn cut(&self, one: &[NodeNumber], other: &[NodeNumber]) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// From now on each frame is lost with this probability.
    pub fn lose(&self, percent: u8) {
        self.change(|faults| faults.loss_percent = percent);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.change(|faults| *faults = Faults::default());
    }

    /// Every interface sends single packets from now on, as a wire would carry them: a lost frame is then one packet
    /// and not up to 64 kB of them at once.
    pub fn split_batches(&self) {
        for (number, node) in (1..).zip(&self.nodes) {
            node.enter(|| ip("link set eth0 gso_max_segs 1\n"));
            self.switch.enter(|| ip(&format!("link set n{number} gso_max_segs 1\n")));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock().expect("nobody panics with this lock");
        change(&mut faults);
        let rules = faults.rules();
        self.switch.enter(|| feed(Command::new("nft").args(["-f", "-"]), &rules));
    }
}

impl Faults {
    fn rules(&self) -> String {
        let mut rules = String::from(
            "table bridge faults {}\ndelete table bridge faults\ntable bridge faults {\n chain forward {\n  \
             type filter hook forward priority 0;\n",
        );
        for (from, to) in &self.cuts {
            rules.push_str(&format!("  iifname \"n{from}\" oifname \"n{to}\" drop\n"));
        }
        if self.loss_percent > 0 {
            rules.push_str(&format!("  numgen random mod 100 < {} drop\n", self.loss_percent));
        }
        rules.push_str(" }\n}\n");
        rules
    }
}

/// Connects a new node to the bridge.
fn plug(switch: &Namespace, number: NodeNumber) -> Namespace {
    let node = Namespace::new();
    let (switch_path, address) = (switch.path(), Network::address(number));
    node.enter(|| {
        ip(&format!(
            "link add eth0 type veth peer name n{number} netns {switch_path}\naddr add {address}/24 dev eth0\n\
             link set eth0 up\n"
        ));
    });
    switch.enter(|| ip(&format!("link set n{number} master br0 up\n")));
    node
}

fn ip(batch: &str) {
    feed(Command::new("ip").args(["-batch", "-"]), batch);
}

/// Runs a command that reads `input` and must succeed.
fn feed(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().expect("stdin is a pipe").write_all(input.as_bytes()).expect("write to a command");
    let output = child.wait_with_output().expect("wait for a command");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}\n{input}");
}

/// The host part of the address that belongs to no node.
const STRANGER: NodeNumber = 254;
