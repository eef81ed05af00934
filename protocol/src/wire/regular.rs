//! The ordered frame: messages, or pieces of one, under one number.

use bytes::{BufMut, BytesMut};

use super::{FrameError, FrameKind, Reader, Seq, Writer, put_head};
use crate::{node::NodeId, ring::Guarantee, ring_id::RingId};

/// Octets before the first entry.
pub const REGULAR_HEAD_BYTES: usize = 34;
/// Octets before a whole message inside a frame.
pub const WHOLE_HEAD_BYTES: usize = 4;
/// Octets before a piece of a message inside a frame.
pub const FRAGMENT_HEAD_BYTES: usize = 16;

/// The fixed part of an ordered frame.
///
/// | octets | field  | note                                            |
/// |--------|--------|-------------------------------------------------|
/// | 0..2   | head   | kind, version                                   |
/// | 2      | flags  | 1 = safe                                        |
/// | 3      | –      | 0                                               |
/// | 4..6   | count  | entries                                         |
/// | 6..10  | sender | who numbered it; it may be resent by others     |
/// | 10..26 | ring   | [`RingId`] in which it was numbered             |
/// | 26..34 | seq    | its [`Seq`]                                     |
/// | 34..   | entries | see [`Entry`]                                  |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegularHead {
    /// The strongest guarantee among its messages.
    pub guarantee: Guarantee,
    /// How many entries.
    pub count: u16,
    /// Who numbered it.
    pub sender: NodeId,
    /// In which ring.
    pub ring: RingId,
    /// Its place.
    pub seq: Seq,
}

/// An ordered frame, checked to its last octet; the octets are borrowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Regular<'a> {
    /// The fixed part.
    pub head: RegularHead,
    /// The whole frame, head included.
    pub octets: &'a [u8],
}

impl RegularHead {
    /// Appends the fixed part.
    pub fn encode(&self, out: &mut BytesMut) {
        put_head(out, FrameKind::Regular);
        out.put_u8(u8::from(self.guarantee == Guarantee::Safe));
        out.put_u8(0);
        out.put_u16(self.count);
        out.put_u32(self.sender.get());
        out.put_ring(self.ring);
        out.put_u64(self.seq.0);
    }

    /// Writes guarantee and count over those at the front of a frame: they are known only when the
    /// entries are there.
    pub(crate) fn rewrite(&self, frame: &mut [u8]) {
        if let Some([_, _, flags, _, count @ ..]) = frame.get_mut(..6) {
            *flags = u8::from(self.guarantee == Guarantee::Safe);
            count.copy_from_slice(&self.count.to_be_bytes());
        }
    }
}

impl<'a> Regular<'a> {
    /// Checks a whole frame.
    pub(super) fn decode(octets: &'a [u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::Regular;
        let mut from = Reader::new(kind, octets);
        from.take(2)?;
        let flags = from.u8()?;
        let reserved = from.u8()?;
        let count = from.u16()?;
        let head = RegularHead {
            guarantee: if flags & 1 == 0 { Guarantee::Agreed } else { Guarantee::Safe },
            count,
            sender: from.node()?,
            ring: from.ring()?,
            seq: from.seq()?,
        };
        if flags > 1 || reserved != 0 {
            return Err(FrameError::Contradiction { kind, what: "reserved bits are set" });
        }
        if head.seq == Seq(0) {
            return Err(FrameError::Contradiction { kind, what: "place 0" });
        }
        if count == 0 {
            return Err(FrameError::Contradiction { kind, what: "no entry" });
        }
        for _ in 0..count {
            Entry::read(&mut from)?;
        }
        from.end()?;
        Ok(Self { head, octets })
    }
}

/// A message, or a piece of one.
///
/// | octets | field  | note                                                   |
/// |--------|--------|--------------------------------------------------------|
/// | 0      | flags  | 0 = whole message, 1 = piece                           |
/// | 1      | –      | 0                                                      |
/// | 2..4   | len    | octets that follow the entry's head                    |
/// | 4..8   | message | piece only: the sender's number of the message        |
/// | 8..12  | offset | piece only: where it belongs                           |
/// | 12..16 | total  | piece only: octets of the whole message                |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// Set for a piece.
    pub fragment: Option<Fragment>,
    /// The octets of the message or piece.
    pub octets: &'a [u8],
}

/// Where a piece belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// The sender's number of the message.
    pub message: u32,
    /// Where this piece starts.
    pub offset: u32,
    /// Octets of the whole message.
    pub total: u32,
}

impl<'a> Entry<'a> {
    /// Appends the head of an entry whose `len` octets the caller appends next.
    pub(crate) fn encode_head(out: &mut BytesMut, fragment: Option<Fragment>, len: u16) {
        out.put_u8(u8::from(fragment.is_some()));
        out.put_u8(0);
        out.put_u16(len);
        if let Some(fragment) = fragment {
            out.put_u32(fragment.message);
            out.put_u32(fragment.offset);
            out.put_u32(fragment.total);
        }
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, FrameError> {
        let kind = FrameKind::Regular;
        let flags = from.u8()?;
        let reserved = from.u8()?;
        let len = usize::from(from.u16()?);
        if flags > 1 || reserved != 0 {
            return Err(FrameError::Contradiction { kind, what: "reserved bits are set" });
        }
        let fragment = match flags {
            0 => None,
            _ => Some(Fragment { message: from.u32()?, offset: from.u32()?, total: from.u32()? }),
        };
        let octets = from.take(len)?;
        if let Some(Fragment { offset, total, .. }) = fragment {
            let end = u64::from(offset) + octets.len() as u64;
            if octets.is_empty() || end > u64::from(total) {
                return Err(FrameError::Contradiction { kind, what: "a piece outside its message" });
            }
        }
        Ok(Self { fragment, octets })
    }
}

/// Walks the entries of a frame that [`Regular`] has checked.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    left: u16,
    from: Reader<'a>,
}

impl<'a> Entries<'a> {
    /// The entries of a checked frame.
    pub fn new(head: &RegularHead, octets: &'a [u8]) -> Self {
        let body = octets.get(REGULAR_HEAD_BYTES..).unwrap_or_default();
        Self { left: head.count, from: Reader::new(FrameKind::Regular, body) }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.left = self.left.checked_sub(1)?;
        Entry::read(&mut self.from).ok()
    }
}
