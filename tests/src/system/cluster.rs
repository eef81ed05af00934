//! A cluster: a network, and one node a namespace.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    Client, ClientOptions, Ended, Flavour, HANG, Namespace, Network, Process, Spec,
    notify::NotifySocket,
    now_ns,
    process::quiet,
    sandbox::{self, program, run},
};

/// A node's number: its node id, and the last part of its address. Counts from 1.
pub type NodeNumber = u8;

/// Nodes that share a network. Everything of it ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    spec: Spec,
    network: Network,
    nodes: Vec<Node>,
    directory: PathBuf,
}

impl Cluster {
    /// The nodes of `spec` with their files; no daemon runs yet.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = sandbox::root().join(format!("c{count}"));
        let network = Network::new(spec.nodes);
        let nodes = (1..=spec.nodes).map(|number| Node::new(&spec, &directory, number)).collect();
        Self { spec, network, nodes, directory }
    }

    /// A cluster whose daemons all run and are ready.
    #[must_use]
    pub fn start(spec: Spec) -> Self {
        let mut cluster = Self::new(spec);
        for number in 1..=cluster.spec.nodes {
            cluster.start_node(number);
        }
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        cluster
    }

    /// What it was made of.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A node.
    #[must_use]
    pub fn node(&self, number: NodeNumber) -> &Node {
        &self.nodes[usize::from(number) - 1]
    }

    /// A node.
    pub fn node_mut(&mut self, number: NodeNumber) -> &mut Node {
        &mut self.nodes[usize::from(number) - 1]
    }

    /// Starts a node's daemon. Says when.
    pub fn start_node(&mut self, number: NodeNumber) -> u64 {
        let node = &mut self.nodes[usize::from(number) - 1];
        node.start(self.network.node(number));
        now_ns()
    }

    /// Starts a libcpg client on a node.
    #[must_use]
    pub fn client(&self, number: NodeNumber, options: &ClientOptions) -> Client {
        Client::start(self.network.node(number), options)
    }

    /// A client on each node, all of them members of one group, which each has seen.
    #[must_use]
    pub fn clients(&self, options: &ClientOptions) -> Vec<Client> {
        let all: Vec<u32> = (1..=u32::from(self.spec.nodes)).collect();
        let mut clients: Vec<_> = (1..=self.spec.nodes).map(|number| self.client(number, options)).collect();
        for client in &mut clients {
            client.wait_ring(0, &all);
            client.wait_members(0, &all);
        }
        clients
    }

    /// Runs a program in a node's namespace to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_on(&self, number: NodeNumber, command: &mut Command) -> Output {
        let output = self.network.node(number).enter(|| command.output());
        output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            keep_logs(&self.nodes);
        }
        self.nodes.clear();
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// One node: its files, and its daemon while it runs.
#[derive(Debug)]
pub struct Node {
    number: NodeNumber,
    flavour: Flavour,
    directory: PathBuf,
    config: PathBuf,
    notify: NotifySocket,
    daemon: Option<Process>,
    state_is_mounted: bool,
}

/// What is wrong with a state directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StateFault {
    /// It cannot be written.
    ReadOnly,
    /// Its file system has no room left.
    Full,
}

impl Node {
    fn new(spec: &Spec, cluster: &Path, number: NodeNumber) -> Self {
        let directory = cluster.join(format!("n{number}"));
        spec.write(&directory);
        let config = directory.join(spec.file_name());
        let notify = NotifySocket::new(&directory);
        Self {
            number,
            flavour: spec.flavour,
            directory,
            config,
            notify,
            daemon: None,
            state_is_mounted: false,
        }
    }

