//! Frame to datagram and back: sessions, keys, replay windows.

use zeroize::Zeroizing;

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
