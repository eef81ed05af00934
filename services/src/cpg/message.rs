//! cpg's ordered messages: what one node's cpg tells all others through the ring.
//!
//! A compact head, then the client's payload as it came. Integers have the most significant octet first.
//!
//! | octets      | field   | note                                                          |
//! |-------------|---------|---------------------------------------------------------------|
//! | 0           | channel | [`Channel::Cpg`]                                              |
//! | 1           | kind    | 1 join, 2 leave, 3 down, 4 message, 5 first, 6 middle, 7 last |
//! | 2..6        | pid     | of the process; its node is the message's sender              |
//! | 6           | len     | of the group's name, at most 128                              |
//! | 7..7+len    | name    | the group                                                     |
//! | then, of 1–3 | client | 8 octets: the connection as its own node numbers it           |
//! | then, of 5–7 | total  | 4 octets: length of the whole message that this is a piece of |
//! | then, of 4–7 | payload | all the rest                                                 |

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use ipc::message::{
    ClientId,
    cpg::{Fragment, GroupName},
};

use crate::service::Channel;

/// What an ordered message says about one process of its sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Content {
    /// It joined the group. The client's number tells its own node which connection is meant; a process
    /// id says little, since a connection may end and its successor reuse it.
    Join(ClientId),
    /// It left.
    Leave(ClientId),
    /// It ended without leaving.
    Down(ClientId),
    /// It multicasts this.
    Message(Bytes),
    /// It multicasts a piece of something larger.
    Fragment {
        /// Which piece.
        kind: Fragment,
        /// Octets of the whole.
        message_bytes: u32,
        /// The piece.
        payload: Bytes,
    },
}

/// A decoded message; the name is a view into it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Ordered<'a> {
    pub(super) pid: u32,
    pub(super) group: &'a [u8],
    pub(super) content: Content,
}

/// Why a message was dropped. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("it needs {need} octets where {have} are left")]
    Truncated { need: usize, have: usize },
    #[error("kind {0} is unknown")]
    UnknownKind(u8),
    #[error("a group's name of {0} octets is longer than {max}", max = GroupName::BYTES_MAX)]
    NameTooLong(u8),
    #[error("{0} octets follow its end")]
    TooLong(usize),
}

impl From<TryGetError> for MessageError {
    fn from(error: TryGetError) -> Self {
        Self::Truncated { need: error.requested, have: error.available }
    }
}

/// Largest head in octets.
pub(crate) const HEAD_BYTES_MAX: usize = 7 + GroupName::BYTES_MAX + 8;

/// Decodes without copying: the payload shares `message`.
pub(super) fn decode(message: &Bytes) -> Result<Ordered<'_>, MessageError> {
    let mut rest: &[u8] = message;
    rest.try_get_u8()?; // The channel; the caller came here by it.
    let kind = rest.try_get_u8()?;
    let pid = rest.try_get_u32()?;
    let len = rest.try_get_u8()?;
    if usize::from(len) > GroupName::BYTES_MAX {
        return Err(MessageError::NameTooLong(len));
    }
    let Some((group, rest)) = rest.split_at_checked(usize::from(len)) else {
        return Err(MessageError::Truncated { need: usize::from(len), have: rest.len() });
    };
    let content = match kind {
        KIND_JOIN => Content::Join(decode_client(rest)?),
        KIND_LEAVE => Content::Leave(decode_client(rest)?),
        KIND_DOWN => Content::Down(decode_client(rest)?),
        KIND_MESSAGE => Content::Message(message.slice_ref(rest)),
        KIND_FIRST => decode_fragment(message, rest, Fragment::First)?,
        KIND_CONTINUED => decode_fragment(message, rest, Fragment::Continued)?,
        KIND_LAST => decode_fragment(message, rest, Fragment::Last)?,
        _ => return Err(MessageError::UnknownKind(kind)),
    };
    Ok(Ordered { pid, group, content })
}

fn decode_client(mut rest: &[u8]) -> Result<ClientId, MessageError> {
    let client = ClientId(rest.try_get_u64()?);
    if rest.is_empty() { Ok(client) } else { Err(MessageError::TooLong(rest.len())) }
}

fn decode_fragment(message: &Bytes, mut rest: &[u8], kind: Fragment) -> Result<Content, MessageError> {
    let message_bytes = rest.try_get_u32()?;
    Ok(Content::Fragment { kind, message_bytes, payload: message.slice_ref(rest) })
}

/// Builds heads in one buffer after another, each shared by many heads: an allocation now and then
/// instead of one for each message.
#[derive(Debug, Default)]
pub(super) struct HeadPool {
    buffer: BytesMut,
}

