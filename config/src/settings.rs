//! What a configuration file comes to: values for the parts of a node.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use protocol::NodeId;
use services::executive::ExecutiveSettings;

use crate::diagnostic::Diagnostic;

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// For the executive: ring and links.
    pub executive: ExecutiveSettings,
    /// The nodes, and which of them this one is.
    pub cluster: ClusterSettings,
    /// For the server of local clients.
    pub ipc: IpcSettings,
    /// For the log.
    pub logging: LoggingSettings,
    /// For the daemon itself.
    pub system: SystemSettings,
    /// What somebody should look at, sorted by place.
    pub warnings: Vec<Diagnostic>,
}

/// The cluster as the file lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterSettings {
    /// `totem.cluster_name`; empty if there is none.
    pub name: String,
    /// All nodes in the order of the file, this one among them.
    pub nodes: Vec<NodeSettings>,
    /// This node. Its address is the one to bind the socket to.
    pub local: NodeSettings,
}

/// A node of the list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeSettings {
    /// `nodeid`.
    pub node: NodeId,
    /// `name`, or `ring0_addr` as it is written where there is no name.
    pub name: String,
    /// `ring0_addr` as it is written.
    pub ring0_addr: String,
    /// `ring0_addr` resolved, with the port of its link.
    pub address: SocketAddr,
}

/// How local programs connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpcSettings {
    /// `system.qb_ipc_type`.
    pub transport: IpcTransport,
    /// `system.ipc_instance`: prefix of the socket names, for several daemons on one machine.
    pub instance: Option<String>,
    /// Users whose programs may connect besides root's.
    pub uids: BTreeSet<u32>,
    /// Groups whose programs may connect.
    pub gids: BTreeSet<u32>,
}

/// How requests and events travel between a client and the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IpcTransport {
    /// Shared memory; what `native` means on Linux.
    #[default]
    SharedMemory,
    /// Sockets.
    Socket,
}

/// What is logged, and where to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoggingSettings {
    /// `to_stderr`.
    pub to_stderr: bool,
    /// `to_syslog`: to the journal, or to syslog where there is no journal.
    pub to_syslog: bool,
    /// `level`, or [`LogLevel::Debug`] for `debug = true`.
    pub level: LogLevel,
    /// `timestamp`; meant for lines on standard error.
    pub timestamp: Timestamp,
}

/// The least important lines that are still logged.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    /// The daemon cannot go on.
    Error,
    /// Somebody should act.
    Warn,
    /// The life of the cluster.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Frames.
    Trace,
}

/// What a log line on standard error begins with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Timestamp {
    /// No time.
    Off,
    /// Seconds.
    On,
    /// Milliseconds.
    #[default]
    Hires,
}

/// What concerns the daemon itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SystemSettings {
    /// `state_dir`, absolute. Nobody has looked whether it exists.
    pub state_dir: PathBuf,
}
