//! Frames as octets: what travels inside a sealed datagram.
//!
//! Every frame starts with its kind and the format's version. Decoding is total: it gives a value that
//! can only be right, or an error that says what was wrong; afterwards nobody checks a length again.
//!
//! | octets | field   | note                                   |
//! |--------|---------|----------------------------------------|
//! | 0      | kind    | [`FrameKind`]                          |
//! | 1      | version | [`VERSION`]                            |
//! | 2..    | body    | by kind, see the modules               |

mod commit_token;
mod cursor;
mod join;
mod notice;
mod part;
mod regular;
mod token;

use std::fmt;

pub(crate) use self::cursor::{Reader, Writer};
pub use self::{
    commit_token::{CommitEntry, CommitReport, CommitToken, Held},
    join::Join,
    notice::{HoldCancel, Leave, MergeDetect, TokenAck},
    part::{PART_HEAD_BYTES, Part},
    regular::{
        Entries, Entry, FRAGMENT_HEAD_BYTES, Fragment, REGULAR_HEAD_BYTES, Regular, RegularHead,
        WHOLE_HEAD_BYTES,
    },
    token::{RTR_MAX, RetransmitRange, Token},
};

/// Version of the frame formats. Nodes with different versions do not form rings.
pub const VERSION: u8 = 1;

/// Most members a ring, a join or a commit token can have.
pub const MEMBERS_MAX: usize = 128;

/// A place in one ring's total order, counted from 1; 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many places lie after `earlier` up to this one.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The kinds of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FrameKind {
    /// [`Token`]
    Token = 0,
    /// [`Regular`]
    Regular = 1,
    /// [`Join`]
    Join = 2,
    /// [`CommitToken`]
    CommitToken = 3,
    /// [`MergeDetect`]
    MergeDetect = 4,
    /// [`HoldCancel`]
    HoldCancel = 5,
    /// [`Leave`]
    Leave = 6,
    /// [`TokenAck`]
    TokenAck = 7,
    /// [`Part`]
    Part = 8,
}

impl FrameKind {
    const ALL: [Self; 9] = [
        Self::Token,
        Self::Regular,
        Self::Join,
        Self::CommitToken,
        Self::MergeDetect,
        Self::HoldCancel,
        Self::Leave,
        Self::TokenAck,
        Self::Part,
    ];
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token",
            Self::Regular => "regular frame",
            Self::Join => "join",
            Self::CommitToken => "commit token",
            Self::MergeDetect => "merge detect",
            Self::HoldCancel => "hold cancel",
            Self::Leave => "leave",
            Self::TokenAck => "token acknowledgement",
            Self::Part => "part",
        })
    }
}

/// Why a frame was dropped. The ring is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Not even a kind and a version.
    #[error("a frame of {have} octets has no head")]
    Empty {
        /// Its length.
        have: usize,
    },
    /// No such kind.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// Another format.
    #[error("frame format version {got}, this node speaks {VERSION}")]
    Version {
        /// What it says.
        got: u8,
    },
    /// It ends too early.
    #[error("{kind} needs {need} octets, {have} left")]
    Truncated {
        /// What it claims to be.
        kind: FrameKind,
        /// Octets needed next.
        need: usize,
        /// Octets left.
        have: usize,
    },
    /// It goes on after its end.
    #[error("{kind} has {octets} octets too many")]
    Trailing {
        /// What it claims to be.
        kind: FrameKind,
        /// How many.
        octets: usize,
    },
    /// A list is too long.
    #[error("{kind} lists {count}, more than {max}")]
    TooMany {
        /// What it claims to be.
        kind: FrameKind,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A node is numbered 0.
    #[error("{kind} names node 0")]
    NodeZero {
        /// What it claims to be.
        kind: FrameKind,
    },
    /// Members are not in ascending order, or one is listed twice.
    #[error("{kind} lists its members out of order")]
    Unsorted {
        /// What it claims to be.
        kind: FrameKind,
    },
    /// Its fields contradict each other.
    #[error("{kind} contradicts itself: {what}")]
    Contradiction {
        /// What it claims to be.
        kind: FrameKind,
        /// In which way.
        what: &'static str,
    },
}

/// Any frame, decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// The regular token.
    Token(Token),
    /// An ordered frame; its octets stay where they are.
    Regular(Regular<'a>),
    /// A proposal of a membership.
    Join(Join),
    /// The token that forms a ring.
    CommitToken(CommitToken),
    /// A ring makes itself known.
    MergeDetect(MergeDetect),
    /// Somebody has something to send while the token is held.
    HoldCancel(HoldCancel),
    /// The sender is leaving.
    Leave(Leave),
    /// A token that came twice had arrived the first time.
    TokenAck(TokenAck),
    /// A piece of a frame that is larger than a datagram.
    Part(Part<'a>),
}

impl<'a> Frame<'a> {
    /// Decodes one frame.
    ///
    /// # Errors
    /// Anything but a well-formed frame of [`VERSION`].
    pub fn decode(octets: &'a [u8]) -> Result<Self, FrameError> {
        let kind = frame_kind(octets)?;
        let body = octets.get(2..).unwrap_or_default();
        match kind {
            FrameKind::Token => Token::decode(body).map(Self::Token),
            FrameKind::Regular => Regular::decode(octets).map(Self::Regular),
            FrameKind::Join => Join::decode(body).map(Self::Join),
            FrameKind::CommitToken => CommitToken::decode(body).map(Self::CommitToken),
            FrameKind::MergeDetect => MergeDetect::decode(body).map(Self::MergeDetect),
            FrameKind::HoldCancel => HoldCancel::decode(body).map(Self::HoldCancel),
            FrameKind::Leave => Leave::decode(body).map(Self::Leave),
            FrameKind::TokenAck => TokenAck::decode(body).map(Self::TokenAck),
            FrameKind::Part => Part::decode(body).map(Self::Part),
        }
    }
}

fn frame_kind(octets: &[u8]) -> Result<FrameKind, FrameError> {
    let &[kind, version, ..] = octets else { return Err(FrameError::Empty { have: octets.len() }) };
    if version != VERSION {
        return Err(FrameError::Version { got: version });
    }
    FrameKind::ALL.get(usize::from(kind)).copied().ok_or(FrameError::UnknownKind(kind))
}

pub(crate) fn put_head(out: &mut bytes::BytesMut, kind: FrameKind) {
    out.extend_from_slice(&[kind as u8, VERSION]);
}

/// Ascending by node, or by node and life; each once.
pub(crate) fn check_sorted<T: Ord>(kind: FrameKind, items: &[T]) -> Result<(), FrameError> {
    if items.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(FrameError::Unsorted { kind }) }
}

#[cfg(test)]
mod tests;
