//! What must not disturb a ring: packets without the key, wrong nodes, wrong files, clients that do not play.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddrV4, UdpSocket},
    process::{Command, ExitCode},
    time::Instant,
};

use rustix::process::Signal;
use tests::{
    system::{
        Client, ClientOptions, Cluster, Datagram, Ended, Event, HANG, Injector, Network, NodeNumber, Sniffer,
        Spec, sandbox, settle,
    },
    system_tests,
};

fn main() -> ExitCode {
    use sandbox::Need::Libcpg;
    sandbox::run_tests(system_tests![
        [Libcpg] packets_without_the_key_leave_the_ring_alone,
        [Libcpg] a_recording_of_the_ring_means_nothing_to_a_restarted_node,
        [Libcpg] a_node_with_the_wrong_key_stays_alone,
        [Libcpg] a_second_node_with_the_same_id_is_refused_and_the_ring_stays,
        [Libcpg] a_client_that_stops_reading_is_cut_off_and_others_go_on,
        [Libcpg] nothing_of_a_half_sent_message_is_delivered,
        [] a_broken_configuration_ends_with_8_and_names_every_fault,
    ])
}

fn packets_without_the_key_leave_the_ring_alone() {
    let cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions::default());
    let recorded = record(&cluster, &mut clients);
    let marks: Vec<_> = clients.iter_mut().map(Client::mark).collect();
    let lines_before: Vec<_> = (1..=3).map(|number| cluster.node(number).log().lines().count()).collect();
    let start = Instant::now();

    for client in &mut clients {
        client.command("send 2000");
    }
    let stranger = cluster.network().outside().enter(|| UdpSocket::bind((Network::stranger(), PORT)));
    let stranger = stranger.expect("bind at the bridge");
    stranger.set_nonblocking(true).expect("set a socket's mode");
    let injector = Injector::new(cluster.network());
    let mut sent = 0;
    for datagram in &recorded {
        for attack in variations(datagram) {
            injector.send(&attack);
            sent += 1;
        }
    }
    for number in 1..=3 {
        sent += send_rubbish(&stranger, number);
    }

    let reports = settle(&mut clients);
    for report in &reports {
        assert_eq!((report.delivered, &report.hash), (reports[0].delivered, &reports[0].hash));
    }
    for (client, mark) in clients.iter_mut().zip(marks) {
        let disturbed = |event: &&Event| matches!(event, Event::Ring { .. } | Event::Confchg { .. });
        assert!(
            !client.history()[mark..].iter().any(|event| disturbed(&event)),
            "{:#?}",
            &client.history()[mark..]
        );
    }
    let answer = stranger.recv(&mut [0; 2048]).map_err(|error| error.kind());
    assert_eq!(answer, Err(ErrorKind::WouldBlock), "nobody answers a stranger");
    let seconds = start.elapsed().as_secs() + 1;
    for (number, before) in (1..).zip(lines_before) {
        let lines = (cluster.node(number).log().lines().count() - before) as u64;
        assert!(lines <= LINES_A_SECOND * seconds, "node {number} wrote {lines} lines in {seconds} s");
    }
    println!("{sent} packets from {} recorded ones", recorded.len());
}

fn a_recording_of_the_ring_means_nothing_to_a_restarted_node() {
    let mut cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions::default());
    let recorded = record(&cluster, &mut clients);
    let injector = Injector::new(cluster.network());
    let replay = |to: NodeNumber| {
        for datagram in recorded.iter().filter(|datagram| *datagram.target.ip() == Network::address(to)) {
            injector.send(datagram);
        }
    };

    cluster.node_mut(3).kill();
    clients.truncate(2);
    for client in &mut clients {
        client.wait_departure(0, 3);
    }
    // Cut off from the living, a node that remembers nobody hears only the recording: it stays alone.
    cluster.network().cut(&[1, 2], &[3]);
    cluster.start_node(3);
    let mut alone = cluster.client(3, &ClientOptions::default());
    replay(3);
    alone.wait_ring(0, &[3]);
    replay(3);
    assert!(settle(std::slice::from_mut(&mut alone))[0].delivered > 0);
    let rings = alone.history().iter().filter_map(|event| match event {
        Event::Ring { members, .. } => Some(members.clone()),
        _ => None,
    });
    assert!(rings.into_iter().all(|members| members == [3].into()), "{:#?}", alone.history());

    let marks: Vec<_> = clients.iter_mut().map(Client::mark).collect();
    cluster.network().heal();
    replay(3);
    replay(1);
    for (client, mark) in clients.iter_mut().zip(marks) {
        client.wait_ring(mark, &[1, 2, 3]);
    }
}

