//! `corosync-keygen`: makes the secret that all nodes of a cluster share.
//!
//! The key file is new, complete and on disk, or it is not there: an existing one is never touched,
//! since a node that gets another key no longer reaches the others.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use zeroize::Zeroizing;

/// Makes the key with which the nodes of a cluster protect their packets.
#[derive(Debug, Parser)]
#[command(name = "corosync-keygen", version)]
struct Options {
    /// The file to make. An existing one is never overwritten.
    #[arg(short = 'k', long = "key-file", value_name = "FILE", default_value = "/etc/corosync/authkey")]
    key_file: PathBuf,

    /// Octets of the key, from 128 to 4096.
    #[arg(short, long, value_name = "OCTETS", default_value_t = 256, value_parser = clap::value_parser!(u16).range(128..=4096))]
    size: u16,

    /// Does nothing; older scripts pass it.
    #[arg(short, long)]
    less_secure: bool,
}

/// Why there is no key. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
enum KeygenError {
    #[error("the kernel gives no random octets: {0}")]
    Random(getrandom::Error),
    #[error("{} exists already and is not overwritten; remove it first if no node uses it any more", .0.display())]
    Exists(PathBuf),
    #[error("cannot create {}: {cause}", path.display())]
    Create { path: PathBuf, cause: io::Error },
    #[error("cannot write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
}

impl KeygenError {
    /// 1 if nothing was tried, 2 if the file could not be made.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Random(_) => 1,
            Self::Exists(_) | Self::Create { .. } | Self::Write { .. } => 2,
        }
    }
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
    match make_key(&options.key_file, usize::from(options.size)) {
        Ok(()) => {
            // The key is made even where nobody reads this.
            let bits = u32::from(options.size) * 8;
            let _ =
                writeln!(io::stdout(), "Wrote a new key of {bits} bits to {}.", options.key_file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "corosync-keygen: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn make_key(path: &Path, bytes: usize) -> Result<(), KeygenError> {
    let mut key = Zeroizing::new(vec![0; bytes]);
    getrandom::fill(&mut key).map_err(KeygenError::Random)?;
    let file = create(path)?;
    write(file, path, &key).inspect_err(|_| {
        // Half a key is worse than none. It is ours: `create` has just made it.
        let _ = fs::remove_file(path);
    })
}

/// A new file that only its owner can read. Follows no symbolic link at the last part of the name.
fn create(path: &Path) -> Result<File, KeygenError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path);
    created.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists(path.to_owned()),
        _ => KeygenError::Create { path: path.to_owned(), cause },
    })
}

/// Writes the key and waits until it, and the file's name, are on stable storage.
fn write(mut file: File, path: &Path, key: &[u8]) -> Result<(), KeygenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    file.write_all(key)
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|cause| KeygenError::Write { path: path.to_owned(), cause })
}
