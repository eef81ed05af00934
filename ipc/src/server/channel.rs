//! Both transports behind one interface.

use std::{io, os::fd::BorrowedFd};

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;

use super::{Credentials, GoneCause};
use crate::{
    message::{Encode, Service},
    setup::{Transport, Welcome},
    shm::{RingError, ServerRings, SharedMemory, WriteError},
    socket::{Scratch, ServerSockets},
};

/// Memory that all connections share.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pool: BytesMut,
    scratch: Scratch,
}

/// How messages of one connection go.
#[derive(Debug)]
pub(super) enum Channel {
    Rings(ServerRings),
    Sockets(ServerSockets),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sent {
    /// It is on its way.
    Done,
    /// The client has to read first; nothing was sent.
    Full,
}

impl Channel {
    /// Makes a channel and the answer that describes it.
    pub(super) fn create(
        transport: Transport,
        shared: &SharedMemory,
        service: Service,
        client: Credentials,
        descriptor: i32,
    ) -> io::Result<(Self, Welcome)> {
        match transport {
            Transport::SharedMemory => {
                let (rings, paths) = ServerRings::create(shared, service, client, descriptor)?;
                let (request, response, event) = (paths.request, paths.response, paths.event);
                Ok((Self::Rings(rings), Welcome::Granted { transport, request, response, event }))
            }
            Transport::Socket => {
                let (sockets, names) = ServerSockets::create(shared, service, client, descriptor)?;
                let (request, response, event) = (names.control, names.base, String::new());
                Ok((Self::Sockets(sockets), Welcome::Granted { transport, request, response, event }))
            }
        }
    }

    /// A descriptor besides the stream socket that says when there are requests.
    pub(super) fn request_socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Rings(_) => None,
            Self::Sockets(sockets) => Some(sockets.request_socket()),
        }
    }

    /// Whether each event needs one octet on the stream socket.
    pub(super) fn has_doorbells(&self) -> bool {
        matches!(self, Self::Rings(_))
    }

    /// The next request.
    pub(super) fn read_request(&mut self, memory: &mut Memory) -> Result<Option<Bytes>, GoneCause> {
        match self {
            Self::Rings(rings) => Ok(rings.read_request(&mut memory.pool)?),
            Self::Sockets(sockets) => {
                if sockets.is_broken() {
                    return Err(RingError::Truncated.into());
                }
                sockets.read_request(&mut memory.scratch).map_err(GoneCause::Socket)
            }
        }
    }

    /// Answers. There is always room for the answer to a client that reads its answers.
    pub(super) fn write_reply(&mut self, reply: &impl Encode, memory: &mut Memory) -> Result<(), GoneCause> {
        match self.write(memory, |channel, memory| match channel {
            Self::Rings(rings) => rings.write_reply(reply).map_err(Failure::Ring),
            Self::Sockets(sockets) => {
                sockets.write_reply(reply, &mut memory.scratch).map_err(Failure::Socket)
            }
        })? {
            Sent::Done => Ok(()),
            Sent::Full => Err(GoneCause::RepliesUnread),
        }
    }

    /// Tells.
    pub(super) fn write_event(
        &mut self,
        event: &(impl Encode + ?Sized),
        memory: &mut Memory,
    ) -> Result<Sent, GoneCause> {
        let result = self.write(memory, |channel, memory| match channel {
            Self::Rings(rings) => rings.write_event(event).map_err(Failure::Ring),
            Self::Sockets(sockets) => {
                sockets.write_event(event, &mut memory.scratch).map_err(Failure::Socket)
            }
        });
        match result {
            Err(GoneCause::Socket(Errno::MSGSIZE)) => {
                Err(GoneCause::EventTooBig { bytes: event.encoded_bytes() })
            }
            result => result,
        }
    }

    /// Says what the client may send.
    pub(super) fn set_flow_control(&self, value: u32) {
        match self {
            Self::Rings(rings) => rings.set_flow_control(value),
            Self::Sockets(sockets) => sockets.set_flow_control(value),
        }
    }

    fn write(
        &mut self,
        memory: &mut Memory,
        write: impl FnOnce(&mut Self, &mut Memory) -> Result<(), Failure>,
    ) -> Result<Sent, GoneCause> {
        match write(self, memory) {
            Ok(()) => Ok(Sent::Done),
            Err(Failure::Ring(WriteError::Full) | Failure::Socket(Errno::AGAIN)) => Ok(Sent::Full),
            Err(Failure::Ring(WriteError::Broken(error))) => Err(error.into()),
            Err(Failure::Socket(errno)) => Err(GoneCause::Socket(errno)),
        }
    }
}

enum Failure {
    Ring(WriteError),
    Socket(Errno),
}