fn a_node_with_the_wrong_key_stays_alone() {
    let mut cluster = Cluster::new(Spec::default());
    cluster.node(3).set_key(&(0..=255).map(|octet: u8| octet.wrapping_mul(91) ^ 7).collect::<Vec<_>>());
    for number in 1..=3 {
        cluster.start_node(number);
    }
    let options = ClientOptions::default();
    let mut clients: Vec<_> = (1..=3).map(|number| cluster.client(number, &options)).collect();
    for (client, nodes) in clients.iter_mut().zip([&[1, 2][..], &[1, 2], &[3]]) {
        client.wait_ring(0, nodes);
        client.command("send 500");
    }
    clients[0].drain();
    clients[2].drain();
    for client in &clients {
        let mixed = |event: &Event| match event {
            Event::Ring { members, .. } => members.contains(&3) && members.len() > 1,
            _ => false,
        };
        assert!(!client.history().iter().any(mixed), "{:#?}", client.history());
    }
}

fn a_second_node_with_the_same_id_is_refused_and_the_ring_stays() {
    // Node 3's place runs a daemon that says it is node 2, with the right key.
    let mut cluster = Cluster::new(Spec::default());
    for number in 1..=2 {
        cluster.start_node(number);
    }
    let mut clients: Vec<_> =
        (1..=2).map(|number| cluster.client(number, &ClientOptions::default())).collect();
    for client in &mut clients {
        client.wait_ring(0, &[1, 2]);
        client.wait_members(0, &[1, 2]);
    }
    let marks: Vec<_> = clients.iter_mut().map(Client::mark).collect();
    cluster.node(3).edit_config(|text| {
        let mut text = text.split("\n[[nodelist.node]]").next().expect("a first part").to_owned();
        for (id, place) in [(1, 1), (2, 3)] {
            let address = Network::address(place);
            text.push_str(&format!("\n[[nodelist.node]]\nnodeid = {id}\nring0_addr = \"{address}\"\n"));
        }
        text
    });
    cluster.start_node(3);

    let ended = cluster.node_mut(3).wait_end();
    assert!(matches!(ended, Ended::Exit(code) if code != 0), "the newcomer gives up: {ended:?}");
    assert_order_alike(&mut clients);
    for (client, mark) in clients.iter_mut().zip(marks) {
        let rings = client.history()[mark..].iter().filter(|event| matches!(event, Event::Ring { .. }));
        assert_eq!(rings.count(), 0, "{:#?}", client.history());
    }
    let newcomer = cluster.node(3).log();
    assert!(newcomer.contains("another live node uses this node id"), "{newcomer}");
    let refuser = [1, 2].map(|number| cluster.node(number).log());
    assert!(refuser.iter().any(|log| log.contains("duplicate node id refused")), "{refuser:#?}");
}

fn a_client_that_stops_reading_is_cut_off_and_others_go_on() {
    let cluster = Cluster::start(Spec::default());
    let options = ClientOptions { size: Some(60_000), ..ClientOptions::default() };
    let mut clients = cluster.clients(&options);
    let mut sleeper = cluster.client(1, &options);
    sleeper.wait_for("its own membership", |event| matches!(event, Event::Confchg { .. }).then_some(()));
    let sleeper_pid = sleeper.pid();
    sleeper.process().signal(Signal::STOP);
    for client in &mut clients {
        client.command("send 1000000");
    }
    for client in &mut clients {
        let reason = client.wait_for("departure of the sleeper", |event| match event {
            Event::Confchg { left, .. } => {
                left.iter().find(|process| process.1 == sleeper_pid).map(|process| process.2)
            }
            _ => None,
        });
        assert_eq!(reason, 5, "it counts as a process that died");
        client.command("stop");
    }
    assert_order_alike(&mut clients);
    sleeper.process().signal(Signal::CONT);
    assert_eq!(sleeper.process().wait(HANG), Some(Ended::Exit(3)), "it finds its connection closed");
    let log = cluster.node(1).log();
    assert!(log.contains(&sleeper_pid.to_string()), "the log names it");
}