    /// Its directory: configuration, `authkey`, `state`, `daemon.log`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Changes its configuration file.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(&self.config).expect("read a configuration");
        fs::write(&self.config, edit(text)).expect("write a configuration");
    }

    /// Replaces its key.
    pub fn set_key(&self, key: &[u8]) {
        super::files::write_private(&self.directory.join("authkey"), key);
    }

    /// Its daemon.
    ///
    /// # Panics
    /// When it does not run.
    pub fn daemon(&mut self) -> &mut Process {
        self.daemon.as_mut().expect("the daemon runs")
    }

    /// Everything its daemons have logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Waits until the daemon says that it is ready.
    pub fn wait_ready(&mut self) {
        let ready = self.notify.wait_for("READY=1", HANG);
        assert!(ready, "node {} does not become ready; it logged:\n{}", self.number, self.log());
    }

    /// Whether the daemon says within `limit` that it is ready.
    pub fn is_ready_within(&mut self, limit: Duration) -> bool {
        self.notify.wait_for("READY=1", limit)
    }

    /// Kills the daemon without warning. Says when.
    pub fn kill(&mut self) -> u64 {
        self.daemon().signal(Signal::KILL);
        let killed_at = now_ns();
        assert_eq!(self.wait_end(), Ended::Signal(Signal::KILL.as_raw()));
        killed_at
    }

    /// Stops the daemon in its tracks.
    pub fn pause(&mut self) {
        self.daemon().signal(Signal::STOP);
    }

    /// Ends a pause.
    pub fn resume(&mut self) {
        self.daemon().signal(Signal::CONT);
    }

    /// Gives the node a small file system of its own for its state. Before the daemon's start.
    pub fn put_state_on_tmpfs(&mut self) {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(self.state()));
        self.state_is_mounted = true;
    }

    /// Lets writes to the state directory fail from now on; see [`put_state_on_tmpfs`](Self::put_state_on_tmpfs).
    pub fn break_state(&self, fault: StateFault) {
        match fault {
            StateFault::ReadOnly => self.remount_state("remount,ro"),
            StateFault::Full => {
                let mut ballast = File::create(self.state().join("ballast")).expect("make a file");
                while ballast.write_all(&[0; 512]).is_ok() {}
            }
        }
    }

    /// Takes a fault back.
    pub fn mend_state(&self, fault: StateFault) {
        match fault {
            StateFault::ReadOnly => self.remount_state("remount,rw"),
            StateFault::Full => fs::remove_file(self.state().join("ballast")).expect("remove a file"),
        }
    }

    /// Asks the daemon to leave. Says when.
    pub fn terminate(&mut self) -> u64 {
        self.daemon().signal(Signal::TERM);
        now_ns()
    }

    /// Waits for the daemon's end.
    pub fn wait_end(&mut self) -> Ended {
        let ended = self.daemon().wait(HANG);
        let ended =
            ended.unwrap_or_else(|| panic!("node {} does not end; it logged:\n{}", self.number, self.log()));
        self.daemon = None;
        ended
    }

    fn start(&mut self, namespace: &Namespace) {
        assert!(self.daemon.is_none(), "node {} runs already", self.number);
        self.notify.clear();
        let mut command = match self.flavour {
            Flavour::Ours => quiet(program("corosync")),
            Flavour::Debian => debian_corosync(),
        };
        command.args(["-f", "-c"]).arg(&self.config).env("NOTIFY_SOCKET", self.notify.path());
        let log = self.log_path();
        self.daemon = Some(namespace.enter(|| Process::start(&mut command, &log)));
    }

    fn remount_state(&self, options: &str) {
        run(Command::new("mount").args(["-o", options]).arg(self.state()));
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.daemon = None;
        if self.state_is_mounted {
            drop(Command::new("umount").arg(self.state()).status());
        }
    }
}

/// Debian's corosync writes its pid file to a fixed path; each gets its own `/run`, in a mount namespace that ends
/// with it. `exec` keeps the pid that we signal.
fn debian_corosync() -> Command {
    let mut command = quiet("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib/corosync && exec /usr/sbin/corosync \"$@\"",
        "corosync",
    ]);
    command
}

/// After a failed test: the daemons' logs outlive the sandbox, and their ends are printed.
fn keep_logs(nodes: &[Node]) {
    let place = sandbox::target_dir().join("system-logs");
    drop(fs::create_dir_all(&place));
    let test = sandbox::running_test();
    for node in nodes {
        let log = node.log();
        let kept = place.join(format!("{test}.node{}.log", node.number));
        drop(fs::write(&kept, &log));
        let lines: Vec<_> = log.lines().collect();
        eprintln!("-- node {}: the last lines of {}", node.number, kept.display());
        for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
            eprintln!("   {line}");
        }
    }
}

/// Lines of each log that a failed test prints.
const LINES_SHOWN: usize = 15;
