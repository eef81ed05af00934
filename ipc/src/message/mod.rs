//! Requests, replies and events as values, and their byte layouts.

pub mod cpg;
pub mod error;

pub use error::CsError;

/// Names one client connection, once and for all: numbers are never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// The services a client can connect to. The numbers are corosync's.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Service {
    /// Closed process groups.
    Cpg = 2,
}

/// What a client asks, decoded once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// To the cpg service.
    Cpg(cpg::Request),
    /// An id that the service does not have, or a size outside the limits. It is answered with a
    /// bare header, id 0 and [`CsError::InvalidParam`].
    Unknown,
}

/// The one answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// From the cpg service.
    Cpg(cpg::Reply),
    /// A bare header with id 0: an unknown request, or one that has to be repeated later.
    Refused(CsError),
}

/// What a client is told without asking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// From the cpg service.
    Cpg(cpg::Event),
}

/// A ring's name as clients see it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RingId {
    /// The representative.
    pub nodeid: u32,
    /// The ring sequence.
    pub seq: u64,
}
