//! What is dropped, why, and at which price.

use proptest::prelude::*;

use super::{
    frame::{Echo, Kind},
    *,
};
use crate::seal::{HeaderError, OpenError, replay::ReplayError};

/// A datagram as `sender` would seal it under these settings.
fn forge(settings: &LinkSettings, sender: Member, class: Class, frame: &[u8]) -> Vec<u8> {
    let cluster = ClusterSecret::new(&settings.protection, &settings.cluster_name);
    let mut datagram = Vec::new();
    Sealer::new(&cluster, sender).seal(class, None, frame, &mut datagram);
    datagram
}

fn hello() -> [u8; LinkFrame::BYTES] {
    LinkFrame { kind: Kind::Hello, challenge: Challenge(5) }.encode()
}

/// Hands a datagram to node 1 of two that are up; gives the reason and what node 1 says.
fn drop_at(world: &mut World, source: SocketAddr, datagram: &[u8]) -> (DatagramError, usize) {
    let now = world.now;
    let host = world.host(1);
    host.errors.clear();
    host.handle(now, source, datagram);
    let [error] = host.errors[..] else { panic!("{:?}", host.errors) };
    (error, outgoing(&mut host.links, home(1)).len())
}

/// Its name, where it comes from, the datagram, why it is dropped, and what counts it.
type Case = (&'static str, SocketAddr, Vec<u8>, DatagramError, fn(&mut Drops) -> &mut u64);

#[test]
fn each_reason_is_told_and_counted_and_nothing_is_answered() {
    let mut world = World::together(2);
    let ours = settings(2, 2);
    let two = node(2);
    let stranger = member(2, 99);
    let good = forge(&ours, stranger, Class::Link, &hello());
    let with = |at: usize, octet: u8| {
        let mut datagram = good.clone();
        datagram[at] = octet;
        datagram
    };
    let other_key = LinkSettings { protection: protection(8), ..ours.clone() };
    let other_name = LinkSettings { cluster_name: "beta".to_owned(), ..ours.clone() };
    let hmac = Protection::HmacSha256(ClusterKey(Zeroizing::new(vec![7; 32])));
    let other_suite = LinkSettings { protection: hmac, ..ours.clone() };
    let cleartext = LinkSettings { protection: Protection::Cleartext, ..ours.clone() };
    let tag = |name: &str| ClusterSecret::new(&Protection::Cleartext, name).tag();
    let aes = crate::seal::Suite::Aes256Gcm;
    let mut expected = Drops::default();

    let cases: Vec<Case> = vec![
        ("nothing", home(2), vec![], HeaderError::TooShort { have: 0 }.into(), |d| &mut d.too_short),
        ("half", home(2), good[..40].to_vec(), HeaderError::TooShort { have: 40 }.into(), |d| {
            &mut d.too_short
        }),
        ("noise", home(2), vec![0xff; 72], HeaderError::Version { version: 15 }.into(), |d| &mut d.header),
        (
            "another cluster",
            home(2),
            forge(&other_name, stranger, Class::Link, &hello()),
            DatagramError::OtherCluster { ours: tag("alpha"), theirs: tag("beta") },
            |d| &mut d.other_cluster,
        ),
        (
            "another suite",
            home(2),
            forge(&other_suite, stranger, Class::Link, &hello()),
            DatagramError::OtherSuite { node: two, ours: aes, theirs: other_suite.protection.suite() },
            |d| &mut d.other_suite,
        ),
        (
            "no protection",
            home(2),
            forge(&cleartext, stranger, Class::Link, &hello()),
            DatagramError::OtherSuite { node: two, ours: aes, theirs: cleartext.protection.suite() },
            |d| &mut d.other_suite,
        ),
        ("epoch", home(2), with(4, 1), DatagramError::OtherEpoch { node: two, epoch: 1 }, |d| {
            &mut d.other_epoch
        }),
        ("unknown node", home(2), with(11, 9), DatagramError::UnknownSender { node: node(9) }, |d| {
            &mut d.unknown_sender
        }),
        (
            "another address",
            home(3),
            forge(&other_key, stranger, Class::Link, &hello()),
            DatagramError::UnlistedSource { node: two, source_address: home(3) },
            |d| &mut d.unlisted_source,
        ),
        (
            "another port",
            SocketAddr::new(home(2).ip(), 5406),
            forge(&ours, stranger, Class::Frame, b"data"),
            DatagramError::UnlistedSource { node: two, source_address: SocketAddr::new(home(2).ip(), 5406) },
            |d| &mut d.unlisted_source,
        ),
        (
            "unproven",
            home(2),
            forge(&ours, stranger, Class::Frame, b"data"),
            DatagramError::Unproven { node: two },
            |d| &mut d.unproven,
        ),
        (
            "length",
            home(2),
            forge(&ours, stranger, Class::Link, &[1; 27]),
            DatagramError::LinkFrame { node: two, cause: LinkFrameError::Length { have: 27 } },
            |d| &mut d.link_frame,
        ),
        (
            "kind",
            home(2),
            forge(&ours, stranger, Class::Link, &[9; 28]),
            DatagramError::LinkFrame { node: two, cause: LinkFrameError::Kind { kind: 9 } },
            |d| &mut d.link_frame,
        ),
        (
            "another key",
            home(2),
            forge(&other_key, stranger, Class::Link, &hello()),
            DatagramError::Open { node: two, cause: OpenError::Forged },
            |d| &mut d.forged,
        ),
        (
            "another key, known session",
            home(2),
            {
                let mut datagram = forge(&other_key, member(2, 2), Class::Frame, b"data");
                datagram[27] = 200;
                datagram
            },
            DatagramError::Open { node: two, cause: OpenError::Forged },
            |d| &mut d.forged,
        ),
        (
            "too far ahead",
            home(2),
            {
                let mut datagram = forge(&ours, member(2, 2), Class::Frame, b"data");
                datagram[20] = 1;
                datagram
            },
            DatagramError::Open {
                node: two,
                cause: ReplayError::FarAhead { number: 1 << 56, highest: 3 }.into(),
            },
            |d| &mut d.far_ahead,
        ),
        (
            "too old",
            home(2),
            forge(&ours, member(2, 2), Class::Frame, b"data"),
            DatagramError::Open { node: two, cause: ReplayError::TooOld { number: 0, highest: 3 }.into() },
            |d| &mut d.too_old,
        ),
        (
            "stale",
            home(2),
            forge(
                &ours,
                stranger,
                Class::Link,
                &LinkFrame {
                    kind: Kind::Pong(Echo { session: BootId(1), challenge: Challenge(0) }),
                    challenge: Challenge(5),
                }
                .encode(),
            ),
            DatagramError::Stale { node: two },
            |d| &mut d.stale,
        ),
    ];
    for (name, source, datagram, reason, counter) in cases {
        assert_eq!(drop_at(&mut world, source, &datagram), (reason, 0), "{name}");
        *counter(&mut expected) += 1;
        assert_eq!(world.host(1).links.stats().dropped, expected, "{name}");
    }
    assert_eq!(world.host(1).links.stats().dropped.total(), 18);
    assert_eq!(world.host(1).session_of(2), Some(BootId(2)));
}

#[test]
fn a_flood_with_a_peers_address_neither_costs_much_nor_hurts_the_peer() {
    let mut world = World::together(2);
    let other_key = LinkSettings { protection: protection(8), ..settings(2, 2) };
    let now = world.now;
    for boot in 0..10_000 {
        let mut datagram = forge(&other_key, member(2, 1_000 + boot), Class::Link, &hello());
        let host = world.host(1);
        assert!(host.links.handle_datagram(now, home(2), &mut datagram).is_err());
        assert!(host.links.transmits().is_empty());
    }
    let dropped = world.host(1).links.stats().dropped;
    assert_eq!((dropped.forged, dropped.limited), (1_000, 9_000));
    world.send(2, Destination::All, b"unharmed");
    world.run(LATENCY);
    assert_eq!(world.host(1).frames, [(member(2, 2), b"unharmed".to_vec())]);
}

#[test]
fn a_flood_from_nowhere_is_hardly_looked_at() {
    let mut world = World::together(2);
    let now = world.now;
    // Authentic hellos, recorded long ago, now from all over the world: the worst case.
    let recorded = forge(&settings(2, 2), member(2, 77), Class::Link, &hello());
    let mut answers = 0;
    for port in 1..10_000 {
        let source = SocketAddr::new(home(9).ip(), port);
        let host = world.host(1);
        assert!(host.links.handle_datagram(now, source, &mut recorded.clone()).is_err());
        answers += outgoing(&mut host.links, home(1)).len();
    }
    assert_eq!(answers, 100);
    assert_eq!(world.host(1).take_events(), []);
}

#[test]
fn one_node_with_a_wrong_key_stays_alone_and_does_not_disturb() {
    let mut world = World::together(2);
    for id in 1..=2_u32 {
        world.kill(u64::from(id));
        world.start(id, 3, u64::from(id) * 10);
    }
    let wrong = LinkSettings { protection: protection(8), ..settings(3, 3) };
    world.start_with(wrong, 3, home(3));
    world.run(ms(3_000));
    assert_eq!(world.host(3).events, []);
    for boot in [10, 20] {
        assert_eq!(world.host(boot).take_events().len(), 1);
        assert!(world.host(boot).links.stats().dropped.forged > 20);
    }
}

/// Anything that a member with the key could say.
fn any_link_frame() -> impl Strategy<Value = LinkFrame> {
    // Sessions and challenges are likely to be right.
    let now = 3_600_060_000_000_u64;
    let session = prop_oneof![Just(1_u64), any::<u64>()];
    let echo = (session, prop_oneof![now - 100_000_000..now + 10, any::<u64>()])
        .prop_map(|(session, challenge)| Echo { session: BootId(session), challenge: Challenge(challenge) });
    (0..5, echo, any::<u64>()).prop_map(|(kind, echo, challenge)| LinkFrame {
        kind: match kind {
            0 => Kind::Hello,
            1 => Kind::Ping(echo),
            2 => Kind::Pong(echo),
            3 => Kind::Probe(echo),
            _ => Kind::Refused(echo),
        },
        challenge: Challenge(challenge),
    })
}

proptest! {
    #[test]
    fn any_octets_are_dropped_without_an_answer(
        octets in proptest::collection::vec(any::<u8>(), 0..120),
        from in 1..4u32,
    ) {
        let mut world = World::together(2);
        let now = world.now;
        let host = world.host(1);
        let mut octets = octets;
        prop_assert!(host.links.handle_datagram(now, home(from), &mut octets).is_err());
        prop_assert!(host.links.transmits().is_empty());
        prop_assert_eq!(host.links.stats().dropped.total(), 1);
    }

    #[test]
    fn whatever_a_member_says_is_survived(
        frames in proptest::collection::vec((any_link_frame(), 1..4u32, 0..3u64, 1..4u32, 0..40u64), 1..60),
    ) {
        // A keyed, malicious member speaks for anybody, from anywhere, in several lives.
        let mut world = World::together(2);
        let settings = settings(2, 2);
        let cluster = ClusterSecret::new(&settings.protection, &settings.cluster_name);
        let mut sealers: BTreeMap<Member, Sealer> = BTreeMap::new();
        for (frame, id, life, from, wait) in frames {
            world.now += ms(wait);
            let now = world.now;
            let sender = member(id, u64::from(id) + life * 100);
            let sealer = sealers.entry(sender).or_insert_with(|| Sealer::new(&cluster, sender));
            let mut datagram = Vec::new();
            sealer.seal(Class::Link, None, &frame.encode(), &mut datagram);
            let host = world.host(1);
            host.links.handle_timeout(now);
            host.links.transmits().clear();
            host.handle(now, home(from), &datagram);
            let said = outgoing(&mut host.links, home(1));
            prop_assert!(said.len() <= 2, "{said:?}");
            prop_assert!(host.events.len() <= 2 * 60);
        }
    }
}
