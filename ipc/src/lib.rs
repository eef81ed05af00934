//! libqb's client protocol, byte for byte: message layouts, connection set-up, the shared-memory and
//! socket transports, the server that the daemon runs and a Rust client.
//!
//! [`message`] is pure; the services crate uses it and nothing else of this crate.

pub mod message;
