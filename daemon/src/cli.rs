//! The command line, and what the daemon's exit status means.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// The cluster daemon: membership and totally ordered messages for a group of nodes.
///
/// It always stays in the foreground; systemd, or whoever starts it, puts it where it belongs.
#[derive(Debug, Parser)]
#[command(name = "corosync", disable_version_flag = true, args_conflicts_with_subcommands = true)]
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

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What the binary can do besides being the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster on this machine, show what it does, and clean up.
    ///
    /// Needs no privileges, no prepared files and about ten seconds.
    Demo {
        /// How many nodes.
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=8))]
        nodes: u8,
    },
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
  1   `demo` saw something that it should not have seen
  2   the command line is wrong
  8   the configuration file is wrong; every fault is named on the standard error stream
  13  local programs cannot be served
  15  the system refuses something that the daemon cannot do without
  16  the state directory cannot be used
  18  another program uses this node's address, or the names under which programs find the daemon
  30  another live node of the cluster has this node's number";

/// How the daemon ends. The numbers are corosync's as far as it has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// As it should.
    Done = 0,
    /// The demonstration failed.
    Demo = 1,
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
