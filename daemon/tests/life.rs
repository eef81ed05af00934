//! Real daemons: how they start, wait, refuse and end.

mod node;

use std::{fs, net::UdpSocket, time::Duration};

use ipc::{
    client::cpg::{Client, Event},
    message::cpg::{GroupName, JOIN_INITIAL_TOTEM_CONF},
};
use node::Cluster;
use rustix::process::Signal;

fn group() -> GroupName {
    GroupName::new(b"test").expect("a short name")
}

fn next(client: &mut Client) -> Event {
    client.dispatch(Some(Duration::from_secs(20))).expect("connected").expect("an event in time")
}

/// Waits until the client is told of a ring of these nodes.
fn wait_for_ring(client: &mut Client, nodes: &[u32]) {
    while !matches!(next(client), Event::TotemConfigurationChange { members, .. } if members == nodes) {}
}

#[test]
fn a_node_alone_serves_programs_and_leaves_when_asked() {
    let cluster = Cluster::of(&["127.0.0.1"]);
    let directory = cluster.prepare(1, "one");
    let mut daemon = cluster.start("one");
    daemon.told("READY=1");
    let mut client = daemon.client();
    client.join(group()).expect("joined");
    client.multicast(2, b"to myself").expect("sent");
    while !matches!(next(&mut client), Event::Deliver { nodeid: 1, message, .. } if &message[..] == b"to myself")
    {
    }
    let state = fs::read_to_string(directory.join("state/ringid_1")).expect("stored before the ring formed");
    assert!(state.starts_with("corosync-ringid 1 node=00000001 mark="), "{state}");

    daemon.signal(Signal::HUP);
    daemon.signal(Signal::TERM);
    daemon.told("STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(daemon.log().contains("SIGHUP is ignored"), "{}", daemon.log());
}

#[test]
fn three_nodes_form_a_ring_and_go_on_without_one_that_is_killed() {
    let cluster = Cluster::of(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let mut daemons: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(1..)
        .map(|(name, node)| {
            cluster.prepare(node, name);
            cluster.start(name)
        })
        .collect();
    let mut clients: Vec<_> = daemons
        .iter()
        .map(|daemon| {
            daemon.told("READY=1");
            let mut client = daemon.client();
            client.join_with(group(), JOIN_INITIAL_TOTEM_CONF).expect("joined");
            client
        })
        .collect();
    clients.iter_mut().for_each(|client| wait_for_ring(client, &[1, 2, 3]));
    daemons[0].signal(Signal::KILL);
    clients.iter_mut().skip(1).for_each(|client| wait_for_ring(client, &[2, 3]));
    for daemon in &mut daemons[1..] {
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().code(), Some(0));
    }
}

#[test]
fn a_second_node_with_the_same_number_is_refused_and_the_ring_stays() {
    let mut cluster = Cluster::of(&["127.0.0.1", "127.0.0.2"]);
    cluster.prepare(1, "first");
    cluster.prepare(2, "second");
    let (first, second) = (cluster.start("first"), cluster.start("second"));
    first.told("READY=1");
    second.told("READY=1");
    let mut client = first.client();
    client.join_with(group(), JOIN_INITIAL_TOTEM_CONF).expect("joined");
    wait_for_ring(&mut client, &[1, 2]);

    // A clone of the second node, with an address of its own.
    cluster.nodes[1].1 = "127.0.0.3".parse().expect("an address");
    cluster.prepare(2, "clone");
    let mut clone = cluster.start("clone");
    assert_eq!(clone.wait().code(), Some(30), "{}", clone.log());
    assert!(
        clone.log().contains("another live node of the cluster has this node's number"),
        "{}",
        clone.log()
    );
    assert!(first.log().contains("127.0.0.3"), "the incumbents say where it came from: {}", first.log());
    client.multicast(2, b"still here").expect("sent");
    loop {
        match next(&mut client) {
            Event::TotemConfigurationChange { ring, members } => panic!("ring {ring:?} of {members:?}"),
            Event::Deliver { .. } => break,
            _ => {}
        }
    }
}

#[test]
fn a_node_whose_state_cannot_be_written_waits_and_says_why() {
    let cluster = Cluster::of(&["127.0.0.1"]);
    let directory = cluster.prepare(1, "one");
    // Not even root can write a file where there is a directory.
    let obstacle = directory.join("state/.ringid_1.new");
    fs::create_dir_all(&obstacle).expect("created");
    let mut daemon = cluster.start("one");
    let status = daemon.told("STATUS=no new ring until the state directory can be written");
    assert!(status.contains("directory"), "{status}");
    assert!(!directory.join("state/ringid_1").exists());
    fs::remove_dir(obstacle).expect("removed");
    daemon.told("READY=1");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(daemon.log().contains("ring sequence cannot be stored"), "{}", daemon.log());
}

#[test]
fn a_damaged_state_file_is_named_and_never_believed() {
    let cluster = Cluster::of(&["127.0.0.1"]);
    let directory = cluster.prepare(1, "one");
    fs::create_dir(directory.join("state")).expect("created");
    fs::write(directory.join("state/ringid_1"), "corosync-ringid 1 node=0000").expect("written");
    let daemon = cluster.start("one");
    daemon.told("READY=1");
    let log = daemon.log();
    assert!(log.contains("state/ringid_1 cause=it is 27 octets long instead of 67"), "{log}");
}

#[test]
fn a_node_waits_for_its_address_and_can_be_stopped_meanwhile() {
    // TEST-NET-3 (RFC 5737): never on an interface.
    let cluster = Cluster::of(&["203.0.113.9"]);
    cluster.prepare(1, "one");
    let mut daemon = cluster.start("one");
    daemon.told("STATUS=waiting for this node's address 203.0.113.9");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn what_another_program_uses_is_named() {
    let cluster = Cluster::of(&["127.0.0.1"]);
    let _other = UdpSocket::bind(("127.0.0.1", cluster.port())).expect("free");
    cluster.prepare(1, "one");
    let mut daemon = cluster.start("one");
    assert_eq!(daemon.wait().code(), Some(18));
    let log = daemon.log();
    assert!(log.contains(&format!("another program uses 127.0.0.1:{}", cluster.port())), "{log}");
}

#[test]
fn a_second_daemon_under_one_name_does_not_disturb_the_first() {
    let cluster = Cluster::of(&["127.0.0.1"]);
    cluster.prepare(1, "one");
    let daemon = cluster.start("one");
    daemon.told("READY=1");
    let mut second = cluster.start("one");
    assert_eq!(second.wait().code(), Some(18), "{}", second.log());
    daemon.client().join(group()).expect("joined");
}

#[test]
fn a_state_directory_that_is_none_ends_the_daemon_with_16() {
    let cluster = Cluster::of(&["127.0.0.1"]);
    let directory = cluster.prepare(1, "one");
    fs::write(directory.join("state"), "").expect("written");
    let mut daemon = cluster.start("one");
    assert_eq!(daemon.wait().code(), Some(16));
    assert!(daemon.log().contains("state directory "), "{}", daemon.log());
}
