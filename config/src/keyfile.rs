//! The cluster's shared secret on disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use protocol::{links::LinkSettings, seal::ClusterKey};
use zeroize::Zeroizing;

/// Least octets of a key.
pub const KEY_BYTES_MIN: usize = LinkSettings::KEY_BYTES_MIN;
/// Most octets of a key.
pub const KEY_BYTES_MAX: usize = 4096;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is a directory, a device, a pipe or a socket.
    #[error("it is not a regular file")]
    NotRegular,
    /// It is too short or too long.
    #[error("it has {bytes} octets, but must have between {KEY_BYTES_MIN} and {KEY_BYTES_MAX}")]
    Size {
        /// Its size.
        bytes: u64,
    },
    /// Everybody can read or change it, so it protects nothing.
    #[error(
        "everybody may read or change it (mode {mode:04o}); chmod 0400 it, and make a new key if it leaked"
    )]
    Exposed {
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody who is neither root nor the user that the daemon runs as.
    #[error("it belongs to user {uid}, who is neither root nor the user running this program")]
    ForeignOwner {
        /// Its owner.
        uid: u32,
    },
}

/// A key, and what is odd about its file.
#[derive(Debug)]
pub struct KeyFile {
    /// The secret.
    pub key: ClusterKey,
    /// The file's permissions if the file's group may read or change it.
    pub group_mode: Option<u32>,
}

/// Reads a key file. The buffer is zeroized when the key is dropped; nothing of it is ever printed.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let mut file = open_regular(path)?.ok_or(KeyFileError::NotRegular)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(KeyFileError::Exposed { mode });
    }
    let uid = metadata.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(KeyFileError::ForeignOwner { uid });
    }
    let key = read_key(&mut file)?;
    Ok(KeyFile { key: ClusterKey(key), group_mode: (mode & 0o070 != 0).then_some(mode) })
}

/// Opens a file for reading; `None` if it is not a regular one. Does not wait for a pipe's other end.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let regular = file.metadata()?.is_file();
    Ok(regular.then_some(file))
}

fn read_key(file: &mut File) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    // One allocation of the largest size: a buffer that grows would leave copies behind.
    let mut key = Zeroizing::new(vec![0; KEY_BYTES_MAX + 1]);
    let mut len = 0;
    while let Some(free) = key.get_mut(len..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&len) {
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        return Err(KeyFileError::Size { bytes });
    }
    key.truncate(len);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;

    fn key_file(directory: &tempfile::TempDir, bytes: usize, mode: u32) -> PathBuf {
        let path = directory.path().join("authkey");
        fs::write(&path, vec![7; bytes]).expect("the directory is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
        path
    }

    #[test]
    fn a_key_comes_back_whole_and_is_not_printed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = read(&key_file(&directory, 256, 0o400)).expect("a good key");
        assert_eq!(*file.key.0, vec![7; 256]);
        assert_eq!(file.group_mode, None);
        assert_eq!(format!("{file:?}"), "KeyFile { key: ClusterKey(..), group_mode: None }");
    }

    #[test]
    fn sizes_outside_the_limits_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (bytes, good) in
            [(0, false), (31, false), (32, true), (4096, true), (4097, false), (100_000, false)]
        {
            let result = read(&key_file(&directory, bytes, 0o600));
            assert_eq!(result.is_ok(), good, "{bytes} octets: {result:?}");
            if let Err(error) = result {
                assert!(error.to_string().starts_with(&format!("it has {bytes} octets")), "{error}");
            }
        }
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused_and_one_for_its_group_is_noted() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let exposed = read(&key_file(&directory, 64, 0o604));
        assert!(matches!(exposed, Err(KeyFileError::Exposed { mode: 0o604 })), "{exposed:?}");
        let shared = read(&key_file(&directory, 64, 0o640)).expect("usable");
        assert_eq!(shared.group_mode, Some(0o640));
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(matches!(read(directory.path()), Err(KeyFileError::NotRegular)));
        assert!(matches!(read(Path::new("/dev/zero")), Err(KeyFileError::NotRegular)));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("the directory is ours");
        assert!(matches!(read(&pipe), Err(KeyFileError::NotRegular)));
        assert!(matches!(read(&directory.path().join("none")), Err(KeyFileError::Io(_))));
    }
}
