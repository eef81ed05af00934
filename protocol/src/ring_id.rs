//! The name of one configuration of the ring.

use std::fmt;

use crate::node::NodeId;

/// The counter inside a [`RingId`]. Grows by [`RingSeq::STEP`] with each new ring and is kept on
/// stable storage, so that no node ever takes part in two rings with one id.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RingSeq(pub u64);

impl RingSeq {
    /// How far a new ring's counter lies above the highest one that its members knew (Amir et al.
    /// 1995; corosync's tools show the same steps).
    pub const STEP: u64 = 4;

    /// The counter of the ring formed after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(Self::STEP))
    }
}

impl fmt::Display for RingSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Representative and ring sequence: names one regular configuration, for all time.
///
/// The nonce is random for each attempt to form a ring. It keeps ids apart even where a node lost
/// its stored sequence (a disk rolled back to a snapshot); users see only `rep` and `seq`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RingId {
    /// The counter; the most significant part of the order among ids.
    pub seq: RingSeq,
    /// The lowest node of the ring, which proposed it.
    pub rep: NodeId,
    /// Random bits of this proposal.
    pub nonce: u32,
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As corosync's tools print it: representative, dot, sequence in hexadecimal.
        write!(f, "{}.{}", self.rep, self.seq)
    }
}
