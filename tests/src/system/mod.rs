//! Real daemons in network namespaces: the harness of the system and interop tests and of `ring-bench`.
//!
//! The whole test program runs in namespaces of its own ([`sandbox`]), so whatever it starts, mounts or leaves in
//! `/dev/shm` ends with it, however it ends. Inside, a [`Cluster`] is a bridge with one namespace a node, each node a
//! directory with its files and one real daemon: ours, or Debian's corosync as a yardstick. Programs that talk to a
//! daemon are started inside its node's namespace, because abstract sockets belong to a network namespace.
//!
//! Nothing here sleeps to let something happen: a test waits for an event (readiness, a membership, a delivery, the
//! end of a process), and the limits on those waits are guards against hanging, not measurements.

mod attack;
mod client;
mod cluster;
mod files;
mod network;
mod notify;
mod process;
pub mod sandbox;

use std::time::Duration;

pub use attack::{Datagram, Injector, Sniffer};
pub use client::{Client, ClientOptions, Departure, Event, Members, Report, settle};
pub use cluster::{Cluster, Node, NodeNumber, StateFault};
pub use files::{Crypto, Flavour, Spec};
pub use network::{Namespace, Network};
pub use process::{Ended, Process};

/// How long a test waits for something that must happen before it gives up. A guard, not a figure: generous enough
/// for a machine that does something else at the same time.
pub const HANG: Duration = Duration::from_secs(60);

/// `CLOCK_MONOTONIC` in nanoseconds: the one clock that all processes of a test share.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("the monotonic clock starts at zero") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("a second has nanoseconds")
}
