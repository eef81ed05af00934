//! Frame to datagram and back: sessions, keys, replay windows.
//!
//! Every life of a node (its [`BootId`](crate::node::BootId)) seals with keys of its own, derived from the cluster's key,
//! and numbers its datagrams. So no two senders, and no two lives of one sender, ever use one key and
//! nonce twice, without drawing a random number per datagram. What is sealed for all is sealed once;
//! what is sealed for one node opens only there, so that nobody can hand one node's token to another.
//!
//! A datagram is a [`Header`] in clear, the frame, and a tag of [`TAG_BYTES`]. This module knows
//! nothing about peers, addresses or freshness; that is [`crate::links`].

pub mod header;
pub mod keys;
pub mod replay;

mod aes_gcm;
mod hmac;
#[cfg(test)]
mod tests;

use std::ops::Range;

use zeroize::Zeroizing;

pub use header::{Class, Header, HeaderError, Suite};
pub use keys::ClusterSecret;

use crate::node::{Member, NodeId};
use keys::SessionSecret;
use replay::{ReplayError, ReplayWindow};

/// Octets of authentication tag behind a sealed frame, for every suite.
pub const TAG_BYTES: usize = 16;

/// Octets that sealing adds to a frame.
pub const OVERHEAD_BYTES: usize = Header::BYTES + TAG_BYTES;

/// The cluster's shared secret: what `/etc/corosync/authkey` holds. Never printed.
#[derive(Clone)]
pub struct ClusterKey(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// How datagrams are protected (`totem.crypto_cipher`, `totem.crypto_hash`).
#[derive(Clone, Debug)]
pub enum Protection {
    /// AES-256-GCM: encrypted and authenticated.
    Aes256Gcm(ClusterKey),
    /// HMAC-SHA256: authenticated, readable by anybody.
    HmacSha256(ClusterKey),
    /// Neither; only when the file says so in as many words.
    Cleartext,
}

impl Protection {
    /// The suite's name in the header.
    pub const fn suite(&self) -> Suite {
        match self {
            Self::Aes256Gcm(_) => Suite::Aes256Gcm,
            Self::HmacSha256(_) => Suite::HmacSha256,
            Self::Cleartext => Suite::Cleartext,
        }
    }

    /// The key, if this protection has one.
    pub const fn key(&self) -> Option<&ClusterKey> {
        match self {
            Self::Aes256Gcm(key) | Self::HmacSha256(key) => Some(key),
            Self::Cleartext => None,
        }
    }
}

/// Why a datagram did not open. The session is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Its number was seen, is too old, or is too far ahead.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Its tag is wrong: another key, another addressee, or somebody changed it.
    #[error("the tag does not match")]
    Forged,
}

/// One generation's cipher of one session. The interface that each suite provides.
#[derive(Debug)]
enum Cipher {
    Aes256Gcm(Box<aes_gcm::AesGcmCipher>),
    HmacSha256(Box<hmac::HmacCipher>),
    Cleartext,
}

impl Cipher {
    /// Protects `text` in place and gives its tag.
    fn seal(&self, number: u64, associated: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        match self {
            Self::Aes256Gcm(cipher) => cipher.seal(number, associated, text),
            Self::HmacSha256(cipher) => cipher.seal(associated, text),
            Self::Cleartext => [0; TAG_BYTES],
        }
    }

    /// Checks `tag` and then makes `text` plain, in place.
    fn open(
        &self,
        number: u64,
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), OpenError> {
        let genuine = match self {
            Self::Aes256Gcm(cipher) => cipher.open(number, associated, text, tag),
            Self::HmacSha256(cipher) => cipher.open(associated, text, tag),
            Self::Cleartext => *tag == [0; TAG_BYTES],
        };
        if genuine { Ok(()) } else { Err(OpenError::Forged) }
    }
}

/// Packet numbers that share one key: 2^26 of them.
///
/// Datagrams stay below 64 KiB, so a key protects at most 2^38 blocks, far inside GCM's limits.
const GENERATION_SHIFT: u32 = 26;

const fn generation_of(number: u64) -> u64 {
    number >> GENERATION_SHIFT
}

/// The header's octets and the addressee: everything that the tag covers besides the frame.
///
/// The addressee is not on the wire. Sender and receiver each put it here, zero for "all", so a
/// datagram for one node does not open at another.
fn associated(header: &[u8; Header::BYTES], to: Option<NodeId>) -> [u8; Header::BYTES + 4] {
    let mut octets = [0; Header::BYTES + 4];
    octets[..Header::BYTES].copy_from_slice(header);
    octets[Header::BYTES..].copy_from_slice(&to.map_or(0, NodeId::get).to_be_bytes());
    octets
}

/// Seals what this life of this node sends.
#[derive(Debug)]
pub struct Sealer {
    secret: SessionSecret,
    cipher: Cipher,
    /// The generation that `cipher` belongs to.
    generation: u64,
    /// The next datagram's, except for what differs between datagrams.
    header: Header,
}

