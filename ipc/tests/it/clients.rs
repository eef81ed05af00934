//! Our client against our server, over both transports.

use std::time::Duration;

use ipc::{
    client::cpg::{Client, ClientError, Event},
    message::{
        CsError,
        cpg::{ATOMIC_MESSAGE_BYTES_MAX, GroupName, IterationKind, Reason},
    },
    server::{Limits, ServerSettings, Transport},
};

use crate::daemon::{Daemon, instance, settings};

const SOON: Option<Duration> = Some(Duration::from_secs(10));
const BOTH: [Transport; 2] = [Transport::SharedMemory, Transport::Socket];

fn name(octets: &[u8]) -> GroupName {
    GroupName::new(octets).expect("short")
}

/// A daemon and clients that are in group "g", with the events of the joins read.
fn group<const N: usize>(test: &str, transport: Transport) -> (Daemon, String, [Client; N]) {
    let instance = instance(test);
    let daemon = Daemon::start(settings(&instance, transport));
    let mut clients = [(); N].map(|()| Client::connect(Some(&instance)).expect("it listens"));
    for place in 0..N {
        clients[place].join(name(b"g")).expect("a fresh client joins");
        for client in &mut clients[..=place] {
            let event = client.dispatch(SOON).expect("alive").expect("an event");
            assert!(matches!(event, Event::ConfigurationChange { .. }), "{event:?}");
        }
    }
    (daemon, instance, clients)
}

fn message(client: &mut Client) -> Vec<u8> {
    match client.dispatch(SOON).expect("alive").expect("an event") {
        Event::Deliver { message, .. } => message.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place * 31 + place / 251 + bytes) as u8).collect()
}

#[test]
fn a_client_joins_sends_receives_and_leaves() {
    for transport in BOTH {
        let (_daemon, _, [mut one, mut two]) = group("life", transport);
        assert_eq!(one.local_get().expect("an answer"), 1);
        assert!(matches!(one.join(name(b"h")), Err(ClientError::Service(CsError::Exist))));
        assert_eq!(one.membership_get(name(b"g")).expect("an answer").len(), 2);
        assert_eq!(one.membership_get(name(b"none")).expect("an answer"), []);
        let names = one.iterate(IterationKind::NameOnly, None).expect("an answer");
        assert_eq!(names.iter().map(|(group, _)| *group).collect::<Vec<_>>(), [name(b"g")]);
        assert_eq!(two.iterate(IterationKind::All, None).expect("an answer").len(), 2);

        one.multicast(2, b"hello").expect("sent");
        assert_eq!(message(&mut one), b"hello");
        assert_eq!(message(&mut two), b"hello");
        assert_eq!(two.dispatch(Some(Duration::ZERO)).expect("alive"), None);

        two.leave().expect("left");
        for client in [&mut one, &mut two] {
            match client.dispatch(SOON).expect("alive").expect("an event") {
                Event::ConfigurationChange { members, left, .. } => {
                    assert_eq!((members.len(), left[0].reason), (1, Reason::Leave));
                }
                other => panic!("{other:?}"),
            }
        }
        two.finalize().expect("an answer");
        one.finalize().expect("an answer");
    }
}

#[test]
fn messages_of_every_size_arrive_whole_and_in_order() {
    let sizes = [
        0,
        1,
        3,
        4,
        5,
        100,
        4096,
        65_536,
        100_000,
        500_000,
        ATOMIC_MESSAGE_BYTES_MAX - 1,
        ATOMIC_MESSAGE_BYTES_MAX,
    ];
    let (_daemon, _, [mut one, mut two]) = group("sizes", Transport::SharedMemory);
    for round in 0..3 {
        for size in sizes {
            one.multicast(2, &pattern(size + round)).expect("sent");
        }
        for size in sizes {
            assert!(message(&mut one) == pattern(size + round), "{size} octets at the sender");
            assert!(message(&mut two) == pattern(size + round), "{size} octets at the other");
        }
    }
}

#[test]
fn a_message_larger_than_a_request_goes_in_fragments() {
    for transport in BOTH {
        let (_daemon, _, [mut one]) = group("fragments", transport);
        if transport == Transport::Socket && !rustix::process::geteuid().is_root() {
            println!("skipped: fragments over sockets need privileges for large datagrams");
            continue;
        }
        let large = pattern(3_000_000);
        one.multicast(2, &large).expect("sent");
        one.multicast(2, b"after").expect("sent");
        assert!(message(&mut one) == large);
        assert_eq!(message(&mut one), b"after");
    }
}

