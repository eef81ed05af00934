//! The deterministic simulator, its invariants, and helpers for system and interop tests.

pub mod system;