impl HeadPool {
    /// Octets of one buffer.
    const BUFFER_BYTES: usize = 16 * 1024;

    /// The head of a message with this content, and its payload.
    pub(super) fn encode(&mut self, pid: u32, group: &GroupName, content: Content) -> (Bytes, Bytes) {
        if self.buffer.capacity() < HEAD_BYTES_MAX {
            self.buffer.reserve(Self::BUFFER_BYTES);
        }
        let name = group.as_bytes();
        self.buffer.put_u8(Channel::Cpg as u8);
        self.buffer.put_u8(content.kind());
        self.buffer.put_u32(pid);
        self.buffer.put_u8(u8::try_from(name.len()).expect("a group's name has at most 128 octets"));
        self.buffer.put_slice(name);
        let body = match content {
            Content::Join(client) | Content::Leave(client) | Content::Down(client) => {
                self.buffer.put_u64(client.0);
                Bytes::new()
            }
            Content::Message(payload) => payload,
            Content::Fragment { message_bytes, payload, .. } => {
                self.buffer.put_u32(message_bytes);
                payload
            }
        };
        (self.buffer.split().freeze(), body)
    }
}

impl Content {
    fn kind(&self) -> u8 {
        match self {
            Self::Join(_) => KIND_JOIN,
            Self::Leave(_) => KIND_LEAVE,
            Self::Down(_) => KIND_DOWN,
            Self::Message(_) => KIND_MESSAGE,
            Self::Fragment { kind: Fragment::First, .. } => KIND_FIRST,
            Self::Fragment { kind: Fragment::Continued, .. } => KIND_CONTINUED,
            Self::Fragment { kind: Fragment::Last, .. } => KIND_LAST,
        }
    }
}

const KIND_JOIN: u8 = 1;
const KIND_LEAVE: u8 = 2;
const KIND_DOWN: u8 = 3;
const KIND_MESSAGE: u8 = 4;
const KIND_FIRST: u8 = 5;
const KIND_CONTINUED: u8 = 6;
const KIND_LAST: u8 = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(content: Content) -> Bytes {
        let (head, body) =
            HeadPool::default().encode(0x0102_0304, &GroupName::new(b"ab\0").expect("short"), content);
        [head, body].concat().into()
    }

    #[test]
    fn layouts_are_as_documented() {
        assert_eq!(
            whole(Content::Join(ClientId(0x0a))),
            &b"\x02\x01\x01\x02\x03\x04\x03ab\0\0\0\0\0\0\0\0\x0a"[..]
        );
        assert_eq!(
            whole(Content::Message(Bytes::from_static(b"xyz"))),
            &b"\x02\x04\x01\x02\x03\x04\x03ab\0xyz"[..]
        );
        assert_eq!(
            whole(Content::Fragment {
                kind: Fragment::Last,
                message_bytes: 0x0020_0000,
                payload: Bytes::from_static(b"z")
            }),
            &b"\x02\x07\x01\x02\x03\x04\x03ab\0\0\x20\0\0z"[..]
        );
    }

    #[test]
    fn every_content_comes_back_as_it_was() {
        let fragment = |kind| Content::Fragment { kind, message_bytes: 7, payload: Bytes::from_static(b"p") };
        for content in [
            Content::Join(ClientId(1)),
            Content::Leave(ClientId(2)),
            Content::Down(ClientId(u64::MAX)),
            Content::Message(Bytes::new()),
            fragment(Fragment::First),
            fragment(Fragment::Continued),
            fragment(Fragment::Last),
        ] {
            let message = whole(content.clone());
            assert_eq!(decode(&message), Ok(Ordered { pid: 0x0102_0304, group: b"ab\0", content }));
        }
    }

    #[test]
    fn every_cut_of_a_join_is_an_error() {
        let message = whole(Content::Join(ClientId(1)));
        for len in 0..message.len() {
            assert!(decode(&message.slice(..len)).is_err(), "{len} octets");
        }
        let longer: Bytes = [&message[..], b"!"].concat().into();
        assert_eq!(decode(&longer), Err(MessageError::TooLong(1)));
    }

    #[test]
    fn the_name_has_its_limit() {
        let message: Bytes = [&b"\x02\x04\0\0\0\x01\x81"[..], &[b'n'; 129]].concat().into();
        assert_eq!(decode(&message), Err(MessageError::NameTooLong(129)));
    }

    proptest! {
        #[test]
        fn no_octets_make_decoding_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&Bytes::from(octets));
        }
    }
}
