//! The AES-256-GCM suite. Another implementation of the cipher would replace this file.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, array::Array},
};
use zeroize::Zeroizing;

use super::TAG_BYTES;

/// One key with its initialisation vector. The nonce is the vector XOR the packet number.
pub(super) struct AesGcmCipher {
    cipher: Aes256Gcm,
    iv: Zeroizing<[u8; 12]>,
}

impl AesGcmCipher {
    /// From a key of 32 octets and a vector of 12.
    pub(super) fn new(material: &[u8; 44]) -> Self {
        let (key, rest) = material.split_first_chunk::<32>().expect("44 is more than 32");
        let iv = rest.first_chunk::<12>().expect("44 less 32 is 12");
        Self { cipher: Aes256Gcm::new(key.into()), iv: Zeroizing::new(*iv) }
    }

    pub(super) fn seal(&self, number: u64, associated: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        self.cipher
            .encrypt_inout_detached(&Array(self.nonce(number)), associated, text.into())
            .expect("a datagram is far below GCM's 64 GiB")
            .into()
    }

    pub(super) fn open(
        &self,
        number: u64,
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        self.cipher
            .decrypt_inout_detached(&Array(self.nonce(number)), associated, text.into(), &Array(*tag))
            .is_ok()
    }

    pub(super) fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = *self.iv;
        for (octet, bits) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *octet ^= bits;
        }
        nonce
    }
}

impl std::fmt::Debug for AesGcmCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AesGcmCipher(..)")
    }
}
