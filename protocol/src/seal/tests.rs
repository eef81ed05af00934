//! Sealing and opening together.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::node::BootId;

const HELLO: &[u8] = b"hello, ring";

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn sender() -> Member {
    Member { node: node(3), boot: BootId(0x0123_4567_89ab_cdef) }
}

fn key(first: u8) -> ClusterKey {
    ClusterKey(Zeroizing::new((first..first + 32).collect()))
}

fn suites() -> [Protection; 3] {
    [Protection::Aes256Gcm(key(0)), Protection::HmacSha256(key(0)), Protection::Cleartext]
}

fn cluster(protection: &Protection) -> ClusterSecret {
    ClusterSecret::new(protection, "alpha")
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// One side that seals and one, node 9, that opens what comes after packet 0.
struct Pair {
    cluster: ClusterSecret,
    sealer: Sealer,
    opener: Opener,
}

impl Pair {
    fn new(protection: &Protection) -> Self {
        let cluster = cluster(protection);
        let mut sealer = Sealer::new(&cluster, sender());
        let opener = Opener::after(&cluster, sender(), 0);
        sealer.skip_to(1);
        Self { cluster, sealer, opener }
    }

    fn seal(&mut self, to: Option<NodeId>) -> Vec<u8> {
        let mut datagram = Vec::new();
        self.sealer.seal(Class::Frame, to, HELLO, &mut datagram);
        datagram
    }

    fn open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut datagram = datagram.to_vec();
        let sealed = Sealed::parse(&mut datagram).expect("a header");
        self.opener.open(sealed, node(9)).map(|frame| frame.to_vec())
    }
}

#[test]
fn keys_are_derived_as_documented() {
    // Computed with an HMAC-SHA256 of another implementation.
    let secret = |protection| cluster(&protection).session(sender());
    let aes = secret(Protection::Aes256Gcm(key(0)));
    assert_eq!(
        aes.material(0).as_slice(),
        hex("68451a21df525c6a5bb3ef12d40d38b77f89ddd1e86b0bd347d7704c7a61a6935ebf5bc0a457cf48deb88cfb")
    );
    assert_eq!(
        aes.material(1).as_slice(),
        hex("75a48eb7201bfa6edfd3f4a77b49b4cb6dced2196e36363c2873035ac33cbf1e100d31540619392ca4f0a746")
    );
    let hmac = secret(Protection::HmacSha256(key(0)));
    assert_eq!(
        hmac.material(0).as_slice(),
        hex("9f1378e7b5f7e84aaedcc9eb66e5fe03519a1003258c0732b00885491d299e1b5700ba6dfa3333b783c3e537")
    );
}

#[test]
fn datagrams_are_these_octets() {
    // Computed with AES, GHASH and HMAC of other implementations: key 00..1f, cluster "alpha", node 3.
    let mut datagram = Vec::new();
    let mut aes = Sealer::new(&cluster(&Protection::Aes256Gcm(key(0))), sender());
    aes.skip_to((1 << 26) + 7);
    aes.seal(Class::Frame, Some(node(9)), HELLO, &mut datagram);
    let header = "1101474b00010000000000030123456789abcdef0000000004000007";
    assert_eq!(
        datagram,
        hex(&format!("{header}{}{}", "1d769235385615de3b58ba", "364b451d0b318d1a97347ff6f28de981"))
    );

    datagram.clear();
    let mut hmac = Sealer::new(&cluster(&Protection::HmacSha256(key(0))), sender());
    hmac.seal(Class::Frame, Some(node(9)), HELLO, &mut datagram);
    assert_eq!(datagram[..28], hex("1201474b00010000000000030123456789abcdef0000000000000000"));
    assert_eq!(&datagram[28..39], HELLO);
    assert_eq!(datagram[39..], hex("808baa9144cfa4b826a4db478f1bcd16"));

    datagram.clear();
    let mut cleartext = Sealer::new(&cluster(&Protection::Cleartext), sender());
    cleartext.seal(Class::Link, None, HELLO, &mut datagram);
    assert_eq!(datagram[..28], hex("1000474b00000000000000030123456789abcdef0000000000000000"));
    assert_eq!(&datagram[28..39], HELLO);
    assert_eq!(datagram[39..], [0; 16]);
}

#[test]
fn what_is_sealed_opens_once() {
    for protection in suites() {
        let mut pair = Pair::new(&protection);
        for to in [None, Some(node(9))] {
            let datagram = pair.seal(to);
            assert_eq!(datagram.len(), HELLO.len() + OVERHEAD_BYTES);
            assert_eq!(pair.open(&datagram).unwrap(), HELLO);
            let number = pair.opener.window.highest();
            assert_eq!(pair.open(&datagram), Err(OpenError::Replay(ReplayError::Seen { number })));
        }
    }
}