fn nothing_of_a_half_sent_message_is_delivered() {
    // Messages of 1 MiB travel as several requests. Whatever the moment of the kill, the others see whole messages
    // only, with the right content (each client checks that), and then the departure.
    let cluster = Cluster::start(Spec::default());
    let options = ClientOptions { size: Some(1 << 20), ..ClientOptions::default() };
    let mut clients = cluster.clients(&options);
    for round in 1..=5 {
        let mut victim = cluster.client(1, &options);
        let victim_pid = victim.pid();
        victim.command("send 1000000");
        victim.command(&format!("expect {}", 3 * round));
        victim.wait_reached(0);
        victim.process().signal(Signal::KILL);
        for client in &mut clients {
            client.wait_for("departure of the victim", |event| match event {
                Event::Confchg { left, .. } => {
                    left.iter().any(|process| process.1 == victim_pid).then_some(())
                }
                _ => None,
            });
        }
    }
    assert_order_alike(&mut clients);
}

fn a_broken_configuration_ends_with_8_and_names_every_fault() {
    let cluster = Cluster::new(Spec::default());
    let node = cluster.node(1);
    node.edit_config(|text| {
        text.replace("token = 1000", "tokn = 1000\nconsensus = \"long\"\njoin = 0")
            .replace("nodeid = 3", "nodeid = 2")
    });
    let text = fs::read_to_string(node.config()).expect("read a configuration");
    for arguments in [&["-t"][..], &["-f"]] {
        let mut command = Command::new(sandbox::program("corosync"));
        let output = cluster.run_on(1, command.args(arguments).arg("-c").arg(node.config()));
        let messages = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{messages}");
        for fault in ["tokn =", "consensus =", "join =", "nodeid = 2"] {
            let lines: Vec<_> = text.lines().collect();
            let line =
                1 + lines.iter().rposition(|line| line.starts_with(fault)).expect("the fault is there");
            assert!(
                messages.contains(&format!("corosync.toml:{line}:")),
                "no word of line {line}:\n{messages}"
            );
        }
    }
}

/// What passes the bridge while all clients send a little. Delivered everywhere when this returns.
fn record(cluster: &Cluster, clients: &mut [Client]) -> Vec<Datagram> {
    cluster.network().split_batches();
    let mut sniffer = Sniffer::new(cluster.network());
    for client in &mut *clients {
        client.command("send 300");
    }
    settle(clients);
    let mut recorded = sniffer.take(RECORDED_MAX);
    recorded.retain(|datagram| datagram.target.port() == PORT);
    assert!(recorded.len() > 100, "only {} datagrams recorded", recorded.len());
    recorded
}

/// A datagram again, damaged in some ways, and from somebody else.
fn variations(datagram: &Datagram) -> Vec<Datagram> {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = datagram.clone();
        change(&mut changed.payload);
        changed
    };
    let len = datagram.payload.len();
    let bit = len * 7919 % (len * 8);
    let reflected =
        Datagram { source: datagram.target, target: datagram.source, payload: datagram.payload.clone() };
    let from_stranger = Datagram { source: SocketAddrV4::new(Network::stranger(), PORT), ..datagram.clone() };
    [
        datagram.clone(),
        reflected,
        from_stranger,
        with(&|payload| payload[bit / 8] ^= 1 << (bit % 8)),
        with(&|payload| payload.truncate(len / 2)),
        with(&|payload| payload.truncate(len - 1)),
        with(&|payload| payload.insert(len / 3, 0)),
        with(&|payload| payload.clear()),
    ]
    .into_iter()
    .filter(|datagram| datagram.payload.len() <= PAYLOAD_MAX)
    .collect()
}

/// Every length from nothing to more than a packet, and the largest that UDP has. Says how many.
fn send_rubbish(stranger: &UdpSocket, to: NodeNumber) -> usize {
    let target = (Network::address(to), PORT);
    let rubbish: Vec<u8> = (0..65_507_u32).map(|index| ((index * index) >> 3).to_le_bytes()[0]).collect();
    let lengths = (0..1600).chain([8972, 9000, 30_000, 65_507]);
    // A full queue of the sender loses some; that is as good.
    lengths.filter(|&len| stranger.send_to(&rubbish[..len], target).is_ok()).count()
}

fn assert_order_alike(clients: &mut [Client]) {
    let reports = settle(clients);
    for report in &reports {
        assert_eq!(
            (report.delivered, &report.hash),
            (reports[0].delivered, &reports[0].hash),
            "{reports:#?}"
        );
    }
}

/// What fits into one packet.
const PAYLOAD_MAX: usize = 1472;
const PORT: u16 = 5405;
/// Packets of a recording.
const RECORDED_MAX: usize = 2000;
/// More than one line a second for each of some kinds of packet that is not ours.
const LINES_A_SECOND: u64 = 10;
