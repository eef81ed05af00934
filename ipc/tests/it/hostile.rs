//! Clients that do what they should not. Each time the offender is cut off, and nobody else notices.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::Shutdown,
    os::{
        fd::AsFd,
        unix::{fs::FileExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ipc::{
    client::cpg::{Client, ClientError, Event},
    message::{
        CsError, Encode, MessageError,
        cpg::{GroupName, Request, ZeroCopy},
    },
    server::{GoneCause, Limits, RingError, Server, ServerSettings, Transport},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketAddrUnix, SocketType},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::daemon::{Daemon, instance, settings};

const SOON: Option<Duration> = Some(Duration::from_secs(10));
const WORDS: u32 = 263_168;
const WRITE_INDEX: u64 = 0;
const READ_INDEX: u64 = 4;
const REF_COUNT: u64 = 8204;
const SEMAPHORE: u64 = 8208;
const COMMITTED: u32 = 0xA1A1_A1A1;

/// A client without a library: the stream and the ring files, written to as files.
struct Raw {
    stream: UnixStream,
    welcome: Vec<u8>,
}

impl Raw {
    fn dial(instance: &str) -> UnixStream {
        let mut name = [0; 107];
        let text = format!("{instance}-cpg");
        name[..text.len()].copy_from_slice(text.as_bytes());
        let address = SocketAddrUnix::new_abstract_name(&name).expect("short");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        rustix::net::connect(&socket, &address).expect("it listens");
        let stream = UnixStream::from(socket);
        stream.set_read_timeout(SOON).expect("a time");
        stream
    }

    fn hello(bytes_max: u32) -> [u8; 24] {
        let mut octets = [0; 24];
        octets[..4].fill(0xFF);
        octets[8] = 24;
        octets[16..20].copy_from_slice(&bytes_max.to_le_bytes());
        octets
    }

    fn greet(mut stream: UnixStream, hello: &[u8]) -> Self {
        stream.write_all(hello).expect("room");
        let mut welcome = vec![0; 12_328];
        stream.read_exact(&mut welcome).expect("an answer of full size");
        Self { stream, welcome }
    }

    fn connect(instance: &str) -> Self {
        let raw = Self::greet(Self::dial(instance), &Self::hello(1_048_576));
        assert_eq!(raw.welcome[16..20], [0; 4], "accepted");
        raw
    }

    fn path(&self, ring: Ring, file: &str) -> PathBuf {
        let offset = ring as usize;
        let text: Vec<u8> = self.welcome[offset..].iter().copied().take_while(|octet| *octet != 0).collect();
        PathBuf::from(format!("{}-{file}", String::from_utf8(text).expect("a path")))
    }

    fn directory(&self) -> PathBuf {
        self.path(Ring::Request, "header").parent().expect("a directory").to_owned()
    }

    fn open(&self, ring: Ring, file: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(ring, file)).expect("it is ours")
    }

    fn put(&self, ring: Ring, file: &str, offset: u64, value: u32) {
        self.open(ring, file).write_all_at(&value.to_le_bytes(), offset).expect("written");
    }

    fn number(&self, ring: Ring, file: &str, offset: u64) -> u32 {
        let mut octets = [0; 4];
        self.open(ring, file).read_exact_at(&mut octets, offset).expect("there");
        u32::from_le_bytes(octets)
    }

    /// Writes a chunk at the start of the request ring as a library would, but announces
    /// nothing.
    fn chunk(&self, payload: &[u8]) {
        let data = self.open(Ring::Request, "data");
        data.write_all_at(payload, 8).expect("written");
        self.put(Ring::Request, "data", 0, payload.len() as u32);
        self.put(Ring::Request, "data", 4, COMMITTED);
        self.put(Ring::Request, "header", WRITE_INDEX, 2 + (payload.len() as u32).div_ceil(4));
    }

    fn post(&self) {
        self.put(Ring::Request, "header", SEMAPHORE, self.number(Ring::Request, "header", SEMAPHORE) + 1);
    }

    fn ring(&mut self) {
        self.stream.write_all(&[0]).expect("room");
    }

    fn request(&mut self, request: &impl Encode) {
        let mut octets = Vec::new();
        request.encode(&mut octets);
        self.chunk(&octets);
        self.post();
        self.ring();
    }

    /// As [`Self::request`], behind a first chunk of this many words, header included.
    fn second_request(&mut self, words: u32, octets: &[u8]) {
        let start = u64::from(words) * 4;
        let data = self.open(Ring::Request, "data");
        data.write_all_at(octets, start + 8).expect("written");
        data.write_all_at(&(octets.len() as u32).to_le_bytes(), start).expect("written");
        data.write_all_at(&COMMITTED.to_le_bytes(), start + 4).expect("written");
        let end = words + 2 + (octets.len() as u32).div_ceil(4);
        self.put(Ring::Request, "header", WRITE_INDEX, end);
        self.post();
        self.ring();
    }

    /// Whether the server has closed the connection and removed its files.
    fn is_cut_off(&mut self) -> bool {
        let mut rest = Vec::new();
        let ended = match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        ended && !self.directory().exists()
    }
}

/// Where in the answer a ring's path stands.
#[derive(Clone, Copy)]
enum Ring {
    Request = 40,
    Response = 4136,
    Event = 8232,
}

/// A daemon and a well-behaved client in group "g".
fn world(test: &str, limits: Limits) -> (Daemon, String, Client) {
    let instance = instance(test);
    let daemon = Daemon::start(ServerSettings { limits, ..settings(&instance, Transport::SharedMemory) });
    let mut good = Client::connect(Some(&instance)).expect("it listens");
    good.join(group()).expect("joined");
    good.dispatch(SOON).expect("alive").expect("its own join");
    (daemon, instance, good)
}

fn group() -> GroupName {
    GroupName::new(b"g").expect("short")
}

fn local_get() -> Vec<u8> {
    let mut octets = Vec::new();
    Request::LocalGet.encode(&mut octets);
    octets
}

/// The good client still gets answers and its own messages.
fn works(good: &mut Client) {
    assert_eq!(good.local_get().expect("an answer"), 1);
    good.multicast(2, b"still here").expect("sent");
    loop {
        match good.dispatch(SOON).expect("alive").expect("an event") {
            Event::Deliver { message, .. } if message[..] == *b"still here" => return,
            _ => {}
        }
    }
}

#[test]
fn rubbish_in_the_request_ring_ends_the_connection() {
    let mut wrong_size = local_get();
    wrong_size[8] = 17;
    let mut negative = local_get();
    negative[8..12].fill(0xFF);
    type Abuse = Box<dyn Fn(&mut Raw)>;
    let message = |payload: Vec<u8>| -> Abuse {
        Box::new(move |raw: &mut Raw| {
            raw.chunk(&payload);
            raw.post();
            raw.ring();
        })
    };
    let number = |file: &'static str, offset: u64, value: u32| -> Abuse {
        Box::new(move |raw: &mut Raw| {
            raw.chunk(&local_get());
            raw.put(Ring::Request, file, offset, value);
            raw.post();
            raw.ring();
        })
    };
    let cases: Vec<(Abuse, GoneCause)> = vec![
        (number("data", 0, 17), RingError::Length { bytes: 17, max: 16 }.into()),
        (number("data", 0, u32::MAX), RingError::Length { bytes: u32::MAX, max: 16 }.into()),
        (number("data", 4, 0xA110_CED0), RingError::Magic { magic: 0xA110_CED0 }.into()),
        (number("header", WRITE_INDEX, WORDS), RingError::Index { index: WORDS, words: WORDS }.into()),
        (number("header", WRITE_INDEX, 1), RingError::Length { bytes: 16, max: 0 }.into()),
        (message(wrong_size), MessageError::Size { size: 17, have: 16 }.into()),
        (message(negative), MessageError::Size { size: -1, have: 16 }.into()),
        (message(vec![1; 15]), MessageError::Truncated { id: 0, need: 16, have: 15 }.into()),
        (message(Vec::new()), MessageError::Truncated { id: 0, need: 16, have: 0 }.into()),
        (
            // More counted than is there.
            Box::new(|raw: &mut Raw| {
                raw.put(Ring::Request, "header", SEMAPHORE, u32::MAX);
                raw.ring();
            }),
            RingError::Magic { magic: 0 }.into(),
        ),
    ];
    let (daemon, instance, mut good) = world("rubbish", Limits::default());
    for (abuse, expected) in cases {
        let mut bad = Raw::connect(&instance);
        abuse(&mut bad);
        assert_eq!(daemon.gone(), expected);
        assert!(bad.is_cut_off(), "{expected}");
        works(&mut good);
    }
    assert_eq!(daemon.with(|server| server.connections()), 1);
}

