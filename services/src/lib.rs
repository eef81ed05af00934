//! One node's services on top of the ring, as pure state machines.
//!
//! [`Executive`] is one whole node as one value: datagrams, client requests and time go in, one ordered
//! stream of effects comes out. The daemon carries the effects out; the simulator keeps dozens of
//! executives in one process.

#![forbid(unsafe_code)]

mod admission;
#[cfg(test)]
mod bus;
mod cfg;
mod cpg;
pub mod executive;
mod service;
mod sync;
mod throttle;

pub use cpg::MESSAGE_BYTES_MAX;
pub use executive::Executive;
