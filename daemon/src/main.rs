//! The corosync daemon: the world around a node.
//!
//! A node is pure ([`services::Executive`]); this crate gives it a clock, a socket, a disk, local
//! clients and a service manager, and turns the one loop that feeds it. It decides nothing about the
//! protocol.
#![expect(dead_code, unused_imports, reason = "the loop that uses all this comes with the executive")]

mod check;
mod cli;
mod log;
mod net;
mod state_dir;
mod systemd;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.version {
        println!("Corosync Cluster Engine, version {}", env!("CARGO_PKG_VERSION"));
        return Exit::Done.into();
    }
    let checked = check::check(&cli.config_file());
    if cli.test || checked != Exit::Done {
        return checked.into();
    }
    eprintln!("corosync: this build checks configurations (-t) and runs no node");
    Exit::System.into()
}
