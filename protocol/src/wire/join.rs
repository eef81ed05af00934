//! A proposal of a membership.

use bytes::{BufMut, BytesMut};

use super::{FrameError, FrameKind, MEMBERS_MAX, Reader, Writer, check_sorted, put_head};
use crate::{node::Member, ring_id::RingSeq};

/// Who the sender would form a ring with (Amir et al. 1995, section 4).
///
/// | octets | field    | note                                                        |
/// |--------|----------|-------------------------------------------------------------|
/// | 0..8   | ring_seq | highest [`RingSeq`] the sender knows of                     |
/// | 8..10  | count    | of the members considered, at most [`MEMBERS_MAX`]          |
/// | ..     | proc     | 12 each, ascending                                          |
/// | ..     | fail     | one bit each, in the order of `proc`, first bit lowest      |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Join {
    /// The new ring's sequence will be above the highest of these.
    pub ring_seq: RingSeq,
    /// Members considered, ascending.
    pub proc: Vec<Member>,
    /// Those of them that the sender leaves out, ascending.
    pub fail: Vec<Member>,
}

impl Join {
    /// Appends the join as a frame. `fail` must be part of `proc`.
    pub fn encode(&self, out: &mut BytesMut) {
        put_head(out, FrameKind::Join);
        out.put_u64(self.ring_seq.0);
        out.put_count(self.proc.len());
        for &member in &self.proc {
            out.put_member(member);
        }
        for eight in self.proc.chunks(8) {
            let bit = |(i, member)| u8::from(self.fail.binary_search(member).is_ok()) << i;
            out.put_u8(eight.iter().enumerate().map(bit).sum());
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::Join;
        let mut from = Reader::new(kind, body);
        let ring_seq = RingSeq(from.u64()?);
        let count = from.count(MEMBERS_MAX, 12)?;
        let proc = (0..count).map(|_| from.member()).collect::<Result<Vec<_>, _>>()?;
        check_sorted(kind, &proc)?;
        let bits = from.take(count.div_ceil(8))?;
        from.end()?;
        let failed = |i: usize| bits.get(i / 8).is_some_and(|octet| octet >> (i % 8) & 1 == 1);
        if (count..bits.len() * 8).any(failed) {
            return Err(FrameError::Contradiction { kind, what: "leaves out more members than it lists" });
        }
        let fail = proc.iter().enumerate().filter(|(i, _)| failed(*i)).map(|(_, &member)| member).collect();
        Ok(Self { ring_seq, proc, fail })
    }
}
