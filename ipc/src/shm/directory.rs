//! The directory in `/dev/shm` that holds one connection's files.
//!
//! libqb's naming: `qb-<server>-<client>-<descriptor>-<six random characters>`. The client owns the
//! directory and can do with it what it likes; we reach into it only through descriptors of our
//! own, follow no link, and remove only the names that we made.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{self, AtFlags, FlockOperation, Gid, Mode, OFlags, Uid},
    io::Errno,
    process::{Pid, test_kill_process},
};

use crate::{message::Service, server::Credentials};

/// `/dev/shm`, opened once.
#[derive(Clone, Debug)]
pub(crate) struct SharedMemory(Arc<OwnedFd>);

impl SharedMemory {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self(Arc::new(fs::open(PATH, flags, Mode::empty())?)))
    }

    /// Opens a file of this client here, for reading and writing, and unlinks it.
    ///
    /// # Errors
    /// It is no regular file, not the client's, or has other names.
    pub(crate) fn take_file(&self, name: &[u8], owner: Uid) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.0, name, flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        let regular = fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::RegularFile;
        if !regular || stat.st_uid != owner.as_raw() || stat.st_nlink != 1 {
            return Err(Errno::ACCESS);
        }
        fs::unlinkat(&self.0, name, AtFlags::empty())?;
        Ok(file)
    }

    /// Removes what daemons that are dead have left behind for these services. Only directories
    /// that hold nothing but such files; of whatever fails, the rest is removed all the same.
    pub(crate) fn remove_leftovers(&self, services: &[Service]) -> io::Result<()> {
        for entry in fs::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if server_of(&name).is_some_and(is_dead) {
                let _ = self.remove_leftover(&name, services);
            }
        }
        Ok(())
    }

    fn remove_leftover(&self, name: &str, services: &[Service]) -> Result<(), Errno> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = fs::openat(&self.0, name, flags, Mode::empty())?;
        // Held by a living server, whatever its process id is in its own namespace.
        fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        let known: Vec<String> = services.iter().flat_map(|service| all_files(*service)).collect();
        let mut found = Vec::new();
        for entry in fs::Dir::read_from(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            match name.as_str() {
                "." | ".." => {}
                _ if known.contains(&name) => found.push(name),
                _ => return Err(Errno::NOTEMPTY),
            }
        }
        for file in found {
            fs::unlinkat(&directory, file, AtFlags::empty())?;
        }
        fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)
    }
}

/// One connection's directory. Removed with its files when dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    parent: SharedMemory,
    name: String,
    own: OwnedFd,
    files: Vec<String>,
}

impl Directory {
    /// Makes a directory that is still ours; [`Self::hand_over`] gives it to the client.
    pub(crate) fn new(parent: &SharedMemory, client: u32, descriptor: i32) -> io::Result<Self> {
        let server = std::process::id();
        let name = format!("qb-{server}-{client}-{descriptor}-{}", random_name()?);
        fs::mkdirat(&parent.0, &name, Mode::RWXU)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let own = fs::openat(&parent.0, &name, flags, Mode::empty()).inspect_err(|_| {
            let _ = fs::unlinkat(&parent.0, &name, AtFlags::REMOVEDIR);
        })?;
        let directory = Self { parent: parent.clone(), name, own, files: Vec::new() };
        // The mark of a living server, see `remove_leftover`.
        fs::flock(&directory.own, FlockOperation::NonBlockingLockExclusive)?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> String {
        format!("{PATH}/{}", self.name)
    }

    /// Makes a file of this size for the client. All its memory is allocated now: a full
    /// `/dev/shm` refuses the connection instead of killing whoever touches the file later.
    pub(crate) fn create(&mut self, file: String, bytes: usize, client: Credentials) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let made = fs::openat(&self.own, &file, flags, Mode::RUSR | Mode::WUSR)?;
        self.files.push(file);
        fs::ftruncate(&made, bytes as u64)?;
        fs::fallocate(&made, fs::FallocateFlags::empty(), 0, bytes as u64)?;
        give(made.as_fd(), client)?;
        Ok(made)
    }

    /// Gives the directory to the client, last of all.
    pub(crate) fn hand_over(&self, client: Credentials) -> io::Result<()> {
        give(self.own.as_fd(), client)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::unlinkat(&self.own, file, AtFlags::empty());
        }
        let _ = fs::unlinkat(&self.parent.0, &self.name, AtFlags::REMOVEDIR);
    }
}

/// The names of the files of one ring.
pub(super) fn ring_files(ring: &str, service: Service) -> [String; 2] {
    [format!("qb-{ring}-{service}-header"), format!("qb-{ring}-{service}-data")]
}

/// The name of the socket transport's file.
pub(crate) fn control_file(service: Service) -> String {
    format!("qb-control-{service}")
}

fn all_files(service: Service) -> Vec<String> {
    let rings = super::RINGS.iter().flat_map(|ring| ring_files(ring, service));
    rings.chain([control_file(service)]).collect()
}

/// Which process a directory's name says it belongs to.
fn server_of(directory: &str) -> Option<Pid> {
    let mut parts = directory.strip_prefix("qb-")?.split('-');
    let server = parts.next()?.parse().ok().and_then(Pid::from_raw)?;
    (parts.count() == 3).then_some(server)
}

fn is_dead(process: Pid) -> bool {
    test_kill_process(process) == Err(Errno::SRCH)
}

fn give(file: BorrowedFd<'_>, client: Credentials) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(client.uid), Gid::from_raw(client.gid));
    match fs::fchown(file, Some(uid), Some(gid)) {
        // Without privileges a server serves its own user only, whose files these are already.
        Err(Errno::PERM) if uid == rustix::process::geteuid() => Ok(()),
        result => Ok(result?),
    }
}

fn random_name() -> io::Result<String> {
    let mut octets = [0; 6];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(error.to_string()))?;
    let letter = |octet: u8| char::from(LETTERS[usize::from(octet) % LETTERS.len()]);
    Ok(octets.into_iter().map(letter).collect())
}

const PATH: &str = "/dev/shm";
const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_connections_have_a_server() {
        assert_eq!(server_of("qb-12798-23580-3-7wqNnf"), Pid::from_raw(12798));
        for other in
            ["qb-corosync-1-2-blackbox-header", "qb-1-2-3", "qb-1-2-3-abc-d", "pulse-1-2-3-4", "qb-0-1-2-a"]
        {
            assert_eq!(server_of(other), None, "{other}");
        }
    }
}
