//! How values become octets: where a value is written to, and fields at fixed offsets.
//!
//! All integers are in the host's byte order, which is little endian on every machine that this
//! crate builds for. Octets between fields are written as zeros and never read.

use super::cpg::GroupName;

/// Where a message is written to, front to back: a shared-memory ring, a datagram, a vector.
pub trait Sink {
    /// Appends these octets.
    fn put(&mut self, octets: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }
}

/// A value that is sent as one message.
pub trait Encode {
    /// Octets of the whole message, header included.
    fn encoded_bytes(&self) -> usize;

    /// Puts exactly [`Self::encoded_bytes`] octets. Payloads are put as they are, without a copy
    /// in between.
    fn encode(&self, sink: &mut impl Sink);
}

/// A message that was encoded before.
impl Encode for [u8] {
    fn encoded_bytes(&self) -> usize {
        self.len()
    }

    fn encode(&self, sink: &mut impl Sink) {
        sink.put(self);
    }
}

/// The fixed part of a message: zeros, and fields at offsets known when the program is compiled.
pub(super) struct Fixed<const N: usize>([u8; N]);

impl<const N: usize> Fixed<N> {
    pub(super) const fn new() -> Self {
        Self([0; N])
    }

    /// The fixed part of a request of `bytes` octets in all, with its 16-octet header.
    pub(super) fn request(id: i32, bytes: usize) -> Self {
        Self::new().i32(0, id).u32(8, length(bytes))
    }

    /// The fixed part of a reply or event of `bytes` octets in all, with its 24-octet header.
    pub(super) fn response(id: i32, bytes: usize, error: super::CsError) -> Self {
        Self::request(id, bytes).i32(16, error as i32)
    }

    pub(super) fn i32(self, offset: usize, value: i32) -> Self {
        self.octets(offset, &value.to_ne_bytes())
    }

    pub(super) fn u32(self, offset: usize, value: u32) -> Self {
        self.octets(offset, &value.to_ne_bytes())
    }

    pub(super) fn u64(self, offset: usize, value: u64) -> Self {
        self.octets(offset, &value.to_ne_bytes())
    }

    /// A `mar_cpg_name_t`: length at 0, 128 octets at 8.
    pub(super) fn name(self, offset: usize, name: &GroupName) -> Self {
        let octets = name.as_bytes();
        self.u32(offset, length(octets.len())).octets(offset + 8, octets)
    }

    pub(super) fn octets(mut self, offset: usize, octets: &[u8]) -> Self {
        self.0[offset..offset + octets.len()].copy_from_slice(octets);
        self
    }

    pub(super) fn put(&self, sink: &mut impl Sink) {
        sink.put(&self.0);
    }
}

/// A length as it stands in a message. Messages are bounded far below 4 GiB by the channels that
/// carry them; a longer one would be refused there.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The four octets at `offset`, if they are there.
pub(super) fn u32_at(message: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*message.get(offset..)?.first_chunk()?))
}

/// The four octets at `offset` with a sign, if they are there.
pub(super) fn i32_at(message: &[u8], offset: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(*message.get(offset..)?.first_chunk()?))
}

/// The eight octets at `offset`, if they are there.
pub(super) fn u64_at(message: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*message.get(offset..)?.first_chunk()?))
}
