//! `corosync.toml` into values that cannot be wrong, or into messages that say where it is.

#![forbid(unsafe_code)]