#[test]
fn multicasts_wait_while_flow_control_is_on_and_requests_are_kept() {
    for transport in BOTH {
        let (daemon, _, [mut one]) = group("flow", transport);
        daemon.with(|server| server.set_flow_control(2));
        assert!(matches!(one.try_multicast(2, b"now"), Err(ClientError::WouldBlock)));
        let sender = std::thread::spawn(move || {
            one.multicast(2, b"later").expect("sent in the end");
            one
        });
        daemon.with(|server| server.set_flow_control(0));
        let mut one = sender.join().expect("it ends");
        assert_eq!(message(&mut one), b"later");

        // A request that is no multicast is sent, and answered when it is read.
        daemon.with(|server| server.set_flow_control(2));
        let asker = std::thread::spawn(move || one.local_get().expect("an answer"));
        daemon.with(|server| server.set_flow_control(0));
        assert_eq!(asker.join().expect("it ends"), 1);
    }
}

#[test]
fn unread_events_are_kept_in_order_and_delivered_later() {
    for transport in BOTH {
        let (_daemon, _, [mut one, mut two]) = group("unread", transport);
        for number in 0..1500_u32 {
            one.multicast(2, &number.to_le_bytes()).expect("sent");
        }
        for number in 0..30_u32 {
            let mut large = pattern(100_000);
            large[..4].copy_from_slice(&number.to_le_bytes());
            one.multicast(2, &large).expect("sent");
        }
        assert_eq!(two.local_get().expect("not stuck"), 1);
        for client in [&mut two, &mut one] {
            for number in 0..1500_u32 {
                assert_eq!(message(client), number.to_le_bytes());
            }
            for number in 0..30_u32 {
                let large = message(client);
                assert_eq!((large.len(), &large[..4]), (100_000, &number.to_le_bytes()[..]));
            }
            assert_eq!(client.dispatch(Some(Duration::ZERO)).expect("alive"), None);
        }
    }
}

#[test]
fn a_client_that_sends_without_reading_is_held_back_and_not_cut_off() {
    for transport in BOTH {
        let instance = instance("eager");
        let limits = Limits { event_queue_bytes_max: 4_000_000, ..Limits::default() };
        let _daemon = Daemon::start(ServerSettings { limits, ..settings(&instance, transport) });
        let mut eager = Client::connect(Some(&instance)).expect("connected");
        eager.join(name(b"eager")).expect("joined");
        for number in 0..200_u32 {
            let mut large = pattern(100_000);
            large[..4].copy_from_slice(&number.to_le_bytes());
            eager.multicast(2, &large).expect("sent");
        }
        assert!(matches!(eager.dispatch(SOON).expect("alive"), Some(Event::ConfigurationChange { .. })));
        for number in 0..200_u32 {
            assert_eq!(message(&mut eager)[..4], number.to_le_bytes());
        }
    }
}

#[test]
fn a_client_that_sends_large_messages_without_reading_is_held_back_by_answers() {
    // Flow control would stop libcpg in the middle of its fragments, where no program can read.
    let instance = instance("eager-large");
    let limits = Limits { event_queue_bytes_max: 8_000_000, ..Limits::default() };
    let _daemon = Daemon::start(ServerSettings { limits, ..settings(&instance, Transport::SharedMemory) });
    let mut eager = Client::connect(Some(&instance)).expect("connected");
    eager.join(name(b"eager")).expect("joined");
    let large = pattern(ATOMIC_MESSAGE_BYTES_MAX + 100);
    for _ in 0..30 {
        eager.multicast(2, &large).expect("sent");
    }
    assert!(matches!(eager.dispatch(SOON).expect("alive"), Some(Event::ConfigurationChange { .. })));
    for _ in 0..30 {
        assert_eq!(message(&mut eager), large);
    }
}

#[test]
fn a_daemon_that_does_not_run_or_is_not_ready_says_so() {
    let instance = instance("refusals");
    assert!(matches!(Client::connect(Some(&instance)), Err(ClientError::NotRunning(_))));
    let daemon = Daemon::start(settings(&instance, Transport::SharedMemory));
    daemon.with(|server| server.set_accepting(false));
    assert!(matches!(Client::connect(Some(&instance)), Err(ClientError::NotReady)));
    daemon.with(|server| server.set_accepting(true));
    let mut client = Client::connect(Some(&instance)).expect("accepted");
    drop(daemon);
    assert!(matches!(client.local_get(), Err(ClientError::Disconnected)));
    assert!(matches!(client.dispatch(SOON), Err(ClientError::Disconnected)));
    assert!(matches!(client.multicast(2, b"x"), Err(ClientError::Disconnected)));
}

#[test]
fn what_was_accepted_before_a_client_ended_is_delivered() {
    for transport in BOTH {
        let (_daemon, _, [mut one, mut two]) = group("last words", transport);
        for number in 0..100_u8 {
            one.multicast(2, &[number]).expect("sent");
        }
        drop(one);
        for number in 0..100_u8 {
            assert_eq!(message(&mut two), [number]);
        }
        match two.dispatch(SOON).expect("alive").expect("an event") {
            Event::ConfigurationChange { left, .. } => assert_eq!(left[0].reason, Reason::ProcDown),
            other => panic!("{other:?}"),
        }
    }
}