impl Sealer {
    /// A sealer for one life. Make only one for each: it owns the packet numbers, which must never
    /// repeat.
    pub fn new(cluster: &ClusterSecret, me: Member) -> Self {
        let secret = cluster.session(me);
        let cipher = secret.generation(0);
        let header = Header {
            suite: cluster.suite(),
            class: Class::Link,
            cluster_tag: cluster.tag(),
            epoch: 0,
            addressed: false,
            sender: me.node,
            session: me.boot,
            number: 0,
        };
        Self { secret, cipher, generation: 0, header }
    }

    /// Appends the sealed `frame` to `out` and says where it lies. With an addressee, only that node
    /// can open it. Does not allocate while `out` has room, except once every 2^26 datagrams.
    pub fn seal(
        &mut self,
        class: Class,
        to: Option<NodeId>,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        let header = Header { class, addressed: to.is_some(), ..self.header };
        self.header.number += 1;
        let head = header.encode();
        let start = out.len();
        out.extend_from_slice(&head);
        let text = out.len();
        out.extend_from_slice(frame);
        let tag =
            self.cipher_for(header.number).seal(header.number, &associated(&head, to), &mut out[text..]);
        out.extend_from_slice(&tag);
        start..out.len()
    }

    fn cipher_for(&mut self, number: u64) -> &Cipher {
        let generation = generation_of(number);
        if generation != self.generation {
            self.cipher = self.secret.generation(generation);
            self.generation = generation;
        }
        &self.cipher
    }

    /// Goes on at `number`, which lies ahead.
    #[cfg(test)]
    fn skip_to(&mut self, number: u64) {
        assert!(number >= self.header.number);
        self.header.number = number;
    }
}

/// A datagram taken apart; nothing about it is authenticated yet.
#[derive(Debug)]
pub struct Sealed<'d> {
    /// What it claims.
    pub header: Header,
    head: [u8; Header::BYTES],
    text: &'d mut [u8],
    tag: [u8; TAG_BYTES],
}

impl<'d> Sealed<'d> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// When it is too short or its header means nothing here.
    pub fn parse(datagram: &'d mut [u8]) -> Result<Self, HeaderError> {
        let short = HeaderError::TooShort { have: datagram.len() };
        let (head, rest) = datagram.split_first_chunk_mut::<{ Header::BYTES }>().ok_or(short)?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(short)?;
        Ok(Self { header: Header::decode(head)?, head: *head, text, tag: *tag })
    }

    /// Octets of the frame inside.
    pub fn frame_bytes(&self) -> usize {
        self.text.len()
    }

    /// Opens it without any state: for a session that is not (yet) known. Derives two keys, which
    /// costs some microseconds; nothing is remembered, so a replay opens again.
    ///
    /// # Errors
    /// [`OpenError::Forged`].
    pub fn open_once(self, cluster: &ClusterSecret, me: NodeId) -> Result<&'d mut [u8], OpenError> {
        let sender = Member { node: self.header.sender, boot: self.header.session };
        let cipher = cluster.session(sender).generation(generation_of(self.header.number));
        self.open(&cipher, me)
    }

    fn open(self, cipher: &Cipher, me: NodeId) -> Result<&'d mut [u8], OpenError> {
        let to = self.header.addressed.then_some(me);
        cipher.open(self.header.number, &associated(&self.head, to), self.text, &self.tag)?;
        Ok(self.text)
    }
}

/// Opens what one life of one other node sent, each datagram once.
#[derive(Debug)]
pub struct Opener {
    member: Member,
    secret: SessionSecret,
    /// The ciphers of two neighbouring generations; each has its place by its lowest bit. The window
    /// allows no number that needs a third.
    ciphers: [Option<(u64, Cipher)>; 2],
    window: ReplayWindow,
}

impl Opener {
    /// Opens datagrams of `member` with numbers above `number`; that one and all before it count as
    /// seen.
    pub fn after(cluster: &ClusterSecret, member: Member, number: u64) -> Self {
        Self {
            member,
            secret: cluster.session(member),
            ciphers: [None, None],
            window: ReplayWindow::after(number),
        }
    }

    /// Whose datagrams these are.
    pub const fn member(&self) -> Member {
        self.member
    }

    /// Opens a datagram of this session in place.
    ///
    /// The window is asked first, which bounds the generations that can be derived, and moved last,
    /// when the tag was right.
    ///
    /// # Errors
    /// The session is unchanged then.
    pub fn open<'d>(&mut self, sealed: Sealed<'d>, me: NodeId) -> Result<&'d mut [u8], OpenError> {
        let number = sealed.header.number;
        self.window.check(number)?;
        let generation = generation_of(number);
        let place = usize::from(generation & 1 == 1);
        let cipher = match &mut self.ciphers[place] {
            Some((have, cipher)) if *have == generation => &*cipher,
            other => &other.insert((generation, self.secret.generation(generation))).1,
        };
        let text = sealed.open(cipher, me)?;
        self.window.mark(number);
        Ok(text)
    }
}
