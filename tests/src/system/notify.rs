//! The receiving end of `sd_notify(3)`: how a daemon says that it is ready.

use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A notification socket and what came over it.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    seen: Vec<String>,
}

impl NotifySocket {
    /// A new socket in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        let path = directory.join("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).expect("bind the notification socket");
        Self { socket, path, seen: Vec::new() }
    }

    /// What `NOTIFY_SOCKET` must be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what came, for a daemon's next life.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Waits until a line such as `READY=1` has come. False: not within `limit`.
    pub(super) fn wait_for(&mut self, line: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 4096];
        while !self.seen.iter().any(|seen| seen == line) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.socket.set_read_timeout(Some(left)).expect("set a timeout that is not zero");
            if let Ok(len) = self.socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..len]);
                self.seen.extend(message.lines().map(str::to_owned));
            }
        }
        true
    }
}
