//! The outer header: what a receiver must know before it can open a datagram.

use crate::node::{BootId, NodeId};

/// The protection of a datagram. Part of the header, so that a node with another suite is told apart
/// from one with another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suite {
    /// No protection.
    Cleartext,
    /// AES-256-GCM.
    Aes256Gcm,
    /// HMAC-SHA256, its tag truncated to 128 bits.
    HmacSha256,
}

impl Suite {
    /// Its number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Cleartext => 0,
            Self::Aes256Gcm => 1,
            Self::HmacSha256 => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Cleartext),
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::HmacSha256),
            _ => None,
        }
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cleartext => "none",
            Self::Aes256Gcm => "aes256-gcm",
            Self::HmacSha256 => "hmac-sha256",
        })
    }
}

/// Who the frame inside is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The links themselves.
    Link,
    /// The layer above.
    Frame,
}

impl Class {
    const fn code(self) -> u8 {
        match self {
            Self::Link => 0,
            Self::Frame => 1,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Link),
            1 => Some(Self::Frame),
            _ => None,
        }
    }
}

/// The first octets of every datagram, in clear and covered by its tag. Numbers are big-endian.
///
/// | octets  | field       | note                                                       |
/// |---------|-------------|------------------------------------------------------------|
/// | 0       | version     | upper four bits, 1                                         |
/// | 0       | suite       | lower four bits, [`Suite`]                                 |
/// | 1       | class       | [`Class`]                                                  |
/// | 2..4    | cluster tag | derived from the cluster's name; a filter, not a secret    |
/// | 4       | epoch       | which cluster key; 0 until keys can be rotated             |
/// | 5       | flags       | 0x01: for one node only, whose number the tag covers too   |
/// | 6..8    | reserved    | zero                                                       |
/// | 8..12   | sender      | [`NodeId`], not zero                                       |
/// | 12..20  | session     | the sender's [`BootId`]                                    |
/// | 20..28  | number      | counts the sender's datagrams; never repeats in a session  |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// How the datagram is protected.
    pub suite: Suite,
    /// Who the frame inside is for.
    pub class: Class,
    /// Which cluster.
    pub cluster_tag: u16,
    /// Which key of the cluster.
    pub epoch: u8,
    /// Sealed for one node only.
    pub addressed: bool,
    /// Which node.
    pub sender: NodeId,
    /// Which of its lives.
    pub session: BootId,
    /// Which of this life's datagrams.
    pub number: u64,
}

/// Why a header was not understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// No room for header and tag.
    #[error("{have} octets are too few for a sealed datagram")]
    TooShort {
        /// Octets there are.
        have: usize,
    },
    /// Another version of this protocol, or no datagram of this protocol at all.
    #[error("version {version} is not {}", Header::VERSION)]
    Version {
        /// The version it claims.
        version: u8,
    },
    /// A suite without a meaning.
    #[error("suite {code} is unknown")]
    Suite {
        /// Its code.
        code: u8,
    },
    /// A class without a meaning.
    #[error("class {code} is unknown")]
    Class {
        /// Its code.
        code: u8,
    },
    /// Flags or reserved octets that this version leaves zero.
    #[error("reserved bits are set")]
    Reserved,
    /// Node zero is nobody.
    #[error("the sender is node 0")]
    NoSender,
}

impl Header {
    /// Its length in octets.
    pub const BYTES: usize = 28;
    /// The version of everything inside.
    pub const VERSION: u8 = 1;

    const FLAG_ADDRESSED: u8 = 0x01;

    /// As octets.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut octets = [0; Self::BYTES];
        octets[0] = Self::VERSION << 4 | self.suite.code();
        octets[1] = self.class.code();
        octets[2..4].copy_from_slice(&self.cluster_tag.to_be_bytes());
        octets[4] = self.epoch;
        octets[5] = if self.addressed { Self::FLAG_ADDRESSED } else { 0 };
        octets[8..12].copy_from_slice(&self.sender.get().to_be_bytes());
        octets[12..20].copy_from_slice(&self.session.0.to_be_bytes());
        octets[20..28].copy_from_slice(&self.number.to_be_bytes());
        octets
    }

    /// From octets.
    ///
    /// # Errors
    /// When they are not a header of this version.
    pub fn decode(octets: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [version, class, tag0, tag1, epoch, flags, zero0, zero1, a0, a1, a2, a3, session @ ..] = octets;
        let (session, number) = session.split_at(8);
        if version >> 4 != Self::VERSION {
            return Err(HeaderError::Version { version: version >> 4 });
        }
        let suite = version & 0x0f;
        if flags & !Self::FLAG_ADDRESSED != 0 || *zero0 != 0 || *zero1 != 0 {
            return Err(HeaderError::Reserved);
        }
        Ok(Self {
            suite: Suite::from_code(suite).ok_or(HeaderError::Suite { code: suite })?,
            class: Class::from_code(*class).ok_or(HeaderError::Class { code: *class })?,
            cluster_tag: u16::from_be_bytes([*tag0, *tag1]),
            epoch: *epoch,
            addressed: flags & Self::FLAG_ADDRESSED != 0,
            sender: NodeId::new(u32::from_be_bytes([*a0, *a1, *a2, *a3])).ok_or(HeaderError::NoSender)?,
            session: BootId(be_u64(session)),
            number: be_u64(number),
        })
    }
}

/// The number in up to eight octets.
fn be_u64(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCTETS: [u8; 28] = [
        0x11, 0x01, 0xab, 0xcd, 0x00, 0x01, 0x00, 0x00, // version 1 suite 1, class, tag, epoch, flags
        0x00, 0x00, 0x01, 0x02, // sender 258
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, // session
        0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x07, // number 2^26 + 7
    ];

    fn header() -> Header {
        Header {
            suite: Suite::Aes256Gcm,
            class: Class::Frame,
            cluster_tag: 0xabcd,
            epoch: 0,
            addressed: true,
            sender: NodeId::new(258).unwrap(),
            session: BootId(0x0123_4567_89ab_cdef),
            number: (1 << 26) + 7,
        }
    }

    #[test]
    fn a_header_is_these_octets() {
        assert_eq!(header().encode(), OCTETS);
        assert_eq!(Header::decode(&OCTETS), Ok(header()));
    }

    #[test]
    fn what_means_nothing_is_named() {
        let with = |at: usize, octet: u8| {
            let mut octets = OCTETS;
            octets[at] = octet;
            Header::decode(&octets)
        };
        assert_eq!(with(0, 0x21), Err(HeaderError::Version { version: 2 }));
        assert_eq!(with(0, 0x1f), Err(HeaderError::Suite { code: 15 }));
        assert_eq!(with(1, 2), Err(HeaderError::Class { code: 2 }));
        assert_eq!(with(5, 0x03), Err(HeaderError::Reserved));
        assert_eq!(with(6, 1), Err(HeaderError::Reserved));
        assert_eq!(with(7, 1), Err(HeaderError::Reserved));
        let mut nobody = OCTETS;
        nobody[8..12].fill(0);
        assert_eq!(Header::decode(&nobody), Err(HeaderError::NoSender));
    }

    #[test]
    fn every_suite_and_class_survives() {
        for suite in [Suite::Cleartext, Suite::Aes256Gcm, Suite::HmacSha256] {
            for class in [Class::Link, Class::Frame] {
                for addressed in [false, true] {
                    let header = Header { suite, class, addressed, epoch: 7, ..header() };
                    assert_eq!(Header::decode(&header.encode()), Ok(header));
                }
            }
        }
    }
}
