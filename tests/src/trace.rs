//! A run's fingerprint: equal for equal runs.

/// A running 64-bit digest of everything that happened. Not cryptographic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trace {
    digest: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Trace {
    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.digest = (self.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// Adds octets with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.number(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
        }
        for octet in words.remainder() {
            self.number(u64::from(*octet));
        }
    }

    /// The digest so far.
    pub fn digest(self) -> u64 {
        self.digest
    }
}

/// The digest of one piece.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut trace = Trace::default();
    trace.bytes(bytes);
    trace.digest()
}
