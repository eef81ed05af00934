//! libqb's client protocol, byte for byte: message layouts, connection set-up, the shared-memory and
//! socket transports, the server that the daemon runs and a Rust client.
//!
//! [`message`] is pure; the services crate uses it and nothing else of this crate.

#![deny(unsafe_code)]

pub mod client;
pub mod message;
pub mod server;
mod setup;
#[expect(unsafe_code, reason = "shared memory, and system calls that rustix lacks")]
mod shm;
mod socket;
