//! `corosync.toml` into values that cannot be wrong, or into messages that say where it is.
//!
//! [`load`] reads a file and the files that belong to it (the key file, the directory `uidgid.d`),
//! resolves names and finds out which node of the list this one is. Every problem is reported at
//! once, each with its place; nothing is ever half applied. [`keys`] is the one table of all keys.

#![forbid(unsafe_code)]

mod check;
pub mod diagnostic;
pub mod example;
mod file;
mod host;
pub mod keyfile;
pub mod keys;
mod lines;
pub mod manual;
mod nodes;
mod setting;
mod settings;
#[cfg(test)]
mod tests;
mod uidgid;
mod value;

use std::{
    io::{self, Read},
    path::Path,
};

pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use settings::{
    ClusterSettings, Config, IpcSettings, IpcTransport, LogLevel, LoggingSettings, NodeSettings,
    SystemSettings, Timestamp,
};

use diagnostic::Report;
use file::{Document, FILE_BYTES_MAX};
use host::{Host, ThisHost};

/// Reads and checks a configuration file.
///
/// Blocks: on the file system, and on name lookups where the list of nodes or the `uidgid` sections
/// hold names. Call it off the daemon's loop.
///
/// # Errors
/// Everything that is wrong, sorted by place. A problem of the file as a whole is at its line 1.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let file_name = path.to_string_lossy();
    match read_text(path) {
        Ok(text) => parse(&text, &file_name, path.parent().unwrap_or(Path::new("."))),
        Err(error) => {
            let mut report = Report::default();
            let start = Place { file: file_name.as_ref().into(), line: 1, column: 1 };
            report.error(&start, format!("cannot read the configuration: {error}"));
            Err(Diagnostics::from(report))
        }
    }
}

/// Checks a configuration whose text is at hand. `directory` is where relative names start and where
/// `uidgid.d` is looked for.
///
/// # Errors
/// As for [`load`].
pub fn parse(text: &str, file_name: &str, directory: &Path) -> Result<Config, Diagnostics> {
    parse_on(&ThisHost, text, file_name, directory)
}

fn parse_on(host: &dyn Host, text: &str, file_name: &str, directory: &Path) -> Result<Config, Diagnostics> {
    let mut report = Report::default();
    let document = Document::read(text, file_name, &keys::ROOT, &mut report);
    let uidgid_files = uidgid::read_directory(&directory.join("uidgid.d"), &mut report);
    let config = check::check(&document, &uidgid_files, directory, host, &mut report);
    let Some(config) = config.filter(|_| !report.has_errors()) else {
        return Err(Diagnostics::from(report));
    };
    Ok(Config { warnings: report.warnings(), ..config })
}

/// The text of a file that is regular, not too large and UTF-8.
fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let file = keyfile::open_regular(path)?.ok_or_else(|| invalid("it is not a regular file".to_owned()))?;
    let mut octets = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut octets)?;
    if octets.len() > FILE_BYTES_MAX {
        return Err(invalid(format!("it has more than {FILE_BYTES_MAX} octets")));
    }
    String::from_utf8(octets).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        invalid(format!("it is not UTF-8 text: octet {} is wrong", offset + 1))
    })
}
