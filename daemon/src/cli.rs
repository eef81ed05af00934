//! The command line, and what the daemon's exit status means.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// The cluster daemon: membership and totally ordered messages for a group of nodes.
///
/// It always stays in the foreground; systemd, or whoever starts it, puts it where it belongs.
#[derive(Debug, Parser)]
#[command(name = "corosync", disable_version_flag = true)]
#[command(after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    /// Stay in the foreground. Accepted for compatibility: the daemon always does.
    #[arg(short = 'f')]
    pub(crate) foreground: bool,

    /// The configuration file.
    ///
    /// Without this option it is what COROSYNC_MAIN_CONFIG_FILE names, or else
    /// /etc/corosync/corosync.toml.
    #[arg(short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration file, and start nothing.
    #[arg(short = 't')]
    pub(crate) test: bool,

    /// Print the version.
    #[arg(short = 'v', long = "version")]
    pub(crate) version: bool,
}

impl Cli {
    /// The configuration file to use.
    pub(crate) fn config_file(&self) -> PathBuf {
        let named = || std::env::var_os("COROSYNC_MAIN_CONFIG_FILE").filter(|name| !name.is_empty());
        self.config.clone().or_else(|| named().map(PathBuf::from)).unwrap_or_else(|| CONFIG_FILE.into())
    }
}

/// The native configuration file.
const CONFIG_FILE: &str = "/etc/corosync/corosync.toml";

const EXIT_STATUS: &str = "\
Exit status:
  0   the node left the cluster, or the configuration file is good
  2   the command line is wrong
  8   the configuration file is wrong; every fault is named on the standard error stream
  13  local programs cannot be served: their sockets are taken, or cannot be made
  15  the system refuses something that the daemon cannot do without
  16  the state directory cannot be used
  18  another program uses this node's address and port
  30  another live node of the cluster has this node's number";

/// How the daemon ends. The numbers are corosync's as far as it has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// As it should.
    Done = 0,
    /// The configuration file is wrong.
    Config = 8,
    /// No service for local programs.
    Ipc = 13,
    /// The system refuses something essential.
    System = 15,
    /// The state directory cannot be used.
    StateDir = 16,
    /// The address is in use.
    Running = 18,
    /// Another node has this node's number.
    DuplicateNode = 30,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