#[test]
fn empty_and_largest_frames_survive() {
    for protection in suites() {
        for length in [0, 1, 15, 16, 17, 1_428, 65_463] {
            let mut pair = Pair::new(&protection);
            let frame: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut datagram = Vec::new();
            let place = pair.sealer.seal(Class::Frame, None, &frame, &mut datagram);
            assert_eq!(place, 0..length + OVERHEAD_BYTES);
            assert_eq!(pair.open(&datagram).unwrap(), frame);
        }
    }
}

#[test]
fn only_the_aes_suite_hides_the_frame() {
    let hidden = suites().map(|protection| {
        let datagram = Pair::new(&protection).seal(None);
        !datagram.windows(HELLO.len()).any(|window| window == HELLO)
    });
    assert_eq!(hidden, [true, false, false]);
}

#[test]
fn truncation_at_every_length_is_noticed() {
    for protection in &suites()[..2] {
        let mut pair = Pair::new(protection);
        let datagram = pair.seal(Some(node(9)));
        for length in 0..datagram.len() {
            let mut cut = datagram[..length].to_vec();
            match Sealed::parse(&mut cut) {
                Err(error) => {
                    assert!(length < OVERHEAD_BYTES, "{length}");
                    assert_eq!(error, HeaderError::TooShort { have: length });
                }
                Ok(sealed) => {
                    assert_eq!(pair.opener.open(sealed, node(9)), Err(OpenError::Forged), "{length}");
                }
            }
        }
        let longer: Vec<u8> = datagram.iter().copied().chain([0]).collect();
        assert_eq!(pair.open(&longer), Err(OpenError::Forged));
        assert_eq!(pair.open(&datagram).unwrap(), HELLO, "failures change nothing");
    }
}

#[test]
fn each_single_flipped_bit_is_noticed() {
    for protection in &suites()[..2] {
        let mut pair = Pair::new(protection);
        let datagram = pair.seal(None);
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = match Sealed::parse(&mut flipped) {
                Err(_) => continue,
                Ok(sealed) => pair.opener.open(sealed, node(9)).map(|frame| frame.to_vec()),
            };
            assert!(opened.is_err(), "bit {bit} of {protection:?}");
        }
        assert_eq!(pair.open(&datagram).unwrap(), HELLO, "failures change nothing");
    }
}

#[test]
fn a_datagram_for_one_node_does_not_open_at_another() {
    for protection in &suites()[..2] {
        let mut pair = Pair::new(protection);
        let mut for_eight = pair.seal(Some(node(8)));
        assert_eq!(pair.open(&for_eight), Err(OpenError::Forged));
        // Claiming that it is for all does not help.
        for_eight[5] = 0;
        assert_eq!(pair.open(&for_eight), Err(OpenError::Forged));
    }
}

#[test]
fn other_keys_names_sessions_and_suites_do_not_open_it() {
    for (protection, other_key) in [
        (Protection::Aes256Gcm(key(0)), Protection::Aes256Gcm(key(1))),
        (Protection::HmacSha256(key(0)), Protection::HmacSha256(key(1))),
    ] {
        let datagram = Pair::new(&protection).seal(None);
        let alone = |secret: &ClusterSecret| {
            let mut datagram = datagram.clone();
            let sealed = Sealed::parse(&mut datagram).unwrap();
            sealed.open_once(secret, node(9)).map(|frame| frame.to_vec())
        };
        assert_eq!(alone(&cluster(&protection)).unwrap(), HELLO);
        assert_eq!(alone(&cluster(&other_key)), Err(OpenError::Forged));
        assert_eq!(alone(&ClusterSecret::new(&protection, "beta")), Err(OpenError::Forged));
        for other in suites().iter().filter(|other| other.suite() != protection.suite()) {
            assert_eq!(alone(&cluster(other)), Err(OpenError::Forged));
        }
        for other in [Member { node: node(4), ..sender() }, Member { boot: BootId(7), ..sender() }] {
            let mut datagram = datagram.clone();
            let sealed = Sealed::parse(&mut datagram).unwrap();
            let mut opener = Opener::after(&cluster(&protection), other, 0);
            assert_eq!(opener.open(sealed, node(9)), Err(OpenError::Forged));
        }
    }
}

#[test]
fn a_forged_far_number_does_not_move_the_window() {
    let mut pair = Pair::new(&suites()[0]);
    let first = pair.seal(None);
    let mut forged = first.clone();
    for ahead in [2, 70_000, 1 << 20, 1 << 26, u64::MAX] {
        forged[20..28].copy_from_slice(&u64::to_be_bytes(ahead));
        assert!(pair.open(&forged).is_err());
    }
    assert_eq!(pair.opener.window.highest(), 0);
    assert_eq!(pair.open(&first).unwrap(), HELLO);
}

#[test]
fn far_numbers_are_refused_before_a_key_is_derived() {
    let mut pair = Pair::new(&suites()[0]);
    pair.sealer.skip_to((1 << 26) + 5);
    let far = pair.seal(None);
    let number = (1 << 26) + 5;
    assert_eq!(pair.open(&far), Err(OpenError::Replay(ReplayError::FarAhead { number, highest: 0 })));
    assert!(pair.opener.ciphers.iter().all(Option::is_none));
}

