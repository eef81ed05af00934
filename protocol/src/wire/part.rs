//! A piece of a frame that is larger than a datagram.

use bytes::{BufMut, BytesMut};

use super::{FrameError, FrameKind, Reader, put_head};

/// Octets before the piece, frame head included.
pub const PART_HEAD_BYTES: usize = 8;

/// Commit tokens and joins of large rings do not fit one datagram, nor does every frame that somebody
/// with a larger `netmtu` has sent and this node sends again. They travel in pieces of one
/// transmission, put together by the receiver.
///
/// | octets | field | note                                       |
/// |--------|-------|--------------------------------------------|
/// | 0..4   | id    | the sender's number of this transmission   |
/// | 4      | index | which piece                                |
/// | 5      | count | of how many, at least 1                    |
/// | 6..    | piece |                                            |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part<'a> {
    /// The sender's number of this transmission.
    pub id: u32,
    /// Which piece.
    pub index: u8,
    /// Of how many.
    pub count: u8,
    /// The piece.
    pub octets: &'a [u8],
}

impl<'a> Part<'a> {
    /// Appends the piece as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        put_head(out, FrameKind::Part);
        out.put_u32(self.id);
        out.put_u8(self.index);
        out.put_u8(self.count);
        out.extend_from_slice(self.octets);
    }

    pub(super) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::Part;
        let mut from = Reader::new(kind, body);
        let (id, index, count) = (from.u32()?, from.u8()?, from.u8()?);
        let octets = from.take(from.remaining())?;
        if index >= count || octets.is_empty() {
            return Err(FrameError::Contradiction { kind, what: "no such piece" });
        }
        Ok(Self { id, index, count, octets })
    }
}
