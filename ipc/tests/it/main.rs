//! The server with real clients: ours, hostile ones, and corosync's library.

mod clients;
mod daemon;
mod hostile;
mod libcpg;
mod pretend;
