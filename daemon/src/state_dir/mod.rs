//! What a node remembers across restarts: the ring sequence it may have used.
//!
//! A ring id must never name two configurations, so the sequence is on stable storage before a ring
//! with it can form. Not each sequence is written: the file holds a
//! *mark* that lies [`RESERVE`] ahead of what is used, every sequence up to it is covered, and a
//! restarted node goes on above it. So an fsync lies on the fail-over path once in many rings only.
//!
//! [`StateDir`] reads and writes the file, [`RingSeqStore`] does the writing on a thread of its own.

mod record;
mod store;

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::{NodeId, RingSeq};

use self::record::{Record, RecordError};
pub(crate) use self::store::{RingSeqStore, StoreFailed};

/// How far the mark on disk lies ahead of the ring sequence that asked for it.
pub(crate) const RESERVE: u64 = 1024;

/// The directory with a node's state (`system.state_dir`).
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    directory: PathBuf,
    node: NodeId,
}

/// The state directory cannot be used at all; the daemon does not start.
#[derive(Debug, thiserror::Error)]
#[error("state directory {} cannot be {action}: {source}", directory.display())]
pub(crate) struct StateDirError {
    directory: PathBuf,
    action: &'static str,
    source: io::Error,
}

/// What the state directory says about the ring sequence.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Loaded {
    /// The node goes on above this one.
    pub(crate) ring_seq: RingSeq,
    /// How it is known.
    pub(crate) origin: Origin,
}

/// Where a [`Loaded`] sequence comes from.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// The file of an earlier life.
    Stored,
    /// There is no file: the first start of this node.
    Missing,
    /// There is a file, but it cannot be believed; the sequence was taken from the clock, far above
    /// anything that this node can have used.
    Unusable(Unusable),
}

/// Why a file with a ring sequence cannot be believed.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unusable {
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// Its content is wrong.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is a good record of another node.
    #[error("it belongs to node {0}")]
    Foreign(NodeId),
}

impl StateDir {
    /// The directory, created with mode 0700 if it is missing.
    ///
    /// # Errors
    ///
    /// If it cannot be created, or is something else than a directory.
    pub(crate) fn open(directory: &Path, node: NodeId) -> Result<Self, StateDirError> {
        let this = Self { directory: directory.to_owned(), node };
        let failed = |action| move |source| StateDirError { directory: directory.to_owned(), action, source };
        this.create().map_err(failed("created"))?;
        this.sync_handle().map_err(failed("opened"))?;
        Ok(this)
    }

    /// The file with the ring sequence.
    pub(crate) fn ring_seq_file(&self) -> PathBuf {
        self.directory.join(format!("ringid_{}", self.node))
    }

    /// Reads the ring sequence. A file that cannot be believed is never a reason to use a low one.
    pub(crate) fn load(&self) -> Loaded {
        let believed = match self.read() {
            Ok(octets) => Record::decode(&octets).map_err(Unusable::Record),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Loaded { ring_seq: RingSeq::default(), origin: Origin::Missing };
            }
            Err(error) => Err(Unusable::Unreadable(error.kind())),
        };
        match believed {
            Ok(record) if record.node == self.node => {
                Loaded { ring_seq: record.mark, origin: Origin::Stored }
            }
            Ok(record) => {
                Loaded { ring_seq: far_ahead(), origin: Origin::Unusable(Unusable::Foreign(record.node)) }
            }
            Err(cause) => Loaded { ring_seq: far_ahead(), origin: Origin::Unusable(cause) },
        }
    }

    /// Puts `mark` on stable storage: after this returned `Ok`, every later life of this node reads it.
    /// Blocks for as long as the disk takes. A failure leaves the old file as it was.
    pub(crate) fn store(&self, mark: RingSeq) -> io::Result<()> {
        // Somebody may have removed the directory under a running node.
        self.create()?;
        let temporary = self.directory.join(format!(".ringid_{}.new", self.node));
        let written = write_new(&temporary, Record { node: self.node, mark }.encode().as_bytes())
            .and_then(|()| std::fs::rename(&temporary, self.ring_seq_file()));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written?;
        self.sync_handle()?.sync_all()
    }

    fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    fn sync_handle(&self) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&self.directory)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        // Neither a link out of the directory nor a FIFO that never ends is followed.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.ring_seq_file())?;
        let mut octets = Vec::new();
        file.take(record::OCTETS as u64 + 1).read_to_end(&mut octets)?;
        Ok(octets)
    }
}

/// Writes a file that must not exist, and waits until its content is stable.
fn write_new(path: &Path, octets: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

/// A sequence above all that a node can have used: one ring in a microsecond since 1970 would be less.
/// The only use of the wall clock; a clock that is wrong by years only makes it a poorer guess, and the
/// ring id's nonce still keeps ids apart.
fn far_ahead() -> RingSeq {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    RingSeq(seconds.saturating_mul(1 << 20))
}

#[cfg(test)]
mod tests;
