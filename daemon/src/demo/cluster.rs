//! The daemons of the demonstration, and everything that they leave in the file system.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::Failed;
use crate::sys;

/// Daemons on 127.0.0.1 and up. They end, and their directory goes, with this value.
#[derive(Debug)]
pub(super) struct Cluster {
    directory: PathBuf,
    nodes: Vec<Node>,
    port: u16,
    /// Nothing is started any more.
    closed: bool,
}

#[derive(Debug)]
struct Node {
    id: u32,
    child: Option<Child>,
}

/// How long daemons may take to leave when the end comes early.
const GRACE: Duration = Duration::from_secs(3);

/// How often we look whether a daemon has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Lines of a log that are shown when something went wrong.
const LOG_LINES: usize = 25;

impl Cluster {
    /// A key and a configuration for each node, in a directory of their own.
    pub(super) fn prepare(nodes: u8) -> Result<Self, Failed> {
        let setup = |error: io::Error| Failed::Setup(error.to_string());
        let directory = std::env::temp_dir().join(format!("corosync-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(setup)?;
        let nodes: Vec<_> = (1..=u32::from(nodes)).map(|id| Node { id, child: None }).collect();
        // From here on the directory is removed whatever happens.
        let mut cluster = Self { directory, nodes, port: 0, closed: false };
        cluster.port = free_port(&cluster.nodes()).map_err(setup)?;
        cluster.write_files().map_err(setup)?;
        Ok(cluster)
    }

    /// The nodes' numbers.
    pub(super) fn nodes(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The UDP port of all of them.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The configuration file of a node.
    pub(super) fn config_file(&self, node: u32) -> PathBuf {
        self.directory_of(node).join("corosync.toml")
    }

    /// By which name local programs find the daemon of a node.
    pub(super) fn instance(node: u32) -> String {
        format!("demo_{}_{node}", std::process::id())
    }

    /// Starts the daemon of a node, and tells its process id.
    pub(super) fn start(&mut self, node: u32) -> Result<u32, Failed> {
        if self.closed {
            return Err(Failed::Interrupted);
        }
        let child = self.spawn(node).map_err(|error| Failed::Setup(error.to_string()))?;
        let pid = child.id();
        self.child(node).replace(child);
        Ok(pid)
    }

    /// kill -9.
    pub(super) fn kill(&mut self, node: u32) {
        if let Some(mut child) = self.child(node).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the daemon of a node to leave the ring and end. Does not wait.
    pub(super) fn terminate(&mut self, node: u32) {
        if let Some(child) = self.child(node) {
            terminate(child);
        }
    }

    /// How the daemon of a node ended, if it has.
    pub(super) fn ended(&mut self, node: u32) -> Option<ExitStatus> {
        let child = self.child(node);
        let status = child.as_mut()?.try_wait().ok()??;
        *child = None;
        Some(status)
    }

    /// The last lines that each daemon has logged.
    pub(super) fn logs(&self) -> Vec<(u32, Vec<String>)> {
        let last = |node: &Node| {
            let log = fs::read_to_string(self.directory_of(node.id).join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().map(str::to_owned).collect();
            let skipped = lines.len().saturating_sub(LOG_LINES);
            (node.id, lines.into_iter().skip(skipped).collect())
        };
        self.nodes.iter().map(last).collect()
    }

    /// Ends all daemons and removes all files.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let mut children: Vec<_> = self.nodes.iter_mut().filter_map(|node| node.child.take()).collect();
        children.iter_mut().for_each(terminate);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline
            && children.iter_mut().any(|child| matches!(child.try_wait(), Ok(None)))
        {
            thread::sleep(LOOK);
        }
        for mut child in children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }

    fn spawn(&self, node: u32) -> io::Result<Child> {
        let directory = self.directory_of(node);
        let log = fs::OpenOptions::new().append(true).create(true).open(directory.join("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("-f").arg("-c").arg(self.config_file(node));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for inherited in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM"] {
            command.env_remove(inherited);
        }
        // Ctrl-C is for us: the daemons end when we say so.
        sys::die_with_parent(command.process_group(0)).spawn()
    }

    fn write_files(&self) -> io::Result<()> {
        let mut key = [0; 256];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        write_private(&self.directory.join("authkey"), &key)?;
        for node in &self.nodes {
            let directory = self.directory_of(node.id);
            fs::DirBuilder::new().mode(0o700).create(&directory)?;
            write_private(&self.config_file(node.id), self.configuration(node.id).as_bytes())?;
        }
        Ok(())
    }

    fn configuration(&self, node: u32) -> String {
        let mut text = format!(
            "[totem]\ncluster_name = \"demo\"\nkeyfile = \"../authkey\"\nmcastport = {}\n\n\
             [system]\nlocal_nodeid = {node}\nstate_dir = \"state\"\nipc_instance = \"{}\"\n",
            self.port,
            Self::instance(node)
        );
        for node in &self.nodes {
            let address = address(node.id);
            text += &format!("\n[[nodelist.node]]\nnodeid = {}\nring0_addr = \"{address}\"\n", node.id);
        }
        text
    }

    fn directory_of(&self, node: u32) -> PathBuf {
        self.directory.join(format!("node{node}"))
    }

    fn child(&mut self, node: u32) -> &mut Option<Child> {
        let node = self.nodes.iter_mut().find(|candidate| candidate.id == node);
        &mut node.expect("only nodes of the cluster are asked for").child
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.closed {
            self.close();
        }
    }
}

fn terminate(child: &mut Child) {
    // A child that was not waited for keeps its number, so nobody else is hit.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn address(node: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 0).to_bits() | node)
}

/// A port that no program uses on any of the addresses. Somebody may still take it before the daemons
/// do; then they say so.
fn free_port(nodes: &[u32]) -> io::Result<u16> {
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..100 {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let bind = |&node: &u32| UdpSocket::bind(SocketAddr::from((address(node), port)));
        match nodes.iter().map(bind).collect::<io::Result<Vec<_>>>() {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn write_private(file: &Path, octets: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(octets)
}
