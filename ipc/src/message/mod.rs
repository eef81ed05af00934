//! Requests, replies and events as values, and their byte layouts.
//!
//! Pure: octets in, values out, and back. [`Incoming::decode`] and the `decode` functions of the
//! client's side are total; what they cannot make sense of is a [`MessageError`]. Layouts are those
//! of corosync 3.1 on 64-bit Linux.

pub mod cfg;
pub mod cpg;
pub mod error;
mod layout;

use bytes::Bytes;

pub use error::CsError;
pub use layout::{Encode, Sink};
use layout::{Fixed, i32_at};

/// Names one client connection, once and for all: numbers are never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// Octets in front of every request: id at 0, size at 8.
pub const REQUEST_HEADER_BYTES: usize = 16;

/// Octets in front of every reply and event: id at 0, size at 8, error at 16.
pub const RESPONSE_HEADER_BYTES: usize = 24;

/// Largest request, reply or event. The client libraries' buffers have this size, and an event
/// above it would never leave their ring.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// Why octets are no message. Whoever sent them does not speak the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// Too short for its fixed part or for the length that it announces.
    #[error("message {id} needs {need} octets, {have} came")]
    Truncated {
        /// The message's id.
        id: i32,
        /// How many it would need.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// The header's size is not the message's.
    #[error("header says {size} octets, {have} came")]
    Size {
        /// What the header says.
        size: i32,
        /// How many there are.
        have: usize,
    },
    /// More than any client can receive.
    #[error("message of {bytes} octets, more than {max}")]
    TooBig {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A number that stands for nothing.
    #[error("message {id}: {value} is no valid {field}")]
    Value {
        /// The message's id.
        id: i32,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// A reply or event that this service does not have.
    #[error("no message has the id {id}")]
    UnknownId {
        /// The id.
        id: i32,
    },
    /// libqb's way to say goodbye in a request (id -3).
    #[error("the client said goodbye")]
    Goodbye,
}

/// The services a client can connect to. The numbers are corosync's.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Service {
    /// The nodes' addresses and links, and commands to the daemons.
    Cfg = 1,
    /// Closed process groups.
    Cpg = 2,
}

impl Service {
    /// The name of its socket and of its files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cfg => "cfg",
            Self::Cpg => "cpg",
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a client asks, decoded once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// To the cfg service.
    Cfg(cfg::Request),
    /// To the cpg service.
    Cpg(cpg::Request),
    /// An id that the service does not have. It is answered with a bare header, id 0 and
    /// [`CsError::InvalidParam`].
    Unknown,
}

/// What comes from a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Incoming {
    /// For its service.
    Request(Request),
    /// For the server itself.
    ZeroCopy(cpg::ZeroCopy),
}

impl Incoming {
    /// Reads a request; payloads are slices of `message`, not copies.
    ///
    /// # Errors
    /// The message contradicts itself: lengths that do not fit, or a size that no client can have.
    /// The connection is not worth keeping.
    pub fn decode(service: Service, message: Bytes) -> Result<Self, MessageError> {
        let message = trim(message, REQUEST_HEADER_BYTES)?;
        match service {
            Service::Cfg => cfg::decode(&message),
            Service::Cpg => cpg::decode(&message),
        }
    }
}

/// Cuts what the header does not count: a chunk may be longer than its message, never shorter.
fn trim(mut message: Bytes, header_bytes: usize) -> Result<Bytes, MessageError> {
    const GOODBYE: i32 = -3;
    let have = message.len();
    let (id, size) = match (i32_at(&message, 0), i32_at(&message, 8)) {
        (Some(id), Some(size)) if have >= header_bytes => (id, size),
        _ => return Err(MessageError::Truncated { id: 0, need: header_bytes, have }),
    };
    if id == GOODBYE {
        return Err(MessageError::Goodbye);
    }
    let bytes = usize::try_from(size).map_err(|_| MessageError::Size { size, have })?;
    if bytes < header_bytes || bytes > have {
        return Err(MessageError::Size { size, have });
    }
    if bytes > MESSAGE_BYTES_MAX {
        return Err(MessageError::TooBig { bytes, max: MESSAGE_BYTES_MAX });
    }
    message.truncate(bytes);
    Ok(message)
}

/// The one answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// From the cfg service.
    Cfg(cfg::Reply),
    /// From the cpg service.
    Cpg(cpg::Reply),
    /// A bare header with id 0: an unknown request, or one that has to be repeated later.
    Refused(CsError),
}

impl Reply {
    /// Reads the cpg service's answer to `request`.
    ///
    /// # Errors
    /// The octets are no answer to it.
    pub fn decode(request: &cpg::Request, message: Bytes) -> Result<Self, MessageError> {
        let message = trim(message, RESPONSE_HEADER_BYTES)?;
        let reply = cpg::Reply::decode(request, &message);
        // An answer that is not the service's own: id 0, which otherwise only joins have.
        let refusal = i32_at(&message, 0) == Some(0) && !matches!(request, cpg::Request::Join { .. });
        match i32_at(&message, 16).and_then(CsError::from_number) {
            Some(error) if refusal => Ok(Self::Refused(error)),
            _ => reply.map(Self::Cpg),
        }
    }

    /// Reads the cfg service's answer to `request`.
    ///
    /// # Errors
    /// The octets are no answer to it.
    pub fn decode_cfg(request: &cfg::Request, message: Bytes) -> Result<Self, MessageError> {
        let message = trim(message, RESPONSE_HEADER_BYTES)?;
        // The one answer of the service's own that has id 0 as well is far longer.
        let refusal = i32_at(&message, 0) == Some(0) && message.len() == RESPONSE_HEADER_BYTES;
        match i32_at(&message, 16).and_then(CsError::from_number) {
            Some(error) if refusal => Ok(Self::Refused(error)),
            _ => cfg::Reply::decode(request, &message).map(Self::Cfg),
        }
    }
}

impl Encode for Reply {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Cfg(reply) => reply.encoded_bytes(),
            Self::Cpg(reply) => reply.encoded_bytes(),
            Self::Refused(_) => RESPONSE_HEADER_BYTES,
        }
    }

    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Cfg(reply) => reply.encode(sink),
            Self::Cpg(reply) => reply.encode(sink),
            Self::Refused(error) => bare(0, *error).put(sink),
        }
    }
}

/// A reply that is a header and nothing else.
fn bare(id: i32, error: CsError) -> Fixed<RESPONSE_HEADER_BYTES> {
    Fixed::response(id, RESPONSE_HEADER_BYTES, error)
}

/// What a client is told without asking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// From the cpg service.
    Cpg(cpg::Event),
}

impl Event {
    /// Reads an event; payloads are slices of `message`.
    ///
    /// # Errors
    /// The octets are no event of this service.
    pub fn decode(service: Service, message: Bytes) -> Result<Self, MessageError> {
        let message = trim(message, RESPONSE_HEADER_BYTES)?;
        match service {
            // It has none yet.
            Service::Cfg => Err(MessageError::UnknownId { id: i32_at(&message, 0).unwrap_or(-1) }),
            Service::Cpg => cpg::Event::decode(&message).map(Self::Cpg),
        }
    }
}

impl Encode for Event {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Cpg(event) => event.encoded_bytes(),
        }
    }

    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Cpg(event) => event.encode(sink),
        }
    }
}

/// A ring's name as clients see it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RingId {
    /// The representative.
    pub nodeid: u32,
    /// The ring sequence.
    pub seq: u64,
}
