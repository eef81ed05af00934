//! The deterministic simulator, its invariants, and helpers for system and interop tests.
//!
//! [`world::World`] keeps a whole cluster in one process: nodes as values, a network, disks, clients,
//! and virtual time, all from one seed. What everybody saw goes into a [`history::History`], which the
//! [`invariants`] judge.

pub mod client;
pub mod disk;
pub mod history;
pub mod invariants;
pub mod liveness;
pub mod machine;
pub mod network;
pub mod node;
pub mod payload;
pub mod rng;
pub mod swarm;
pub mod system;
pub mod toy;
pub mod trace;
pub mod workload;
pub mod world;
