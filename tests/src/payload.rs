//! What clients send: octets that name their sender and number, as far as the length allows.

use std::sync::OnceLock;

use bytes::Bytes;
use ipc::message::ClientId;

use crate::rng::Rng;

/// Messages at least this long carry the whole name; shorter ones its beginning.
pub const NAMED_BYTES_MIN: usize = 16;

/// Largest payload this module makes.
pub const BYTES_MAX: usize = 4 << 20;

/// The payload of message `number` of `client`.
pub fn payload(client: ClientId, number: u64, len: usize) -> Bytes {
    assert!(len <= BYTES_MAX, "a payload of {len} octets is above the simulator's limit");
    let mut octets = Vec::with_capacity(len.max(NAMED_BYTES_MIN));
    octets.extend_from_slice(&number.to_le_bytes());
    octets.extend_from_slice(&client.0.to_le_bytes());
    if let Some(rest) = len.checked_sub(NAMED_BYTES_MIN) {
        // Another place in the pool for each message, so that pieces put together wrongly show.
        let start = (number.wrapping_mul(4099) ^ client.0.wrapping_mul(131)) & 0xffff;
        let start = usize::try_from(start).expect("16 bits");
        octets.extend_from_slice(pool().get(start..start + rest).expect("the pool is large enough"));
    }
    octets.truncate(len);
    Bytes::from(octets)
}

/// The number in a payload long enough to carry it.
pub fn number(payload: &[u8]) -> Option<u64> {
    (payload.len() >= NAMED_BYTES_MIN).then_some(())?;
    payload.first_chunk().map(|octets| u64::from_le_bytes(*octets))
}

/// Random octets, made once.
fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut rng = Rng::new(0x706f_6f6c);
        (0..(BYTES_MAX + 0x1_0000) / 8).flat_map(|_| rng.next().to_le_bytes()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_differ_and_carry_their_number() {
        let one = payload(ClientId(3), 77, 5000);
        let two = payload(ClientId(3), 78, 5000);
        assert_eq!((number(&one), number(&two)), (Some(77), Some(78)));
        assert_ne!(one.slice(16..), two.slice(16..));
        assert_eq!(payload(ClientId(3), 0x0201, 2).as_ref(), [1, 2]);
        assert_eq!(number(&payload(ClientId(3), 1, 15)), None);
    }
}
