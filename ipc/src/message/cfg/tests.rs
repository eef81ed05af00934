//! Layouts against octets put together by hand from the offsets of corosync's structures.

use super::*;
use crate::message::{self, Encode, Incoming, MessageError, Service};

/// Octets with fields at offsets.
#[derive(Clone)]
struct Hand(Vec<u8>);

impl Hand {
    /// A request whose padding is garbage.
    fn request(id: u32, bytes: u32) -> Self {
        Self(vec![0xA5; bytes as usize]).u32(0, id).u32(8, bytes)
    }

    /// A reply with this error; zeros but for the header.
    fn response(id: u32, bytes: u32, error: u32) -> Self {
        Self(vec![0; bytes as usize]).u32(0, id).u32(8, bytes).u32(16, error)
    }

    fn u32(self, offset: usize, value: u32) -> Self {
        self.octets(offset, &value.to_le_bytes())
    }

    fn octets(mut self, offset: usize, octets: &[u8]) -> Self {
        self.0[offset..offset + octets.len()].copy_from_slice(octets);
        self
    }

    fn decode(self) -> Result<Incoming, MessageError> {
        Incoming::decode(Service::Cfg, self.0.into())
    }
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut octets = Vec::new();
    value.encode(&mut octets);
    assert_eq!(octets.len(), value.encoded_bytes(), "announced and written size");
    octets
}

