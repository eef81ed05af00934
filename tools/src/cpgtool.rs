//! `corosync-cpgtool`: which process groups there are, and who is in them.
//!
//! Options and output are those of corosync's tool. Its table shows the node's address in
//! parentheses behind its number; that column is left out here as long as the daemon has no cfg
//! service to ask for it.

#![forbid(unsafe_code)]

mod listing;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use ipc::{
    client::cpg::{Client, ClientError},
    message::{
        CsError,
        cpg::{Address, GroupName, IterationKind},
    },
};
use listing::{Names, Style};
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
    let entries = list(options.instance.as_deref(), kind)?;
    let names = if options.no_escape { Names::Raw } else { Names::Escaped };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if options.names {
        let groups: Vec<GroupName> = entries.into_iter().map(|(group, _)| group).collect();
        listing::group_names(&mut out, &groups, options.style(), names)?;
    } else {
        listing::members(&mut out, &entries, options.style(), names)?;
    }
    Ok(out.flush()?)
}

/// A snapshot of the groups. It is complete before anything is printed.
fn list(instance: Option<&str>, kind: IterationKind) -> Result<Vec<(GroupName, Address)>, ToolError> {
    let mut client = Client::connect(instance).map_err(|cause| ToolError::Connect { cause })?;
    client.iterate(kind, None).map_err(|cause| ToolError::Iterate { cause })
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
