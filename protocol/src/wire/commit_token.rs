//! The token that forms a ring.

use bytes::{BufMut, BytesMut};

use super::{FrameError, FrameKind, MEMBERS_MAX, Reader, Seq, Writer, put_head};
use crate::{
    node::{Member, NodeId},
    ring_id::RingId,
};

/// Most octets of the bit map of a report: one bit for each place between aru and the highest seen.
const HELD_BYTES_MAX: usize = 2048;

/// Travels twice around the members of the ring to be. In the first round each member writes what it
/// has of its old ring, in the second everybody reads it (Amir et al. 1995, section 4.3).
///
/// | octets | field | note                                                    |
/// |--------|-------|---------------------------------------------------------|
/// | 0..16  | ring  | the new [`RingId`]                                      |
/// | 16..20 | hop   | grows by one at every hop; tells a resent one           |
/// | 20..22 | count | of the members, at most [`MEMBERS_MAX`]                 |
/// | ..     | entries | 12 for the member, 1 = has reported, then the report  |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommitToken {
    /// The new ring.
    pub ring: RingId,
    /// Hops made.
    pub hop: u32,
    /// One for each member, ascending.
    pub entries: Vec<CommitEntry>,
}

/// A member of the ring to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommitEntry {
    /// Who.
    pub member: Member,
    /// Its report, once the token has visited it.
    pub report: Option<CommitReport>,
}

/// What a member has of the ring it comes from.
///
/// | octets | field        | note                                                           |
/// |--------|--------------|----------------------------------------------------------------|
/// | 0..16  | old_ring     | its last regular configuration                                 |
/// | 16..24 | aru          | it holds (or has delivered) all up to here                     |
/// | 24..32 | delivered    | delivered up to here                                           |
/// | 32..40 | stable       | known to be held by all members of the old ring up to here     |
/// | 40..48 | high_seen    | the highest place it knows to be given out                     |
/// | 48..50 | count        | obligations, at most [`MEMBERS_MAX`]                           |
/// | ..     | obligations  | 4 each, ascending                                              |
/// | ..     | held         | 2 = octets of the bit map, then the bit map                    |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommitReport {
    /// Its last regular configuration.
    pub old_ring: RingId,
    /// All held up to here.
    pub aru: Seq,
    /// Delivered up to here.
    pub delivered: Seq,
    /// Held by everybody up to here, as far as it knows.
    pub stable: Seq,
    /// Highest place it knows of.
    pub high_seen: Seq,
    /// Nodes whose messages it must deliver even beyond a hole, from attempts that failed late.
    pub obligations: Vec<NodeId>,
    /// Which places above `aru` it holds.
    pub held: Held,
}

/// A set of places above some aru: bit `i` stands for `aru + 1 + i`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Held(Vec<u8>);

impl Held {
    /// Most places that can be told about.
    pub const PLACES_MAX: u64 = HELD_BYTES_MAX as u64 * 8;

    /// Adds the place `aru + 1 + offset`. Places beyond [`Self::PLACES_MAX`] are left out.
    pub fn insert(&mut self, offset: u64) {
        let Some(offset) = usize::try_from(offset).ok().filter(|&o| o < HELD_BYTES_MAX * 8) else { return };
        if self.0.len() <= offset / 8 {
            self.0.resize(offset / 8 + 1, 0);
        }
        if let Some(octet) = self.0.get_mut(offset / 8) {
            *octet |= 1 << (offset % 8);
        }
    }

    /// Whether the place `aru + 1 + offset` is in the set.
    pub fn contains(&self, offset: u64) -> bool {
        let octet = usize::try_from(offset / 8).ok().and_then(|i| self.0.get(i));
        octet.is_some_and(|octet| octet >> (offset % 8) & 1 == 1)
    }
}

impl CommitReport {
    /// Whether this member holds, or held and freed, the frame at `seq` of its old ring.
    pub fn holds(&self, seq: Seq) -> bool {
        seq <= self.aru || self.held.contains(seq.since(self.aru).saturating_sub(1))
    }
}

impl CommitToken {
    /// The ring's members, ascending.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.entries.iter().map(|entry| entry.member)
    }

    /// Appends the token as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        put_head(out, FrameKind::CommitToken);
        out.put_ring(self.ring);
        out.put_u32(self.hop);
        out.put_count(self.entries.len());
        for entry in &self.entries {
            out.put_member(entry.member);
            out.put_u8(u8::from(entry.report.is_some()));
            if let Some(report) = &entry.report {
                report.encode(out);
            }
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::CommitToken;
        let mut from = Reader::new(kind, body);
        let ring = from.ring()?;
        let hop = from.u32()?;
        let count = from.count(MEMBERS_MAX, 13)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let member = from.member()?;
            let report = match from.u8()? {
                0 => None,
                1 => Some(CommitReport::decode(&mut from)?),
                _ => return Err(FrameError::Contradiction { kind, what: "reserved bits are set" }),
            };
            entries.push(CommitEntry { member, report });
        }
        from.end()?;
        if !entries.is_sorted_by(|a, b| a.member.node < b.member.node) {
            return Err(FrameError::Unsorted { kind });
        }
        if entries.first().is_none_or(|first| first.member.node != ring.rep) {
            return Err(FrameError::Contradiction {
                kind,
                what: "the lowest member is not the representative",
            });
        }
        Ok(Self { ring, hop, entries })
    }
}

impl CommitReport {
    fn encode(&self, out: &mut BytesMut) {
        out.put_ring(self.old_ring);
        for seq in [self.aru, self.delivered, self.stable, self.high_seen] {
            out.put_u64(seq.0);
        }
        out.put_count(self.obligations.len());
        for node in &self.obligations {
            out.put_u32(node.get());
        }
        out.put_count(self.held.0.len());
        out.extend_from_slice(&self.held.0);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, FrameError> {
        let kind = FrameKind::CommitToken;
        let old_ring = from.ring()?;
        let (aru, delivered, stable, high_seen) = (from.seq()?, from.seq()?, from.seq()?, from.seq()?);
        if delivered > aru || stable > aru || aru > high_seen {
            return Err(FrameError::Contradiction { kind, what: "a report's numbers are out of order" });
        }
        let count = from.count(MEMBERS_MAX, 4)?;
        let obligations = (0..count).map(|_| from.node()).collect::<Result<Vec<_>, _>>()?;
        super::check_sorted(kind, &obligations)?;
        let octets = from.count(HELD_BYTES_MAX, 1)?;
        let held = Held(from.take(octets)?.to_vec());
        Ok(Self { old_ring, aru, delivered, stable, high_seen, obligations, held })
    }
}
