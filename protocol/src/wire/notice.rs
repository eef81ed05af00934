//! The small frames: each says one thing about one ring.

use bytes::{BufMut, BytesMut};

use super::{FrameError, FrameKind, Reader, Writer, put_head};
use crate::ring_id::RingId;

/// A ring makes itself known to nodes outside it. Body: the ring's id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MergeDetect {
    /// The sender's ring.
    pub ring: RingId,
}

/// The sender has a message and the representative holds the token. Body: the ring's id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HoldCancel {
    /// The sender's ring.
    pub ring: RingId,
}

/// The sender is going away and will not answer any more. Body: the ring's id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leave {
    /// The ring it leaves.
    pub ring: RingId,
}

/// Answer to a token that arrived a second time: it need not be sent again.
/// Body: the ring's id, then the token's `token_seq` (8 octets).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenAck {
    /// The token's ring.
    pub ring: RingId,
    /// Highest token accepted.
    pub token_seq: u64,
}

macro_rules! ring_notice {
    ($name:ident) => {
        impl $name {
            /// Appends the notice as a frame.
            pub fn encode(&self, out: &mut BytesMut) {
                put_head(out, FrameKind::$name);
                out.put_ring(self.ring);
            }

            pub(super) fn decode(body: &[u8]) -> Result<Self, FrameError> {
                let mut from = Reader::new(FrameKind::$name, body);
                let notice = Self { ring: from.ring()? };
                from.end()?;
                Ok(notice)
            }
        }
    };
}

ring_notice!(MergeDetect);
ring_notice!(HoldCancel);
ring_notice!(Leave);

impl TokenAck {
    /// Appends the notice as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        put_head(out, FrameKind::TokenAck);
        out.put_ring(self.ring);
        out.put_u64(self.token_seq);
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut from = Reader::new(FrameKind::TokenAck, body);
        let notice = Self { ring: from.ring()?, token_seq: from.u64()? };
        from.end()?;
        Ok(notice)
    }
}
