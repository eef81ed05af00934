//! Layouts against octets put together by hand from the offsets of corosync's structures.

use bytes::Bytes;

use super::*;
use crate::message::{self, Encode, Incoming, MessageError, Service};

/// Octets with fields at offsets; `garbage` is what the padding holds.
struct Hand {
    octets: Vec<u8>,
}

impl Hand {
    fn new(bytes: usize, garbage: u8) -> Self {
        Self { octets: vec![garbage; bytes] }
    }

    fn u32(mut self, offset: usize, value: u32) -> Self {
        self.octets[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(mut self, offset: usize, value: u64) -> Self {
        self.octets[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn octets(mut self, offset: usize, octets: &[u8]) -> Self {
        self.octets[offset..offset + octets.len()].copy_from_slice(octets);
        self
    }

    fn request(id: u32, bytes: u32) -> Self {
        Self::new(bytes as usize, 0xA5).u32(0, id).u32(8, bytes)
    }

    fn response(id: u32, bytes: u32) -> Self {
        Self::new(bytes as usize, 0).u32(0, id).u32(8, bytes).u32(16, 1)
    }

    fn decode(self) -> Request {
        match Incoming::decode(Service::Cpg, self.octets.into()) {
            Ok(Incoming::Request(message::Request::Cpg(request))) => request,
            other => panic!("{other:?}"),
        }
    }

    fn refused(self) -> MessageError {
        Incoming::decode(Service::Cpg, self.octets.into()).expect_err("it is wrong")
    }
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut octets = Vec::new();
    value.encode(&mut octets);
    assert_eq!(octets.len(), value.encoded_bytes(), "announced and written size");
    octets
}

fn name(octets: &[u8]) -> GroupName {
    GroupName::new(octets).expect("short enough")
}

fn address(nodeid: u32, pid: u32, reason: Reason) -> Address {
    Address { nodeid, pid, reason }
}

#[test]
fn requests_are_read_at_corosyncs_offsets_and_padding_is_ignored() {
    let crmd = name(b"crmd\0");
    let cases = [
        (
            Hand::request(0, 168).u32(16, 5).octets(24, b"crmd\0").u32(152, 77).u32(160, 1),
            Request::Join { group: Some(crmd), pid: 77, flags: 1 },
        ),
        (Hand::request(1, 160).u32(16, 0).u32(152, 77), Request::Leave { group: Some(name(b"")), pid: 77 }),
        (
            Hand::request(2, 43).u32(24, 2).u32(32, 3).octets(40, b"abc"),
            Request::Multicast { guarantee: 2, message: Bytes::from_static(b"abc") },
        ),
        (
            Hand::request(3, 152).u32(16, 128).octets(24, &[7; 128]),
            Request::MembershipGet { group: Some(name(&[7; 128])) },
        ),
        (Hand::request(4, 16), Request::LocalGet),
        (
            Hand::request(5, 160).u32(16, 129).u32(152, 2),
            Request::IterationInitialize { group: None, kind: Some(IterationKind::OneGroup) },
        ),
        (
            Hand::request(5, 160).u32(16, u32::MAX).u32(152, 4),
            Request::IterationInitialize { group: None, kind: None },
        ),
        (Hand::request(6, 24).u64(16, 1 << 40), Request::IterationNext { handle: 1 << 40 }),
        (Hand::request(7, 24).u64(16, 9), Request::IterationFinalize { handle: 9 }),
        (Hand::request(8, 16), Request::Finalize),
        (
            Hand::request(12, 60).u32(24, 3).u32(32, 2_000_000).u32(40, 4).u32(48, 3).octets(56, b"tail"),
            Request::PartialMulticast {
                guarantee: 3,
                message_bytes: 2_000_000,
                kind: Some(Fragment::Last),
                fragment: Bytes::from_static(b"tail"),
            },
        ),
    ];
    for (octets, expected) in cases {
        assert_eq!(octets.decode(), expected);
    }
}

#[test]
fn zero_copy_requests_are_the_servers() {
    let decode = |hand: Hand| match Incoming::decode(Service::Cpg, hand.octets.into()) {
        Ok(Incoming::ZeroCopy(request)) => request,
        other => panic!("{other:?}"),
    };
    let path = Bytes::from_static(b"/dev/shm/corosync_zerocopy-abc");
    assert_eq!(
        decode(Hand::request(9, 152).u64(16, 5056).octets(24, &path).octets(24 + path.len(), &[0])),
        ZeroCopy::Allocate { map_bytes: 5056, path }
    );
    assert_eq!(decode(Hand::request(10, 32).u64(16, 5056).u64(24, 3)), ZeroCopy::Free { token: 3 });
    assert_eq!(decode(Hand::request(11, 24).u64(16, 3)), ZeroCopy::Execute { token: 3 });
    // Without a NUL the path ends with its field.
    let unterminated = decode(Hand::request(9, 152).u64(16, 56).octets(24, &[b'x'; 128]));
    assert_eq!(unterminated, ZeroCopy::Allocate { map_bytes: 56, path: Bytes::from_static(&[b'x'; 128]) });
}

#[test]
fn a_request_survives_its_own_encoding() {
    let group = Some(name(b"group"));
    let message = Bytes::from_static(b"payload");
    let requests = [
        Request::Join { group, pid: 1, flags: 1 },
        Request::Leave { group, pid: 1 },
        Request::Multicast { guarantee: 2, message: message.clone() },
        Request::MembershipGet { group: None },
        Request::LocalGet,
        Request::IterationInitialize { group, kind: Some(IterationKind::All) },
        Request::IterationNext { handle: 5 },
        Request::IterationFinalize { handle: 5 },
        Request::Finalize,
        Request::PartialMulticast {
            guarantee: 2,
            message_bytes: 99,
            kind: Some(Fragment::First),
            fragment: message,
        },
    ];
    for request in requests {
        assert_eq!(Hand { octets: encoded(&request) }.decode(), request);
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    assert_eq!(
        Hand::request(2, 43).u32(32, 4).refused(),
        MessageError::Truncated { id: 2, need: 44, have: 43 }
    );
    assert_eq!(
        Hand::request(12, 56).u32(40, u32::MAX).refused(),
        MessageError::Truncated { id: 12, need: 56 + u32::MAX as usize, have: 56 }
    );
    assert_eq!(Hand::request(0, 167).refused(), MessageError::Truncated { id: 0, need: 168, have: 167 });
    assert_eq!(Hand::new(15, 0).refused(), MessageError::Truncated { id: 0, need: 16, have: 15 });
    for size in [0, 15, 17, u32::MAX, i32::MIN.cast_unsigned()] {
        let refused = Hand::request(4, 16).u32(8, size).refused();
        assert_eq!(refused, MessageError::Size { size: size.cast_signed(), have: 16 });
    }
    let big = ATOMIC_MESSAGE_BYTES_MAX as u32 + 1;
    assert_eq!(
        Hand::request(2, 40 + big).u32(32, big).refused(),
        MessageError::TooBig { bytes: big as usize, max: ATOMIC_MESSAGE_BYTES_MAX }
    );
    assert_eq!(Hand::request((-3_i32).cast_unsigned(), 16).refused(), MessageError::Goodbye);
}

#[test]
fn unknown_ids_are_unknown_and_not_wrong() {
    for id in [13, 100, u32::MAX, i32::MIN.cast_unsigned()] {
        let decoded = Incoming::decode(Service::Cpg, Hand::request(id, 16).octets.into());
        assert_eq!(decoded, Ok(Incoming::Request(message::Request::Unknown)));
    }
}

#[test]
fn every_prefix_of_every_request_is_answered_without_a_panic() {
    for id in 0..14 {
        for garbage in [0_u8, 1, 2, 0x7F, 0x80, 0xFF] {
            for bytes in 0..260_u32 {
                let octets = Hand::new(bytes as usize, garbage).octets;
                drop(Incoming::decode(Service::Cpg, octets.into()));
                if bytes >= 16 {
                    let octets = Hand::new(bytes as usize, garbage).u32(0, id).u32(8, bytes).octets;
                    drop(Incoming::decode(Service::Cpg, octets.clone().into()));
                    drop(message::Event::decode(Service::Cpg, octets.into()));
                }
            }
        }
    }
}

#[test]
fn replies_stand_at_corosyncs_offsets() {
    assert_eq!(encoded(&Reply::Join(CsError::Exist)), Hand::response(0, 24).u32(16, 14).octets);
    assert_eq!(encoded(&Reply::Leave(CsError::Ok)), Hand::response(1, 24).octets);
    assert_eq!(encoded(&Reply::LocalGet { nodeid: 3 }), Hand::response(7, 32).u32(24, 3).octets);
    assert_eq!(
        encoded(&Reply::IterationInitialize(Ok(1 << 33))),
        Hand::response(9, 32).u64(24, 1 << 33).octets
    );
    assert_eq!(
        encoded(&Reply::IterationInitialize(Err(CsError::InvalidParam))),
        Hand::response(9, 32).u32(16, 7).octets
    );
    assert_eq!(
        encoded(&Reply::IterationNext(Ok((name(b"g"), address(2, 30, Reason::Undefined))))),
        Hand::response(10, 168).u32(24, 1).octets(32, b"g").u32(160, 2).u32(164, 30).octets
    );
    assert_eq!(
        encoded(&Reply::IterationNext(Err(CsError::NoSections))),
        Hand::response(10, 168).u32(16, 27).octets
    );
    assert_eq!(
        encoded(&Reply::IterationFinalize(CsError::Library)),
        Hand::response(11, 24).u32(16, 2).octets
    );
    assert_eq!(encoded(&Reply::Finalize(CsError::Ok)), Hand::response(12, 24).octets);
    assert_eq!(encoded(&Reply::ZeroCopyBuffer(CsError::Ok)), Hand::response(0, 24).octets);
    assert_eq!(encoded(&Reply::ZeroCopyExecute(CsError::NotExist)), Hand::response(2, 24).u32(16, 12).octets);
    assert_eq!(
        encoded(&Reply::PartialMulticast(CsError::Interrupt)),
        Hand::response(18, 24).u32(16, 16).octets
    );
    assert_eq!(encoded(&message::Reply::Refused(CsError::TryAgain)), Hand::response(0, 24).u32(16, 6).octets);
}

#[test]
fn a_membership_reply_always_has_its_full_size() {
    let members = vec![address(1, 10, Reason::Undefined), address(2, 20, Reason::Join)];
    let expected =
        Hand::response(3, 9248).u32(24, 2).u32(32, 1).u32(40, 10).u32(56, 2).u32(64, 20).u32(72, 1);
    assert_eq!(encoded(&Reply::MembershipGet(members)), expected.octets);

    let many = (0..500).map(|pid| address(1, pid, Reason::Undefined)).collect();
    let octets = encoded(&Reply::MembershipGet(many));
    assert_eq!(octets.len(), 9248);
    assert_eq!(octets[24..28], 384_u32.to_le_bytes());
}

#[test]
fn a_reply_survives_its_own_encoding() {
    let group = Some(name(b"g"));
    let handle = 1;
    let members = vec![address(1, 10, Reason::Undefined)];
    let entry = (name(b"g"), address(1, 10, Reason::Undefined));
    let pairs = [
        (Request::Join { group, pid: 1, flags: 0 }, Reply::Join(CsError::Busy)),
        (Request::Leave { group, pid: 1 }, Reply::Leave(CsError::Ok)),
        (Request::MembershipGet { group }, Reply::MembershipGet(members)),
        (Request::LocalGet, Reply::LocalGet { nodeid: 7 }),
        (Request::IterationInitialize { group, kind: None }, Reply::IterationInitialize(Ok(8))),
        (Request::IterationNext { handle }, Reply::IterationNext(Ok(entry))),
        (Request::IterationNext { handle }, Reply::IterationNext(Err(CsError::NoSections))),
        (Request::IterationFinalize { handle }, Reply::IterationFinalize(CsError::Ok)),
        (Request::Finalize, Reply::Finalize(CsError::Ok)),
    ];
    for (request, reply) in pairs {
        let decoded = message::Reply::decode(&request, encoded(&reply).into());
        assert_eq!(decoded, Ok(message::Reply::Cpg(reply)));
    }
    let refused = message::Reply::Refused(CsError::TryAgain);
    assert_eq!(message::Reply::decode(&Request::LocalGet, encoded(&refused).into()), Ok(refused));
}

#[test]
fn events_stand_at_corosyncs_offsets() {
    let group = name(b"grp");
    let message = Bytes::from_static(b"hello");
    assert_eq!(
        encoded(&Event::Deliver { group, nodeid: 1, pid: 2, message: message.clone() }),
        Hand::response(5, 189)
            .u32(24, 3)
            .octets(32, b"grp")
            .u32(160, 5)
            .u32(168, 1)
            .u32(176, 2)
            .octets(184, b"hello")
            .octets
    );
    assert_eq!(
        encoded(&Event::PartialDeliver {
            group,
            nodeid: 1,
            pid: 2,
            message_bytes: 3_000_000,
            kind: Fragment::Continued,
            fragment: message,
        }),
        Hand::response(17, 205)
            .u32(24, 3)
            .octets(32, b"grp")
            .u32(160, 3_000_000)
            .u32(168, 5)
            .u32(176, 1)
            .u32(184, 2)
            .u32(192, 2)
            .octets(200, b"hello")
            .octets
    );
    assert_eq!(
        encoded(&Event::TotemConfigurationChange {
            ring: RingId { nodeid: 1, seq: 0x0012_3456_789A },
            members: vec![1, 2, 3],
        }),
        Hand::response(13, 60)
            .u32(24, 1)
            .u64(32, 0x0012_3456_789A)
            .u32(40, 3)
            .u32(44, 1)
            .u32(48, 2)
            .u32(52, 3)
            .octets
    );
}

#[test]
fn a_configuration_change_counts_in_one_order_and_lists_in_another() {
    let event = Event::ConfigurationChange {
        group: name(b""),
        members: vec![address(1, 10, Reason::Undefined)],
        joined: vec![address(1, 10, Reason::Join)],
        left: vec![address(2, 20, Reason::NodeDown), address(3, 30, Reason::NodeDown)],
    };
    let octets = Hand::response(4, 184 + 4 * 24)
        .u32(160, 1)
        .u32(168, 1)
        .u32(176, 2)
        .u32(184, 1)
        .u32(192, 10)
        .u32(208, 2)
        .u32(216, 20)
        .u32(224, 3)
        .u32(232, 3)
        .u32(240, 30)
        .u32(248, 3)
        .u32(256, 1)
        .u32(264, 10)
        .u32(272, 1)
        .octets;
    assert_eq!(encoded(&event), octets);
    assert_eq!(message::Event::decode(Service::Cpg, octets.into()), Ok(message::Event::Cpg(event)));
}

#[test]
fn no_list_of_an_event_exceeds_the_libraries_arrays() {
    let many: Vec<Address> = (0..200).map(|pid| address(1, pid, Reason::Undefined)).collect();
    let event = Event::ConfigurationChange {
        group: name(b"g"),
        members: many.clone(),
        joined: many.clone(),
        left: many,
    };
    let octets = encoded(&event);
    assert_eq!(octets.len(), 184 + 3 * 128 * 24);
    assert_eq!(octets[160..164], 128_u32.to_le_bytes());

    let event = Event::TotemConfigurationChange { ring: RingId::default(), members: (0..200).collect() };
    assert_eq!(encoded(&event).len(), 48 + 128 * 4);
}

#[test]
fn the_largest_atomic_message_is_the_largest_event() {
    let message = Bytes::from(vec![1; ATOMIC_MESSAGE_BYTES_MAX]);
    let request = Request::Multicast { guarantee: 2, message: message.clone() };
    assert_eq!(request.encoded_bytes(), 1_047_592);
    let event = Event::Deliver { group: name(b"g"), nodeid: 1, pid: 1, message };
    assert_eq!(event.encoded_bytes(), 1_047_736);
    assert!(event.encoded_bytes() <= message::MESSAGE_BYTES_MAX);
}

#[test]
fn a_decoded_payload_is_a_slice_of_the_request() {
    let octets = Bytes::from(Hand::request(2, 48).u32(24, 2).u32(32, 8).octets);
    let expected = octets.slice(40..).as_ptr();
    let Ok(Incoming::Request(message::Request::Cpg(Request::Multicast { message, .. }))) =
        Incoming::decode(Service::Cpg, octets)
    else {
        panic!("a multicast");
    };
    assert_eq!(message.as_ptr(), expected);
}
