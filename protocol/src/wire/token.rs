//! The regular token.

use bytes::{BufMut, BytesMut};

use super::{FrameError, FrameKind, Reader, Seq, Writer, put_head};
use crate::{node::NodeId, ring_id::RingId};

/// Most ranges that a token's retransmission request list holds. With a full list a token has 1,326
/// octets and still fits a datagram of the usual size.
pub const RTR_MAX: usize = 48;

/// Whoever holds it may send. There is one on a ring.
///
/// | octets | field      | note                                                                 |
/// |--------|------------|----------------------------------------------------------------------|
/// | 0..16  | ring       | [`RingId`]                                                           |
/// | 16..24 | token_seq  | grows by one at every hop                                            |
/// | 24..32 | seq        | highest [`Seq`] given to a frame of this ring                        |
/// | 32..40 | aru        | all received up to, lowered by whoever lacks something               |
/// | 40..44 | aru_setter | who lowered it last; 0 = nobody                                      |
/// | 44..48 | fcc        | frames sent in the last rotation, by all                             |
/// | 48..52 | backlog    | frames that wait at all members, as of their last visits             |
/// | 52..54 | complete   | consecutive visits at members that have recovered all (Recovery)     |
/// | 54..56 | count      | of the requests, at most [`RTR_MAX`]                                 |
/// | ..     | rtr        | 26 each: ring, first [`Seq`], how many                               |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Tokens of other rings are dropped.
    pub ring: RingId,
    /// Tells a new token from a resent one.
    pub token_seq: u64,
    /// Highest place given out.
    pub seq: Seq,
    /// Everybody visited since it was last raised has all up to here.
    pub aru: Seq,
    /// Who lowered `aru` last; only that node may raise it.
    pub aru_setter: Option<NodeId>,
    /// Frames sent in the last rotation.
    pub fcc: u32,
    /// Frames waiting at all members.
    pub backlog: u32,
    /// How many members in a row, up to the last visited, have everything that recovery is to bring.
    pub complete: u16,
    /// What is missing somewhere.
    pub rtr: Vec<RetransmitRange>,
}

/// A run of places whose frames somebody lacks, in the ring that numbered them: the token's own, or
/// during recovery an old one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RetransmitRange {
    /// Which ring's numbers.
    pub ring: RingId,
    /// The first one missing.
    pub first: Seq,
    /// How many.
    pub count: u16,
}

impl Token {
    /// The first token of a ring.
    pub fn first(ring: RingId) -> Self {
        Self {
            ring,
            token_seq: 1,
            seq: Seq(0),
            aru: Seq(0),
            aru_setter: None,
            fcc: 0,
            backlog: 0,
            complete: 0,
            rtr: Vec::new(),
        }
    }

    /// Appends the token as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        put_head(out, FrameKind::Token);
        out.put_ring(self.ring);
        out.put_u64(self.token_seq);
        out.put_u64(self.seq.0);
        out.put_u64(self.aru.0);
        out.put_u32(self.aru_setter.map_or(0, NodeId::get));
        out.put_u32(self.fcc);
        out.put_u32(self.backlog);
        out.put_u16(self.complete);
        out.put_count(self.rtr.len());
        for range in &self.rtr {
            out.put_ring(range.ring);
            out.put_u64(range.first.0);
            out.put_u16(range.count);
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::Token;
        let mut from = Reader::new(kind, body);
        let mut token = Self {
            ring: from.ring()?,
            token_seq: from.u64()?,
            seq: from.seq()?,
            aru: from.seq()?,
            aru_setter: NodeId::new(from.u32()?),
            fcc: from.u32()?,
            backlog: from.u32()?,
            complete: from.u16()?,
            rtr: Vec::new(),
        };
        if token.aru > token.seq {
            return Err(FrameError::Contradiction { kind, what: "aru above seq" });
        }
        let count = from.count(RTR_MAX, 26)?;
        token.rtr.reserve_exact(count);
        for _ in 0..count {
            token.rtr.push(RetransmitRange { ring: from.ring()?, first: from.seq()?, count: from.u16()? });
        }
        from.end()?;
        Ok(token)
    }
}
