//! From the cluster's key to the key of one generation of one session: HKDF-SHA256 (RFC 5869).
//!
//! ```text
//! root       = Extract(salt = cluster name, key)
//! session    = Expand(root,    "totem session 1"    | suite u8 | sender u32 | boot u64, 32)
//! generation = Expand(session, "totem generation 1" | number >> 26 as u64, 44) = key 32 | iv 12
//! tag        = first two octets of Expand(Extract(salt = "totem cluster tag 1", cluster name), "", 2)
//! ```
//!
//! Numbers are big-endian. The suite is part of it, so no key serves two algorithms. Keys are wiped
//! when they are dropped.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::{Cipher, Protection, Suite, aes_gcm::AesGcmCipher, hmac::HmacCipher};
use crate::node::Member;

/// What all members of one cluster share.
pub struct ClusterSecret {
    suite: Suite,
    tag: u16,
    root: Zeroizing<[u8; 32]>,
}

impl ClusterSecret {
    /// Derives the root from the key and the cluster's name. Cleartext has no key; its root is never
    /// used.
    pub fn new(protection: &Protection, cluster_name: &str) -> Self {
        let key = protection.key().map_or(&[][..], |key| key.0.as_slice());
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(cluster_name.as_bytes()), key);
        let mut root = Zeroizing::new([0; 32]);
        root.copy_from_slice(&extracted);
        extracted.as_mut_slice().zeroize();
        Self { suite: protection.suite(), tag: cluster_tag(cluster_name), root }
    }

    /// The cluster's suite.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The cluster's tag in headers.
    pub const fn tag(&self) -> u16 {
        self.tag
    }

    /// The secret of one life of one node.
    pub(super) fn session(&self, member: Member) -> SessionSecret {
        let mut info = [0; 13];
        info[0] = self.suite.code();
        info[1..5].copy_from_slice(&member.node.get().to_be_bytes());
        info[5..].copy_from_slice(&member.boot.0.to_be_bytes());
        SessionSecret { suite: self.suite, secret: expand(&self.root, &[b"totem session 1", &info]) }
    }
}

impl std::fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterSecret").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// What one life of one node derives its ciphers from.
pub(super) struct SessionSecret {
    suite: Suite,
    secret: Zeroizing<[u8; 32]>,
}

impl SessionSecret {
    /// The cipher of one generation.
    pub(super) fn generation(&self, generation: u64) -> Cipher {
        let material = || self.material(generation);
        match self.suite {
            Suite::Aes256Gcm => Cipher::Aes256Gcm(Box::new(AesGcmCipher::new(&material()))),
            Suite::HmacSha256 => Cipher::HmacSha256(Box::new(HmacCipher::new(&material()))),
            Suite::Cleartext => Cipher::Cleartext,
        }
    }

    /// Key and IV of one generation.
    pub(super) fn material(&self, generation: u64) -> Zeroizing<[u8; 44]> {
        expand(&self.secret, &[b"totem generation 1", &generation.to_be_bytes()])
    }
}

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

fn cluster_tag(cluster_name: &str) -> u16 {
    let mut tag = [0; 2];
    Hkdf::<Sha256>::new(Some(b"totem cluster tag 1"), cluster_name.as_bytes())
        .expand(&[], &mut tag)
        .expect("two octets are within HKDF's limit");
    u16::from_be_bytes(tag)
}

fn expand<const N: usize>(secret: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut derived = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::from_prk(secret)
        .expect("32 octets are a key for SHA-256")
        .expand_multi_info(info, derived.as_mut_slice())
        .expect("a few dozen octets are within HKDF's limit");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node::{BootId, NodeId},
        seal::ClusterKey,
    };

    #[test]
    fn other_names_give_other_tags() {
        assert_ne!(cluster_tag("alpha"), cluster_tag("beta"));
    }

    #[test]
    fn every_part_of_the_derivation_matters() {
        let derive = |suite: fn(ClusterKey) -> Protection, key: u8, name: &str, node, boot, generation| {
            let protection = suite(ClusterKey(Zeroizing::new(vec![key; 32])));
            let member = Member { node: NodeId::new(node).unwrap(), boot: BootId(boot) };
            *ClusterSecret::new(&protection, name).session(member).material(generation)
        };
        let all = [
            derive(Protection::Aes256Gcm, 1, "a", 1, 1, 0),
            derive(Protection::HmacSha256, 1, "a", 1, 1, 0),
            derive(Protection::Aes256Gcm, 2, "a", 1, 1, 0),
            derive(Protection::Aes256Gcm, 1, "b", 1, 1, 0),
            derive(Protection::Aes256Gcm, 1, "a", 2, 1, 0),
            derive(Protection::Aes256Gcm, 1, "a", 1, 2, 0),
            derive(Protection::Aes256Gcm, 1, "a", 1, 1, 1),
        ];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(one[..32], other[..32]);
                assert_ne!(one[32..], other[32..]);
            }
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let protection = Protection::Aes256Gcm(ClusterKey(Zeroizing::new(vec![0x5a; 32])));
        let secret = ClusterSecret::new(&protection, "a");
        let member = Member { node: NodeId::new(1).unwrap(), boot: BootId(1) };
        assert_eq!(format!("{secret:?}"), "ClusterSecret { suite: Aes256Gcm, .. }");
        assert_eq!(format!("{:?}", secret.session(member)), "SessionSecret(..)");
        assert_eq!(format!("{protection:?}"), "Aes256Gcm(ClusterKey(..))");
    }
}
