//! A daemon in a directory of its own, observed through what it tells its service manager.

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ipc::client::cpg::Client;
use rustix::process::{Pid, Signal, kill_process};

/// Nodes with one key, one port, one list.
#[derive(Debug)]
pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    port: u16,
    /// Number and address of each node.
    pub(crate) nodes: Vec<(u32, IpAddr)>,
    serial: u32,
}

/// A daemon. It is killed with this value.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    manager: UnixDatagram,
    instance: String,
    directory: PathBuf,
}

/// After this long a daemon does not do it any more.
const PATIENCE: Duration = Duration::from_secs(20);

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// Nodes 1 and up at these addresses.
    pub(crate) fn of(addresses: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        write_private(&directory.path().join("authkey"), &[7; 64]);
        let addresses = addresses.iter().map(|address| address.parse().expect("an address"));
        let nodes: Vec<_> = (1..).zip(addresses).collect();
        let port = free_port(&nodes);
        Self { directory, port, nodes, serial: SERIAL.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A directory for a daemon of this node, with its configuration.
    pub(crate) fn prepare(&self, node: u32, name: &str) -> PathBuf {
        let directory = self.directory.path().join(name);
        fs::DirBuilder::new().mode(0o700).create(&directory).expect("created");
        let mut text = format!(
            "[totem]\nkeyfile = \"../authkey\"\nmcastport = {}\n[system]\nlocal_nodeid = {node}\n\
             state_dir = \"state\"\nipc_instance = \"{}\"\n",
            self.port,
            self.instance(name)
        );
        for (node, address) in &self.nodes {
            text += &format!("[[nodelist.node]]\nnodeid = {node}\nring0_addr = \"{address}\"\n");
        }
        write_private(&directory.join("corosync.toml"), text.as_bytes());
        directory
    }

    /// Starts a daemon in a prepared directory.
    pub(crate) fn start(&self, name: &str) -> Daemon {
        let directory = self.directory.path().join(name);
        let notify = directory.join("notify");
        let _ = fs::remove_file(&notify);
        let manager = UnixDatagram::bind(&notify).expect("bound");
        manager.set_read_timeout(Some(PATIENCE)).expect("a time");
        let log =
            fs::OpenOptions::new().append(true).create(true).open(directory.join("log")).expect("opened");
        let child = Command::new(env!("CARGO_BIN_EXE_corosync"))
            .arg("-f")
            .arg("-c")
            .arg(directory.join("corosync.toml"))
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("COROSYNC_LOG")
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        Daemon { child, manager, instance: self.instance(name), directory }
    }

    fn instance(&self, name: &str) -> String {
        format!("t{}_{}_{name}", std::process::id(), self.serial)
    }
}

impl Daemon {
    /// Waits until the service manager is told something that begins like this; what exactly.
    pub(crate) fn told(&self, beginning: &str) -> String {
        let mut message = [0; 1024];
        loop {
            let len = self.manager.recv(&mut message).unwrap_or_else(|error| {
                panic!("waiting for {beginning}: {error}; the log:\n{}", self.log());
            });
            let text = String::from_utf8_lossy(&message[..len]);
            if let Some(line) = text.lines().find(|line| line.starts_with(beginning)) {
                return line.to_owned();
            }
        }
    }

    /// A program that uses this daemon.
    pub(crate) fn client(&self) -> Client {
        Client::connect(Some(&self.instance)).expect("the daemon is ready")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("not 0"), signal).expect("not waited for yet");
    }

    /// How it ended, once it has.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("not waited for yet")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free at those of the addresses that this machine has.
fn free_port(nodes: &[(u32, IpAddr)]) -> u16 {
    let ours: Vec<_> = nodes.iter().filter(|(_, address)| UdpSocket::bind((*address, 0)).is_ok()).collect();
    loop {
        let port =
            UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("bound").port();
        if ours.iter().all(|(_, address)| UdpSocket::bind((*address, port)).is_ok()) {
            return port;
        }
    }
}

fn write_private(file: &Path, octets: &[u8]) {
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    std::io::Write::write_all(&mut created.expect("created"), octets).expect("written");
}