#[test]
fn a_message_too_large_for_its_event_ends_the_connection() {
    let (daemon, instance, mut good) = world("oversize", Limits::default());
    let mut bad = Raw::connect(&instance);
    bad.request(&Request::Multicast { guarantee: 2, message: vec![7; 1_047_553].into() });
    let max = ipc::message::cpg::ATOMIC_MESSAGE_BYTES_MAX;
    assert_eq!(daemon.gone(), MessageError::TooBig { bytes: 1_047_553, max }.into());
    assert!(bad.is_cut_off());
    works(&mut good);
}

#[test]
fn files_that_are_cut_end_the_connection_and_not_the_daemon() {
    let (daemon, instance, mut good) = world("cut", Limits::default());
    for (ring, file, bytes) in [
        (Ring::Request, "header", 0),
        (Ring::Request, "header", 4096),
        (Ring::Request, "data", 0),
        (Ring::Response, "header", 0),
        (Ring::Response, "header", 4096),
        (Ring::Response, "data", 0),
        (Ring::Event, "header", 0),
        (Ring::Event, "header", 4096),
        (Ring::Event, "data", 0),
        (Ring::Event, "data", 4096),
    ] {
        let mut bad = Raw::connect(&instance);
        bad.request(&Request::Join { group: Some(group()), pid: 7, flags: 0 });
        // Its own event is on its way once the good client has the same.
        good.dispatch(SOON).expect("alive").expect("the join");
        bad.open(ring, file).set_len(bytes).expect("cut");
        match ring {
            Ring::Request if file == "header" => bad.ring(),
            Ring::Request => {
                bad.put(Ring::Request, "header", WRITE_INDEX, 50);
                bad.post();
                bad.ring();
            }
            Ring::Response => bad.second_request(44, &local_get()),
            Ring::Event => good.multicast(2, &[1; 50_000]).expect("sent"),
        }
        assert_eq!(daemon.gone(), RingError::Truncated.into());
        assert!(bad.is_cut_off());
        loop {
            match good.dispatch(SOON).expect("alive").expect("it is gone") {
                Event::ConfigurationChange { left, .. } => break assert_eq!(left[0].pid, 7),
                Event::Deliver { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        works(&mut good);
    }
}

#[test]
fn indexes_of_the_rings_that_we_write_are_checked() {
    let (daemon, instance, mut good) = world("indexes", Limits::default());
    let mut bad = Raw::connect(&instance);
    bad.put(Ring::Response, "header", READ_INDEX, WORDS);
    bad.request(&Request::LocalGet);
    assert_eq!(daemon.gone(), RingError::Index { index: WORDS, words: WORDS }.into());
    assert!(bad.is_cut_off());
    works(&mut good);
}

#[test]
fn reference_counts_and_sizes_in_shared_memory_are_not_believed() {
    let (_daemon, instance, mut good) = world("counts", Limits::default());
    let mut odd = Raw::connect(&instance);
    for ring in [Ring::Request, Ring::Response, Ring::Event] {
        odd.put(ring, "header", REF_COUNT, 0);
        odd.put(ring, "header", 8, 0);
        odd.open(ring, "header").write_all_at(b"/etc/passwd\0", 12).expect("written");
    }
    odd.request(&Request::LocalGet);
    works(&mut good);
    assert_eq!(odd.number(Ring::Response, "header", SEMAPHORE), 1, "answered");
    drop(odd);
    assert!(Path::new("/etc/passwd").exists());
    works(&mut good);
}

#[test]
fn doorbells_and_chunks_may_come_apart() {
    let (_daemon, instance, mut good) = world("doorbells", Limits::default());
    let mut odd = Raw::connect(&instance);
    for _ in 0..100 {
        odd.stream.write_all(&[0; 1000]).expect("they are read");
    }
    works(&mut good);
    // A chunk without a doorbell waits for one; then it is answered.
    odd.chunk(&local_get());
    odd.post();
    works(&mut good);
    odd.ring();
    works(&mut good);
    assert_eq!(odd.number(Ring::Response, "header", SEMAPHORE), 1);
}

#[test]
fn a_client_that_never_reads_its_events_is_cut_off() {
    let limits = Limits { event_queue_bytes_max: 4_000_000, ..Limits::default() };
    let (daemon, instance, mut good) = world("unread", limits);
    let mut bad = Raw::connect(&instance);
    bad.request(&Request::Join { group: Some(group()), pid: 7, flags: 0 });
    good.dispatch(SOON).expect("alive").expect("the join");
    let mut sent = 0;
    let cut_off = loop {
        good.multicast(2, &[3; 100_000]).expect("sent");
        sent += 1;
        match good.dispatch(SOON).expect("alive").expect("an event") {
            Event::Deliver { .. } => assert!(sent < 60, "the bound is reached"),
            Event::ConfigurationChange { left, .. } => break left,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cut_off[0].pid, 7);
    assert!(matches!(daemon.gone(), GoneCause::EventQueueFull { max: 4_000_000, .. }));
    // 10 fit into the ring, 39 wait.
    assert!((49..=52).contains(&sent), "{sent}");
    assert!(bad.is_cut_off());
    works(&mut good);
}

#[test]
fn all_clients_together_have_a_bound() {
    let limits = Limits { event_queues_bytes_max: 1_000_000, ..Limits::default() };
    let (daemon, instance, mut good) = world("together", limits);
    let mut bad = [Raw::connect(&instance), Raw::connect(&instance)];
    for raw in &mut bad {
        raw.request(&Request::Join { group: Some(group()), pid: 7, flags: 0 });
        good.dispatch(SOON).expect("alive").expect("the join");
    }
    for _ in 0..25 {
        good.multicast(2, &[3; 100_000]).expect("sent");
        while !matches!(good.dispatch(SOON).expect("alive").expect("an event"), Event::Deliver { .. }) {}
    }
    for _ in &bad {
        assert!(matches!(daemon.gone(), GoneCause::EventQueueFull { max: 1_000_000, .. }));
    }
    works(&mut good);
}

#[test]
fn a_client_that_never_reads_its_replies_is_cut_off() {
    let (daemon, instance, mut good) = world("replies", Limits::default());
    let mut bad = Raw::connect(&instance);
    // Membership replies have 9,248 octets; requests are written over and over at the same place.
    let mut octets = Vec::new();
    Request::MembershipGet { group: Some(group()) }.encode(&mut octets);
    let words = 2 + octets.len() as u32 / 4;
    let data = bad.open(Ring::Request, "data");
    for number in 0..200_u32 {
        let start = u64::from(number * words * 4);
        data.write_all_at(&octets, start + 8).expect("written");
        data.write_all_at(&(octets.len() as u32).to_le_bytes(), start).expect("written");
        data.write_all_at(&COMMITTED.to_le_bytes(), start + 4).expect("written");
    }
    bad.put(Ring::Request, "header", WRITE_INDEX, 200 * words);
    bad.put(Ring::Request, "header", SEMAPHORE, 200);
    bad.ring();
    assert_eq!(daemon.gone(), GoneCause::RepliesUnread);
    assert!(bad.is_cut_off());
    works(&mut good);
}

#[test]
fn half_a_message_of_a_client_that_died_is_not_delivered() {
    let (daemon, instance, mut good) = world("half", Limits::default());
    let mut bad = Raw::connect(&instance);
    bad.request(&Request::Join { group: Some(group()), pid: 7, flags: 0 });
    good.dispatch(SOON).expect("alive").expect("the join");
    // Reserved and filled, but neither committed nor counted.
    let mut octets = Vec::new();
    Request::Multicast { guarantee: 2, message: vec![9; 100].into() }.encode(&mut octets);
    let data = bad.open(Ring::Request, "data");
    data.write_all_at(&octets, 44 * 4 + 8).expect("written");
    bad.put(Ring::Request, "data", 44 * 4 + 4, 0xA110_CED0);
    bad.ring();
    let directory = bad.directory();
    drop(bad);
    assert_eq!(daemon.gone(), GoneCause::Closed);
    match good.dispatch(SOON).expect("alive").expect("an event") {
        Event::ConfigurationChange { left, .. } => assert_eq!(left[0].pid, 7),
        other => panic!("{other:?}"),
    }
    assert!(!directory.exists());
    works(&mut good);
}

#[test]
fn those_who_do_not_introduce_themselves_properly_get_nothing() {
    let limits = Limits { handshake_timeout: Duration::from_millis(100), ..Limits::default() };
    let (daemon, instance, mut good) = world("handshake", limits);
    let mut silent = Raw::dial(&instance);
    let mut slow = Raw::dial(&instance);
    slow.write_all(&Raw::hello(1_048_576)[..10]).expect("room");
    let mut wrong = Raw::dial(&instance);
    wrong.write_all(&[7; 24]).expect("room");
    for stream in [&mut silent, &mut slow, &mut wrong] {
        let mut rest = Vec::new();
        let closed = stream.read_to_end(&mut rest);
        assert!(closed.is_ok() || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
        assert_eq!(rest, [], "no answer");
    }
    let huge = Raw::greet(Raw::dial(&instance), &Raw::hello(u32::MAX));
    assert_eq!(huge.welcome[16..20], (-90_i32).to_le_bytes(), "EMSGSIZE");
    assert!(huge.welcome[20..].iter().all(|octet| *octet == 0));
    // In pieces, but in time.
    let mut pieces = Raw::dial(&instance);
    let hello = Raw::hello(1_048_576);
    pieces.write_all(&hello[..5]).expect("room");
    works(&mut good);
    let pieces = Raw::greet(pieces, &hello[5..]);
    assert_eq!(pieces.welcome[16..20], [0; 4]);
    drop((huge, pieces));
    daemon.gone();
    works(&mut good);
}

#[test]
fn zero_copy_buffers_are_files_of_the_client_and_nothing_else() {
    let (_daemon, instance, mut good) = world("zero copy", Limits::default());
    let name = |tail: &str| format!("/dev/shm/corosync_zerocopy-test{}-{tail}", std::process::id());
    let canary = tempfile::NamedTempFile::new().expect("a file");
    fs::write(canary.path(), [1; 4096]).expect("written");
    let link = name("link");
    std::os::unix::fs::symlink(canary.path(), &link).expect("linked");
    let fifo = name("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a fifo");
    let short = name("short");
    fs::write(&short, [0; 100]).expect("written");
    let outside = canary.path().to_str().expect("text").to_owned();
    let climbing = format!("/dev/shm/corosync_zerocopy-/../..{outside}");

    for path in [link.clone(), fifo.clone(), short.clone(), outside, climbing, name("none"), String::new()] {
        let mut bad = Raw::connect(&instance);
        bad.request(&ZeroCopy::Allocate { map_bytes: 4096, path: path.clone().into() });
        works(&mut good);
        assert_eq!(bad.number(Ring::Response, "header", SEMAPHORE), 1, "answered");
        assert_ne!(bad.number(Ring::Response, "data", 8 + 16), CsError::Ok as u32, "{path}");
    }
    assert_eq!(fs::read(canary.path()).expect("there"), [1; 4096]);
    for leftover in [link, fifo] {
        fs::remove_file(leftover).expect("not touched");
    }
    let _ = fs::remove_file(short);

    // A token that was never given out, and a buffer that was cut after its allocation.
    let mut bad = Raw::connect(&instance);
    bad.request(&ZeroCopy::Execute { token: 0xDEAD_BEEF });
    works(&mut good);
    assert_eq!(bad.number(Ring::Response, "data", 8 + 16), CsError::InvalidParam as u32);

    let path = name("cut");
    let file = File::create_new(&path).expect("a file");
    file.set_len(4096).expect("room");
    let mut bad = Raw::connect(&instance);
    bad.request(&ZeroCopy::Allocate { map_bytes: 4096, path: path.clone().into() });
    works(&mut good);
    assert!(!Path::new(&path).exists(), "unlinked");
    file.set_len(20).expect("cut");
    let mut octets = Vec::new();
    ZeroCopy::Execute { token: 1 }.encode(&mut octets);
    bad.second_request(40, &octets);
    works(&mut good);
    assert_eq!(bad.number(Ring::Response, "data", 32 + 8), 2, "the answer to an execution");
    assert_ne!(bad.number(Ring::Response, "data", 32 + 8 + 16), CsError::Ok as u32);
}

#[test]
fn a_control_file_that_is_cut_ends_a_connection_over_sockets() {
    let instance = instance("control");
    let daemon = Daemon::start(settings(&instance, Transport::Socket));
    let mut good = Client::connect(Some(&instance)).expect("it listens");
    let bad = Raw::greet(Raw::dial(&instance), &Raw::hello(1_048_576));
    let control: Vec<u8> = bad.welcome[40..].iter().copied().take_while(|octet| *octet != 0).collect();
    let control = PathBuf::from(String::from_utf8(control).expect("a path"));
    File::options().write(true).open(&control).expect("it is ours").set_len(0).expect("cut");
    daemon.with(|server| server.set_flow_control(2));
    daemon.with(|server| server.set_flow_control(0));
    assert_eq!(good.local_get().expect("an answer"), 1);
    drop(bad);
    assert!(matches!(daemon.gone(), GoneCause::Closed | GoneCause::Ring(RingError::Truncated)));
    assert!(!control.exists());
    assert_eq!(good.local_get().expect("an answer"), 1);
}

#[test]
fn leftovers_of_dead_daemons_are_removed_and_nothing_else() {
    let mut dead = Command::new("true").spawn().expect("it starts");
    let pid = dead.id();
    dead.wait().expect("it ends");
    let directory = |pid: u32, tail: &str| PathBuf::from(format!("/dev/shm/qb-{pid}-1-1-{tail}"));
    let (stale, foreign, alive) =
        (directory(pid, "aaaaaa"), directory(pid, "bbbbbb"), directory(std::process::id(), "cccccc"));
    for made in [&stale, &foreign, &alive] {
        fs::create_dir(made).expect("made");
    }
    fs::write(stale.join("qb-request-cpg-header"), b"x").expect("written");
    fs::write(foreign.join("qb-request-other-header"), b"x").expect("written");
    let _server = Server::bind(settings(&instance("leftovers"), Transport::SharedMemory)).expect("free");
    let found = [&stale, &foreign, &alive].map(|made| made.exists());
    for made in [&stale, &foreign, &alive] {
        let _ = fs::remove_dir_all(made);
    }
    assert_eq!(found, [false, true, true]);
}

#[test]
fn descriptors_and_files_are_back_after_many_clients() {
    alone("descriptors_and_files_are_back_after_many_clients", || {
        let (daemon, instance, mut good) = world("churn", Limits::default());
        let prefix = format!("qb-{}-", std::process::id());
        let used = || {
            let descriptors = fs::read_dir("/proc/self/fd").expect("there").count();
            let directories = fs::read_dir("/dev/shm").expect("there").flatten();
            let own = directories.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
            (descriptors, own.count())
        };
        works(&mut good);
        let before = used();
        for round in 0..200 {
            let mut bad = Raw::connect(&instance);
            match round % 4 {
                0 => bad.stream.shutdown(Shutdown::Both).expect("open"),
                1 => bad.open(Ring::Request, "header").set_len(0).expect("cut"),
                2 => bad.put(Ring::Request, "header", SEMAPHORE, 5),
                _ => bad.request(&Request::Join { group: Some(group()), pid: 7, flags: 0 }),
            }
            let _ = bad.stream.write_all(&[0]);
            drop(bad);
            daemon.gone();
        }
        for _ in 0..100 {
            drop(Raw::dial(&instance));
        }
        works(&mut good);
        while daemon.with(|server| server.connections()) > 1 {
            works(&mut good);
        }
        assert_eq!(used(), before);
    });
}

#[test]
fn without_descriptors_nobody_is_let_in_and_nothing_spins() {
    alone("without_descriptors_nobody_is_let_in_and_nothing_spins", || {
        let instance = instance("descriptors");
        let mut server = Server::bind(settings(&instance, Transport::SharedMemory)).expect("free");
        server.set_accepting(true);
        let mut inputs = Vec::new();
        let waiting: Vec<_> = (0..20).map(|_| Raw::dial(&instance)).collect();
        let limit = getrlimit(Resource::Nofile);
        let used = fs::read_dir("/proc/self/fd").expect("there").count() as u64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(used + 3), maximum: limit.maximum })
            .expect("less");
        while server.poll(&mut inputs) {}
        assert!(server.connections() < 20);
        // No more events until the pause is over.
        let mut polled = [PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(poll(&mut polled, Some(&now)).expect("poll"), 0, "not readable while it pauses");
        setrlimit(Resource::Nofile, limit).expect("as before");
        while server.connections() < 20 {
            let mut polled = [PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN)];
            poll(&mut polled, None).expect("it wakes by itself");
            while server.poll(&mut inputs) {}
        }
        drop(waiting);
    });
}

#[test]
fn one_busy_client_does_not_keep_others_waiting() {
    // Everything a client may have in its ring is more than one turn; the other's request comes
    // out of the same poll.
    let instance = instance("fair");
    let mut server = Server::bind(settings(&instance, Transport::SharedMemory)).expect("free");
    server.set_accepting(true);
    let mut inputs = Vec::new();
    let connect = |server: &mut Server, inputs: &mut Vec<_>| {
        let mut stream = Raw::dial(&instance);
        stream.write_all(&Raw::hello(1_048_576)).expect("room");
        while server.poll(inputs) {}
        let mut welcome = vec![0; 12_328];
        stream.read_exact(&mut welcome).expect("an answer");
        Raw { stream, welcome }
    };
    let mut busy = connect(&mut server, &mut inputs);
    let mut other = connect(&mut server, &mut inputs);
    inputs.clear();
    let data = busy.open(Ring::Request, "data");
    for number in 0..1000_u64 {
        data.write_all_at(&16_u32.to_le_bytes(), number * 24).expect("written");
        data.write_all_at(&COMMITTED.to_le_bytes(), number * 24 + 4).expect("written");
        data.write_all_at(&local_get(), number * 24 + 8).expect("written");
    }
    busy.put(Ring::Request, "header", WRITE_INDEX, 6000);
    busy.put(Ring::Request, "header", SEMAPHORE, 1000);
    busy.ring();
    other.request(&Request::LocalGet);
    assert!(server.poll(&mut inputs), "more is left");
    assert!(inputs.len() <= 64 + 1, "{}", inputs.len());
    assert_eq!(inputs.len(), 65, "a turn of the busy one, and the other's request");
    let mut polled = [PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut polled, Some(&now)).expect("poll"), 1, "what is left keeps it readable");
    while server.poll(&mut inputs) {}
    assert_eq!(inputs.len(), 1001);
    let mut polled = [PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&now)).expect("poll"), 0, "and nothing more");
}

#[test]
fn a_second_daemon_of_the_same_name_does_not_start() {
    let instance = instance("twice");
    let _first = Server::bind(settings(&instance, Transport::SharedMemory)).expect("free");
    let second = Server::bind(settings(&instance, Transport::SharedMemory));
    assert!(matches!(second, Err(ipc::server::BindError::InUse { .. })));
    drop(second);
    assert!(matches!(Client::connect(Some("nobody-of-this-name")), Err(ClientError::NotRunning(_))));
}

/// Runs a test in a process of its own, where nobody else opens descriptors.
fn alone(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "IPC_TEST_ALONE";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args(["--exact", &format!("hostile::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
