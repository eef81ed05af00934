//! Every frame against bytes written by hand, and against rubbish.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{
    node::{BootId, Member, NodeId},
    ring::Guarantee,
    ring_id::{RingId, RingSeq},
};

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn member(id: u32) -> Member {
    Member { node: node(id), boot: BootId(u64::from(id) << 56 | 0xb007) }
}

fn ring() -> RingId {
    RingId { seq: RingSeq(0x0102), rep: node(1), nonce: 0xaabb_ccdd }
}

const RING: [u8; 16] = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0xaa, 0xbb, 0xcc, 0xdd];

fn octets(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn check(frame: &Frame<'_>, encoded: &[u8], by_hand: &[u8]) {
    assert_eq!(encoded, by_hand);
    assert_eq!(Frame::decode(by_hand).as_ref(), Ok(frame));
    for end in 0..by_hand.len() {
        assert!(Frame::decode(&by_hand[..end]).is_err(), "cut to {end} octets");
    }
    if !matches!(frame, Frame::Part(_)) {
        assert!(Frame::decode(&octets(&[by_hand, &[0]])).is_err(), "one octet too many");
    }
}

fn encode(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

#[test]
fn token() {
    let token = Token {
        ring: ring(),
        token_seq: 7,
        seq: Seq(0x10),
        aru: Seq(0x0f),
        aru_setter: Some(node(2)),
        fcc: 3,
        backlog: 4,
        complete: 5,
        rtr: vec![RetransmitRange { ring: ring(), first: Seq(0x10), count: 1 }],
    };
    let numbers = [
        0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0, 0, 0, 2, 0, 0, 0, 3,
        0, 0, 0, 4, 0, 5, 0, 1,
    ];
    let range = [0, 0, 0, 0, 0, 0, 0, 0x10, 0, 1];
    let by_hand = octets(&[&[0, 1], &RING, &numbers, &RING, &range]);
    check(&Frame::Token(token.clone()), &encode(|out| token.encode(out)), &by_hand);
}

#[test]
fn regular() {
    let head =
        RegularHead { guarantee: Guarantee::Safe, count: 2, sender: node(3), ring: ring(), seq: Seq(9) };
    let fragment = Fragment { message: 1, offset: 2, total: 5 };
    let encoded = encode(|out| {
        head.encode(out);
        Entry::encode_head(out, None, 2);
        out.extend_from_slice(b"hi");
        Entry::encode_head(out, Some(fragment), 3);
        out.extend_from_slice(b"abc");
    });
    let by_hand = octets(&[
        &[1, 1, 1, 0, 0, 2, 0, 0, 0, 3],
        &RING,
        &[0, 0, 0, 0, 0, 0, 0, 9],
        &[0, 0, 0, 2],
        b"hi",
        &[1, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5],
        b"abc",
    ]);
    check(&Frame::Regular(Regular { head, octets: &by_hand }), &encoded, &by_hand);
    let entries: Vec<_> = Entries::new(&head, &by_hand).collect();
    let whole = Entry { fragment: None, octets: b"hi" };
    assert_eq!(entries, [whole, Entry { fragment: Some(fragment), octets: b"abc" }]);
}

#[test]
fn join() {
    let join =
        Join { ring_seq: RingSeq(8), proc: vec![member(1), member(2), member(3)], fail: vec![member(2)] };
    let one = |id| [0, 0, 0, id, id, 0, 0, 0, 0, 0, 0xb0, 0x07];
    let by_hand = octets(&[&[2, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 3], &one(1), &one(2), &one(3), &[0b010]]);
    check(&Frame::Join(join.clone()), &encode(|out| join.encode(out)), &by_hand);
    let mut beyond = by_hand.clone();
    *beyond.last_mut().unwrap() = 0b1000;
    assert!(Frame::decode(&beyond).is_err(), "a fourth of three members");
    let unsorted = octets(&[&[2, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2], &one(2), &one(1), &[0]]);
    assert_eq!(Frame::decode(&unsorted), Err(FrameError::Unsorted { kind: FrameKind::Join }));
}

#[test]
fn commit_token() {
    let mut held = Held::default();
    held.insert(1);
    held.insert(9);
    let report = CommitReport {
        old_ring: ring(),
        aru: Seq(3),
        delivered: Seq(2),
        stable: Seq(1),
        high_seen: Seq(13),
        obligations: vec![node(7)],
        held,
    };
    assert!([1, 2, 3, 5, 13].iter().all(|&seq| report.holds(Seq(seq))));
    assert!([4, 6, 12, 14, u64::MAX].iter().all(|&seq| !report.holds(Seq(seq))));
    let entries = vec![
        CommitEntry { member: member(1), report: Some(report) },
        CommitEntry { member: member(2), report: None },
    ];
    let token = CommitToken { ring: ring(), hop: 6, entries };
    let by_hand = octets(&[
        &[3, 1],
        &RING,
        &[0, 0, 0, 6, 0, 2],
        &[0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0xb0, 0x07, 1],
        &RING,
        &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 13],
        &[0, 1, 0, 0, 0, 7, 0, 2, 0b10, 0b10],
        &[0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0xb0, 0x07, 0],
    ]);
    check(&Frame::CommitToken(token.clone()), &encode(|out| token.encode(out)), &by_hand);
}

#[test]
fn notices_and_parts() {
    let ring = ring();
    let check_notice = |kind, frame: Frame<'_>, encoded: BytesMut| {
        check(&frame, &encoded, &octets(&[&[kind, 1], &RING]));
    };
    check_notice(4, Frame::MergeDetect(MergeDetect { ring }), encode(|out| MergeDetect { ring }.encode(out)));
    check_notice(5, Frame::HoldCancel(HoldCancel { ring }), encode(|out| HoldCancel { ring }.encode(out)));
    check_notice(6, Frame::Leave(Leave { ring }), encode(|out| Leave { ring }.encode(out)));
    let ack = TokenAck { ring, token_seq: 5 };
    let by_hand = octets(&[&[7, 1], &RING, &[0, 0, 0, 0, 0, 0, 0, 5]]);
    check(&Frame::TokenAck(ack), &encode(|out| ack.encode(out)), &by_hand);
    let part = Part { id: 1, index: 2, count: 3, octets: b"x" };
    check(&Frame::Part(part), &encode(|out| part.encode(out)), &[8, 1, 0, 0, 0, 1, 2, 3, b'x']);
}

