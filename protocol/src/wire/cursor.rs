//! Bounded reading and writing of octets, most significant first. Knows lengths, not meanings.

use bytes::{BufMut, BytesMut};

use crate::{
    node::{BootId, Member, NodeId},
    ring_id::{RingId, RingSeq},
    wire::{FrameError, FrameKind, Seq},
};

/// Takes values off the front of a frame; never reads past its end.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    kind: FrameKind,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(kind: FrameKind, octets: &'a [u8]) -> Self {
        Self { kind, rest: octets }
    }

    pub(crate) fn take(&mut self, need: usize) -> Result<&'a [u8], FrameError> {
        match self.rest.split_at_checked(need) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(FrameError::Truncated { kind: self.kind, need, have: self.rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn seq(&mut self) -> Result<Seq, FrameError> {
        self.u64().map(Seq)
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, FrameError> {
        NodeId::new(self.u32()?).ok_or(FrameError::NodeZero { kind: self.kind })
    }

    pub(crate) fn member(&mut self) -> Result<Member, FrameError> {
        Ok(Member { node: self.node()?, boot: BootId(self.u64()?) })
    }

    pub(crate) fn ring(&mut self) -> Result<RingId, FrameError> {
        Ok(RingId { seq: RingSeq(self.u64()?), rep: self.node()?, nonce: self.u32()? })
    }

    /// A count that says how many items of at least `item_bytes` octets follow. It is compared with
    /// its limit and with what is left before anybody allocates for it.
    pub(crate) fn count(&mut self, max: usize, item_bytes: usize) -> Result<usize, FrameError> {
        let count = usize::from(self.u16()?);
        if count > max {
            return Err(FrameError::TooMany { kind: self.kind, count, max });
        }
        let need = count.saturating_mul(item_bytes);
        if need > self.rest.len() {
            return Err(FrameError::Truncated { kind: self.kind, need, have: self.rest.len() });
        }
        Ok(count)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The frame must end here.
    pub(crate) fn end(self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Trailing { kind: self.kind, octets: self.rest.len() })
        }
    }
}

/// What every encoder writes besides plain numbers.
pub(crate) trait Writer {
    fn put_member(&mut self, member: Member);
    fn put_ring(&mut self, ring: RingId);
    fn put_count(&mut self, count: usize);
}

impl Writer for BytesMut {
    fn put_member(&mut self, member: Member) {
        self.put_u32(member.node.get());
        self.put_u64(member.boot.0);
    }

    fn put_ring(&mut self, ring: RingId) {
        self.put_u64(ring.seq.0);
        self.put_u32(ring.rep.get());
        self.put_u32(ring.nonce);
    }

    fn put_count(&mut self, count: usize) {
        self.put_u16(u16::try_from(count).expect("lists are bounded far below 65,536 where they are built"));
    }
}
