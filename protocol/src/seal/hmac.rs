//! The HMAC-SHA256 suite: authenticated, not encrypted. The tag is truncated to 128 bits, as RFC 4868
//! does.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::TAG_BYTES;

/// One key, ready to use: its two inner states are computed once.
pub(super) struct HmacCipher(Hmac<Sha256>);

impl HmacCipher {
    /// From a key of 32 octets; the rest of the material is not needed.
    pub(super) fn new(material: &[u8; 44]) -> Self {
        Self(Hmac::new_from_slice(&material[..32]).expect("HMAC takes keys of any length"))
    }

    pub(super) fn seal(&self, associated: &[u8], text: &[u8]) -> [u8; TAG_BYTES] {
        let whole = self.digest(associated, text).finalize().into_bytes();
        *whole.first_chunk().expect("SHA-256 gives 32 octets")
    }

    pub(super) fn open(&self, associated: &[u8], text: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.digest(associated, text).verify_truncated_left(tag).is_ok()
    }

    /// The associated data has one length in all datagrams, so the two parts cannot be shifted.
    fn digest(&self, associated: &[u8], text: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(associated).chain_update(text)
    }
}

impl std::fmt::Debug for HmacCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacCipher(..)")
    }
}
