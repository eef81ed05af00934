//! What the service manager is told (sd_notify(3)).
//!
//! A datagram that the manager does not take at once is dropped: the loop does not wait for anybody.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use tracing::warn;

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(crate) fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(%error, "the service manager cannot be told anything");
                None
            }
        });
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&micros| for_us && micros > 0);
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// How often [`alive`](Self::alive) is to be called, if somebody watches.
    pub(crate) fn alive_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The node takes part in the cluster.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace(char::is_control, " ")));
    }

    /// The node is on its way out.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The loop turns.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        let Some((socket, manager)) = &self.socket else { return };
        // A manager that is gone or does not listen is no reason to do anything else.
        let _ = socket.send_to_addr(message.as_bytes(), manager);
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &OsStr, manager: &UnixDatagram) -> String {
        let this = Manager { socket: Some(open(name).expect("opened")), watchdog: None };
        this.ready();
        this.status("two\nlines");
        let mut told = Vec::new();
        for _ in 0..2 {
            let mut message = [0; 64];
            let len = manager.recv(&mut message).expect("a message");
            told.push(String::from_utf8_lossy(&message[..len]).into_owned());
        }
        told.join(" ")
    }

    #[test]
    fn messages_reach_the_manager_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        assert_eq!(told(path.as_os_str(), &manager), "READY=1 STATUS=two lines");

        let name = format!("corosync-test-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let manager = UnixDatagram::bind_addr(&address).expect("bound");
        assert_eq!(told(OsStr::new(&format!("@{name}")), &manager), "READY=1 STATUS=two lines");
    }

    #[test]
    fn a_manager_that_does_not_listen_holds_nobody_up() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        let this = Manager { socket: Some(open(path.as_os_str()).expect("opened")), watchdog: None };
        (0..10_000).for_each(|_| this.alive());
        drop(manager);
        this.alive();
    }
}
