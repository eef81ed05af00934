//! Totem single ring with extended virtual synchrony, packing and sealing, as pure state machines.
//!
//! Bytes, requests and time go in; outputs come out. There are no sockets, files, threads or clocks
//! here: the same inputs give the same outputs, which is what lets the simulator repeat a run from
//! one seed.
//!
//! Two machines meet in a node: [`links::Links`] turns sealed datagrams into authenticated frames and
//! back, and [`ring::Ring`] turns frames into totally ordered messages and configurations.

#![forbid(unsafe_code)]

pub mod groups;
pub mod links;
pub mod node;
pub mod ring;
pub mod ring_id;
pub mod seal;
pub mod time;
pub mod wire;

pub use node::{BootId, Member, NodeId};
pub use ring_id::{RingId, RingSeq};
pub use time::Instant;
