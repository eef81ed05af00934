//! The content of the file with the ring sequence: one line that a person can read.
//!
//! ```text
//! corosync-ringid 1 node=00000002 mark=0000000000000c04 crc=5a0c9e3b
//! ```

use protocol::{NodeId, RingSeq};

/// Every sequence up to `mark` may have been used by `node`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) node: NodeId,
    pub(super) mark: RingSeq,
}

/// Why octets are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RecordError {
    /// Not the length of a record.
    #[error("it is {have} octets long instead of {OCTETS}")]
    Length {
        /// How many there are; one more than a record's if there are still more.
        have: usize,
    },
    /// A record of a later version of this program.
    #[error("its version is not {VERSION}")]
    Version,
    /// The checksum does not match, or the fields are not as this program writes them.
    #[error("its content is damaged")]
    Damaged,
}

/// Octets of a record.
pub(super) const OCTETS: usize = 67;

const VERSION: u32 = 1;
const MAGIC: &str = "corosync-ringid ";

impl Record {
    pub(super) fn encode(self) -> String {
        let body = format!("{MAGIC}{VERSION} node={:08x} mark={:016x} ", self.node.get(), self.mark.0);
        format!("{body}crc={:08x}\n", crc32(body.as_bytes()))
    }

    /// Exactly the octets that [`encode`](Self::encode) makes of some record, and nothing else.
    pub(super) fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        if octets.len() != OCTETS {
            return Err(RecordError::Length { have: octets.len() });
        }
        let text = std::str::from_utf8(octets).map_err(|_| RecordError::Damaged)?;
        let mut words = text.strip_prefix(MAGIC).ok_or(RecordError::Damaged)?.split(' ');
        if words.next().and_then(|version| version.parse().ok()) != Some(VERSION) {
            return Err(RecordError::Version);
        }
        let mut field = |name: &str| {
            let digits = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
            u64::from_str_radix(digits, 16).ok()
        };
        let node = field("node").and_then(|id| NodeId::new(u32::try_from(id).ok()?));
        let mark = field("mark").map(RingSeq);
        match node.zip(mark) {
            Some((node, mark)) if (Self { node, mark }).encode().as_bytes() == octets => {
                Ok(Self { node, mark })
            }
            _ => Err(RecordError::Damaged),
        }
    }
}

/// CRC-32 (ISO 3309), bit by bit: a record is written once in many rings.
fn crc32(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |crc, &octet| {
        (0..8).fold(
            crc ^ u32::from(octet),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { node: NodeId::new(2).expect("2 is not 0"), mark: RingSeq(0xc04) }
    }

    #[test]
    fn a_record_reads_like_this() {
        let line = record().encode();
        assert_eq!(&line[..54], "corosync-ringid 1 node=00000002 mark=0000000000000c04 ");
        assert_eq!(line.len(), OCTETS);
        assert_eq!(Record::decode(line.as_bytes()), Ok(record()));
    }

    #[test]
    fn the_checksum_is_the_common_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_single_wrong_bit_is_noticed() {
        let good = record().encode().into_bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_named_as_such() {
        let later = record().encode().replacen(" 1 ", " 2 ", 1);
        assert_eq!(Record::decode(later.as_bytes()), Err(RecordError::Version));
    }
}