#[test]
fn generations_change_under_loss_and_reordering() {
    for protection in suites() {
        let mut pair = Pair::new(&protection);
        let boundary = 1_u64 << 26;
        pair.opener = Opener::after(&pair.cluster, sender(), boundary - 1_000);
        pair.sealer.skip_to(boundary - 40);
        let datagrams: Vec<Vec<u8>> = (0..80).map(|_| pair.seal(None)).collect();
        // Every third is lost; the rest comes in blocks of seven, each backwards, around the boundary.
        let arrived: Vec<usize> = (0..80).filter(|at| at % 3 != 0).collect();
        let order: Vec<usize> = arrived.chunks(7).flat_map(|block| block.iter().rev().copied()).collect();
        for at in &order {
            assert_eq!(pair.open(&datagrams[*at]).unwrap(), HELLO, "{at}");
        }
        for at in &order {
            assert!(matches!(pair.open(&datagrams[*at]), Err(OpenError::Replay(_))), "{at}");
        }
        // One from before the boundary still opens long after it.
        assert_eq!(pair.open(&datagrams[0]).unwrap(), HELLO);
        // And the next generation but one has the place of the first.
        for generation in 2..5 {
            let number = generation * boundary + 1;
            pair.opener = Opener { window: ReplayWindow::after(number - 1), ..pair.opener };
            pair.sealer.skip_to(number);
            let datagram = pair.seal(None);
            assert_eq!(pair.open(&datagram).unwrap(), HELLO);
        }
    }
}

#[test]
fn no_key_and_nonce_repeat() {
    // Across senders, lives, generations and addressees; the nonce is what the cipher is given.
    let cluster = cluster(&suites()[0]);
    let mut seen = BTreeSet::new();
    for id in 1..4 {
        for boot in 0..3 {
            let member = Member { node: node(id), boot: BootId(boot) };
            let secret = cluster.session(member);
            let mut sealer = Sealer::new(&cluster, member);
            for start in [0, (1 << 26) - 10, (2 << 26) - 10] {
                sealer.skip_to(start);
                for turn in 0..20 {
                    let mut datagram = Vec::new();
                    let to = (turn % 2 == 0).then(|| node(9));
                    sealer.seal(Class::Frame, to, HELLO, &mut datagram);
                    let number = Sealed::parse(&mut datagram).unwrap().header.number;
                    let material = secret.material(number >> 26);
                    let nonce = aes_gcm::AesGcmCipher::new(&material).nonce(number);
                    assert!(seen.insert((material[..32].to_vec(), nonce)), "{member} packet {number}");
                }
            }
        }
    }
    assert_eq!(seen.len(), 3 * 3 * 3 * 20);
}

#[test]
fn sealing_appends_without_gaps_and_reuses_room() {
    let mut pair = Pair::new(&suites()[0]);
    let mut out = Vec::new();
    let first = pair.sealer.seal(Class::Frame, None, HELLO, &mut out);
    let second = pair.sealer.seal(Class::Frame, None, HELLO, &mut out);
    assert_eq!((first.start, first.end, second.end), (0, second.start, out.len()));
    let (place, room) = (out.as_ptr(), out.capacity());
    out.clear();
    pair.sealer.seal(Class::Frame, None, HELLO, &mut out);
    assert_eq!((out.as_ptr(), out.capacity()), (place, room));
}

proptest! {
    #[test]
    fn any_octets_are_refused_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let cluster = cluster(&suites()[0]);
        let mut opener = Opener::after(&cluster, sender(), 0);
        let mut octets = octets;
        if let Ok(sealed) = Sealed::parse(&mut octets) {
            prop_assert!(opener.open(sealed, node(9)).is_err());
        }
    }

    #[test]
    fn any_frame_behind_a_right_header_is_refused(
        text in proptest::collection::vec(any::<u8>(), 16..200),
        number in 0..100u64,
        addressed: bool,
    ) {
        for protection in &suites()[..2] {
            let mut pair = Pair::new(protection);
            let mut datagram = pair.seal(addressed.then(|| node(9)))[..28].to_vec();
            datagram[20..28].copy_from_slice(&number.to_be_bytes());
            datagram.extend_from_slice(&text);
            prop_assert!(pair.open(&datagram).is_err());
        }
    }

    #[test]
    fn each_opens_exactly_once_in_any_order(
        order in Just((0..40usize).collect::<Vec<_>>()).prop_shuffle(),
        again in Just((0..40usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut pair = Pair::new(&suites()[0]);
        let datagrams: Vec<Vec<u8>> = (0..40).map(|_| pair.seal(None)).collect();
        for at in order {
            prop_assert!(pair.open(&datagrams[at]).is_ok());
        }
        for at in again {
            prop_assert!(pair.open(&datagrams[at]).is_err());
        }
    }
}
