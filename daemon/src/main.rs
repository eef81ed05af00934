//! The corosync daemon: the world around a node.
//!
//! A node is pure ([`services::Executive`]); this crate gives it a clock, a socket, a disk, local
//! clients and a service manager, and turns the one loop that feeds it ([`driver`]). It decides nothing
//! about the protocol.

mod check;
mod cli;
mod clients;
mod clock;
mod demo;
mod driver;
mod log;
mod net;
mod run;
mod state_dir;
mod sys;
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
    match cli.command {
        Some(cli::Command::Demo { nodes }) => demo::run(nodes),
        None if cli.test => check::check(&cli.config_file()),
        None => run::run(&cli.config_file()),
    }
    .into()
}
