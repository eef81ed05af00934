//! One whole node as one value.

use std::net::SocketAddr;

pub use ipc::message::ClientId;
use ipc::message::{Event, Reply, Service};
use protocol::{RingSeq, links::LinkSettings, ring::RingSettings};

/// What the executive needs to know.
#[derive(Clone, Debug)]
pub struct ExecutiveSettings {
    /// The ring's.
    pub ring: RingSettings,
    /// The links'.
    pub links: LinkSettings,
}

/// A datagram as it came from the network. It is opened in place.
#[derive(Debug)]
pub struct Received<'a> {
    /// Who claims to have sent it.
    pub source: SocketAddr,
    /// Its octets.
    pub datagram: &'a mut [u8],
}

/// What happened to a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientChange {
    /// It connected to this service and was authorised.
    Joined(Service),
    /// It is gone: closed, crashed or cut off.
    Gone,
}

/// An effect that takes time has finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// [`Effect::Store`]: this sequence is on stable storage.
    Stored(RingSeq),
}

/// What clients may send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u32)]
pub enum FlowControl {
    /// Everything.
    #[default]
    Open = 0,
    /// No multicasts; and the server reads no request of any client until it opens again.
    MulticastsHeld = 2,
}

/// Why the executive cuts a client off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DisconnectCause {
    /// It finalised; the connection closes after the reply.
    #[error("the client finalised its handle")]
    Finalized,
    /// It went on multicasting while held, beyond what is kept for it. Its multicasts have no answer,
    /// so this is how it learns that one was not sent.
    #[error("the client multicasts although multicasts are held")]
    IgnoresFlowControl,
    /// Its message is larger than the ring's settings allow.
    #[error("the client's message is larger than the ring carries")]
    MessageTooBig,
    /// The node leaves the ring; all clients go before it does.
    #[error("the node is leaving")]
    Leaving,
}

/// What an executive wants done, in this order.
#[derive(Clone, Debug)]
#[must_use]
pub enum Effect {
    /// Datagrams wait in `Executive::transmits`; send them and clear it.
    Transmit,
    /// Put the ring sequence on stable storage off the loop, then hand in [`Done::Stored`].
    Store(RingSeq),
    /// Answer a client's request.
    Reply {
        /// To whom.
        client: ClientId,
        /// What.
        reply: Reply,
    },
    /// Tell a client something.
    Notify {
        /// Whom.
        client: ClientId,
        /// What.
        event: Event,
    },
    /// Close a client's connection.
    Disconnect {
        /// Whose.
        client: ClientId,
        /// Why.
        cause: DisconnectCause,
    },
    /// From now on clients may send this much.
    FlowControl(FlowControl),
    /// The first sync has completed: accept clients, tell systemd.
    Ready,
    /// One line for `systemctl status`.
    Status(String),
    /// The node has left; the daemon may end.
    Left,
    /// The node must end: another one uses its number.
    Refused,
}

/// Who wants to be woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// The ring, for this timer.
    Ring(protocol::ring::Timer),
    /// The links.
    Links,
}

/// A node as one value. (Under construction.)
#[derive(Debug)]
pub struct Executive {}