#[test]
fn what_cannot_be_is_refused() {
    assert_eq!(Frame::decode(&[]), Err(FrameError::Empty { have: 0 }));
    assert_eq!(Frame::decode(&[9, 1]), Err(FrameError::UnknownKind(9)));
    assert_eq!(Frame::decode(&[0, 2]), Err(FrameError::Version { got: 2 }));
    // A count that promises more than there is costs no memory.
    let greedy = octets(&[&[2, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 128]]);
    assert!(matches!(Frame::decode(&greedy), Err(FrameError::Truncated { .. })));
    let too_many = octets(&[&[2, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0xff, 0xff]]);
    assert!(matches!(Frame::decode(&too_many), Err(FrameError::TooMany { count: 65535, max: 128, .. })));
}

proptest! {
    #[test]
    fn rubbish_never_panics_and_what_decodes_encodes_to_the_same(kind in 0_u8..10, body: Vec<u8>) {
        let octets = octets(&[&[kind, VERSION], &body]);
        let Ok(frame) = Frame::decode(&octets) else { return Ok(()) };
        let mut again = BytesMut::new();
        match &frame {
            Frame::Token(token) => token.encode(&mut again),
            Frame::Join(join) => join.encode(&mut again),
            Frame::CommitToken(token) => token.encode(&mut again),
            Frame::MergeDetect(notice) => notice.encode(&mut again),
            Frame::HoldCancel(notice) => notice.encode(&mut again),
            Frame::Leave(notice) => notice.encode(&mut again),
            Frame::TokenAck(ack) => ack.encode(&mut again),
            Frame::Part(part) => part.encode(&mut again),
            Frame::Regular(regular) => {
                let entries = Entries::new(&regular.head, regular.octets).count();
                prop_assert_eq!(entries, usize::from(regular.head.count));
                return Ok(());
            }
        }
        prop_assert_eq!(again.as_ref(), octets.as_slice());
    }
}