fn asked(request: Request) -> Incoming {
    Incoming::Request(message::Request::Cfg(request))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn requests_are_read_at_corosyncs_offsets_and_padding_is_ignored() {
    let cases = [
        (Hand::request(0, 16), Request::RingStatusGet),
        (Hand::request(1, 16), Request::Command(Command::RingReenable)),
        (Hand::request(2, 288), Request::Command(Command::KillNode)),
        (Hand::request(3, 24), Request::Command(Command::TryShutdown)),
        (Hand::request(4, 24), Request::Command(Command::ReplyToShutdown)),
        (Hand::request(5, 24).u32(16, 7), Request::GetNodeAddrs { nodeid: 7 }),
        (Hand::request(6, 16), Request::LocalGet),
        (Hand::request(7, 16), Request::Command(Command::ReloadConfig)),
        (Hand::request(8, 16), Request::Command(Command::ReopenLogFiles)),
        (Hand::request(9, 32).u32(16, 3).u32(24, 1), Request::NodeStatusGet { nodeid: 3, version: 1 }),
        (Hand::request(10, 24), Request::Command(Command::TrackStart)),
        (Hand::request(11, 16), Request::Command(Command::TrackStop)),
    ];
    for (hand, request) in cases {
        assert_eq!(hand.decode(), Ok(asked(request)));
        let own = encoded(&request);
        assert_eq!(Incoming::decode(Service::Cfg, own.into()), Ok(asked(request)));
    }
}

#[test]
fn an_id_that_the_service_does_not_have_is_unknown() {
    for id in [12, 99, u32::MAX] {
        assert_eq!(Hand::request(id, 16).decode(), Ok(Incoming::Request(message::Request::Unknown)));
    }
}

#[test]
fn requests_shorter_than_their_structure_are_refused() {
    for (id, bytes) in [(2, 280), (3, 16), (4, 16), (5, 16), (9, 24), (10, 16)] {
        let have = bytes as usize;
        let error = Hand::request(id, bytes).decode().expect_err("too short");
        assert!(matches!(error, MessageError::Truncated { have: had, .. } if had == have), "{id}: {error}");
    }
}

#[test]
fn the_reply_with_addresses_has_sixteen_octets_for_each() {
    let reply = Reply::GetNodeAddrs(Ok(vec![ip("10.1.2.3"), ip("10.1.2.4")]));
    let hand = Hand::response(11, 64, 1).u32(24, 2).u32(28, 2);
    let hand = hand.octets(32, &[10, 1, 2, 3]).octets(48, &[10, 1, 2, 4]);
    assert_eq!(encoded(&reply), hand.0);

    let reply = Reply::GetNodeAddrs(Ok(vec![ip("fd00::7")]));
    let hand = Hand::response(11, 48, 1).u32(24, 10).u32(28, 1).octets(32, &[0xfd]).octets(47, &[7]);
    assert_eq!(encoded(&reply), hand.0);

    let mixed = Reply::GetNodeAddrs(Ok(vec![ip("10.1.2.3"), ip("fd00::7")]));
    assert_eq!(encoded(&mixed), encoded(&Reply::GetNodeAddrs(Ok(vec![ip("10.1.2.3")]))));
}

#[test]
fn an_unknown_node_s_reply_has_neither_family_nor_number() {
    // The library uses both, whatever the error says.
    let reply = Reply::GetNodeAddrs(Err(CsError::NotExist));
    assert_eq!(encoded(&reply), Hand::response(11, 32, 12).0);
}

#[test]
fn the_local_node_stands_behind_the_header() {
    assert_eq!(encoded(&Reply::LocalGet { nodeid: 9 }), Hand::response(12, 32, 1).u32(24, 9).0);
}

#[test]
fn the_ring_status_is_texts_at_fixed_places() {
    let reply = Reply::RingStatusGet(vec![
        Interface { name: "0 10.0.0.1".into(), status: "n31".into() },
        Interface { name: "1 10.1.0.1".into(), status: "n33".into() },
    ]);
    let hand = Hand::response(0, 10_272, 1).u32(24, 2);
    let hand = hand.octets(32, b"0 10.0.0.1").octets(160, b"1 10.1.0.1");
    assert_eq!(encoded(&reply), hand.octets(2080, b"n31").octets(2592, b"n33").0);
}

#[test]
fn texts_and_lists_too_long_for_the_ring_status_are_cut() {
    let interface = Interface { name: "a".repeat(200), status: "3".repeat(600) };
    let octets = encoded(&Reply::RingStatusGet(vec![interface; 17]));
    assert_eq!(octets[24..28], 16_u32.to_le_bytes());
    assert_eq!(octets[32..160], [&[b'a'; 127][..], &[0]].concat());
    assert_eq!(octets[2080..2592], [&[b'3'; 511][..], &[0]].concat());
    assert_eq!(octets.len(), 10_272);
}

#[test]
fn a_node_status_has_room_for_eight_links() {
    let link = LinkStatus { connected: true, mtu: 1428, source: ip("10.0.0.1"), destination: ip("10.0.0.2") };
    let status = NodeStatus { nodeid: 2, reachable: true, links: vec![Some(link), None, Some(link)] };
    let mut hand = Hand::response(16, 4200, 1).u32(24, 1).u32(28, 2).octets(32, &[1]);
    for start in [40, 40 + 2 * 520] {
        hand = hand.octets(start, &[1, 1]).u32(start + 4, 1428);
        hand = hand.octets(start + 8, b"10.0.0.1").octets(start + 264, b"10.0.0.2");
    }
    assert_eq!(encoded(&Reply::NodeStatusGet(Ok(status))), hand.0);
}

#[test]
fn a_node_status_that_cannot_be_given_is_short_and_has_a_version() {
    let reply = Reply::NodeStatusGet(Err(CsError::FailedOperation));
    assert_eq!(encoded(&reply), Hand::response(16, 32, 21).u32(24, 1).0);
}

#[test]
fn each_command_s_answer_has_its_own_id() {
    let ids = [1, 8, 9, 13, 14, 15, 2, 3];
    for (command, id) in Command::ALL.into_iter().zip(ids) {
        let reply = Reply::Command(command, CsError::NotSupported);
        assert_eq!(encoded(&reply), Hand::response(id, 24, 19).0, "{command:?}");
    }
}

#[test]
fn what_is_encoded_is_decoded_to_the_same() {
    let link = LinkStatus { connected: false, mtu: 9, source: ip("fd00::1"), destination: ip("fd00::2") };
    let status = NodeStatus { nodeid: 2, reachable: false, links: vec![None, Some(link)] };
    let interface = Interface { name: "0 10.0.0.1".into(), status: "n1".into() };
    let (addresses, nodeid) = (Request::GetNodeAddrs { nodeid: 1 }, 4);
    let node_status = Request::NodeStatusGet { nodeid: 1, version: 1 };
    let stop = Command::TrackStop;
    let cases = [
        (Request::RingStatusGet, Reply::RingStatusGet(vec![interface])),
        (addresses, Reply::GetNodeAddrs(Ok(vec![ip("10.0.0.1"), ip("10.0.0.2")]))),
        (addresses, Reply::GetNodeAddrs(Ok(vec![ip("fd00::1")]))),
        (addresses, Reply::GetNodeAddrs(Ok(Vec::new()))),
        (addresses, Reply::GetNodeAddrs(Err(CsError::NotExist))),
        (Request::LocalGet, Reply::LocalGet { nodeid }),
        (node_status, Reply::NodeStatusGet(Ok(status))),
        (node_status, Reply::NodeStatusGet(Err(CsError::NotSupported))),
        (Request::Command(stop), Reply::Command(stop, CsError::Ok)),
    ];
    for (request, reply) in cases {
        let octets = encoded(&reply).into();
        assert_eq!(message::Reply::decode_cfg(&request, octets), Ok(message::Reply::Cfg(reply)));
    }
}

#[test]
fn a_refusal_is_told_from_every_answer() {
    for request in [Request::RingStatusGet, Request::LocalGet, Request::Command(Command::KillNode)] {
        let octets = Hand::response(0, 24, 6).0.into();
        let refused = message::Reply::Refused(CsError::TryAgain);
        assert_eq!(message::Reply::decode_cfg(&request, octets), Ok(refused));
    }
}

#[test]
fn replies_that_contradict_themselves_are_errors() {
    let addresses = Request::GetNodeAddrs { nodeid: 1 };
    let decode = |request: &Request, hand: Hand| message::Reply::decode_cfg(request, hand.0.into());
    let many = Hand::response(11, 48, 1).u32(24, 2).u32(28, u32::MAX);
    assert!(matches!(decode(&addresses, many), Err(MessageError::Truncated { .. })));
    let strange = Hand::response(11, 48, 1).u32(24, 5).u32(28, 1);
    let expected = MessageError::Value { id: 11, field: "address family", value: 5 };
    assert_eq!(decode(&addresses, strange), Err(expected));
    let short = Hand::response(12, 24, 1);
    assert!(matches!(decode(&Request::LocalGet, short), Err(MessageError::Truncated { .. })));
    let status = Request::NodeStatusGet { nodeid: 1, version: 1 };
    let no_address = Hand::response(16, 4200, 1).u32(24, 1).octets(40, &[1]).octets(48, b"here");
    assert!(matches!(decode(&status, no_address), Err(MessageError::Value { field: "address", .. })));
}

#[test]
fn the_service_has_no_events() {
    let event = Hand::response(10, 32, 1).0;
    let decoded = message::Event::decode(Service::Cfg, event.into());
    assert_eq!(decoded, Err(MessageError::UnknownId { id: 10 }));
}
