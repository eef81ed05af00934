//! The one place in the daemon with unsafe code: what happens between fork and exec, and descriptors
//! that the event loop watches.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::Command,
};

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{Interest, unix::AsyncFd};

/// Lets the event loop watch a descriptor for something to read.
///
/// # Errors
///
/// If the kernel cannot watch it.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` always has the same, open descriptor, and moving it into the `AsyncFd` means
    // that nobody can close it before the `AsyncFd` has taken it out of the event loop.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

/// Lets the kernel kill the process that `command` starts when the thread that started it ends, however
/// it ends.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: the closure runs in the child, where after a fork of a process with threads only
    // async-signal-safe functions may be called. It makes one system call, prctl(2), and neither
    // allocates nor takes a lock; turning an errno into an `io::Error` does not allocate either.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) }
}
