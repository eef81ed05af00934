//! `corosync-cpgtool`: which process groups there are, and who is in them.
//!
//! Options and output are those of corosync's tool. Its table shows the node's address in
//! parentheses behind its number; a daemon without the cfg service cannot be asked for it, and then
//! that column is left out.

#![forbid(unsafe_code)]

mod listing;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
};

use clap::Parser;
use ipc::{
    client::{
        cfg,
        cpg::{Client, ClientError},
    },
    message::{
        CsError,
        cpg::{Address, GroupName, IterationKind},
    },
};
use listing::{Addresses, Names, Style};
use rustix::io::Errno;

/// Shows the process groups of the cluster and their members.
#[derive(Debug, Parser)]
#[command(name = "corosync-cpgtool", version)]
struct Options {
    /// Print a line for each member, with this character between the fields.
    #[arg(short, long, value_name = "CHARACTER")]
    delimiter: Option<String>,

    /// Print group names as they are, unprintable octets included.
    #[arg(short = 'e', long = "no-escape")]
    no_escape: bool,

    /// Print only the names of the groups.
    #[arg(short, long)]
    names: bool,

    /// Print JSON.
    #[arg(long, conflicts_with_all = ["delimiter", "no_escape"])]
    json: bool,

    /// Ask the daemon with this system.ipc_instance.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

impl Options {
    fn style(&self) -> Style {
        match self.delimiter.as_ref().and_then(|delimiter| delimiter.chars().next()) {
            _ if self.json => Style::Json,
            Some(delimiter) => Style::Delimited(delimiter),
            None => Style::Table,
        }
    }
}

/// Why nothing, or not everything, was shown. The numbers are `cs_error_t`'s.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error("Could not initialize corosync cpg API error {}: {cause}", number(cause))]
    Connect { cause: ClientError },
    #[error("Could not list the groups, error {}: {cause}", number(cause))]
    Iterate { cause: ClientError },
    #[error("Could not write: {0}")]
    Write(#[from] io::Error),
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Help goes to standard output and is no failure; corosync's tools exit 1 for the rest.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match show(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough: `corosync-cpgtool | head -1`.
        Err(ToolError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn show(options: &Options) -> Result<(), ToolError> {
    let kind = if options.names { IterationKind::NameOnly } else { IterationKind::All };
    let instance = options.instance.as_deref();
    let entries = list(instance, kind)?;
    let names = if options.no_escape { Names::Raw } else { Names::Escaped };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if options.names {
        let groups: Vec<GroupName> = entries.into_iter().map(|(group, _)| group).collect();
        listing::group_names(&mut out, &groups, options.style(), names)?;
    } else {
        let style = options.style();
        let addresses = if style == Style::Table { addresses(instance, &entries) } else { None };
        listing::members(&mut out, &entries, addresses.as_ref(), style, names)?;
    }
    Ok(out.flush()?)
}

/// A snapshot of the groups. It is complete before anything is printed.
fn list(instance: Option<&str>, kind: IterationKind) -> Result<Vec<(GroupName, Address)>, ToolError> {
    let mut client = Client::connect(instance).map_err(|cause| ToolError::Connect { cause })?;
    client.iterate(kind, None).map_err(|cause| ToolError::Iterate { cause })
}

/// Where the members' nodes are reached; nothing where the daemon does not tell.
fn addresses(instance: Option<&str>, entries: &[(GroupName, Address)]) -> Option<Addresses> {
    let mut client = cfg::Client::connect(instance).ok()?;
    let mut addresses: Addresses = BTreeMap::new();
    for (_, member) in entries {
        // A node that the configuration does not name has none, and that is what is printed.
        let ask = || -> Vec<IpAddr> { client.node_addresses(member.nodeid).unwrap_or_default() };
        addresses.entry(member.nodeid).or_insert_with(ask);
    }
    Some(addresses)
}

/// The number by which corosync's libraries report this.
fn number(error: &ClientError) -> i32 {
    let code = match error {
        ClientError::NotReady | ClientError::WouldBlock => CsError::TryAgain,
        ClientError::Refused(Errno::ACCESS) => CsError::Access,
        ClientError::Service(code) => *code,
        _ => CsError::Library,
    };
    code as i32
}
