//! Three real daemons: forming, failing, parting, meeting again.

use std::process::ExitCode;

use tests::{
    system::{
        Client, ClientOptions, Cluster, Ended, Event, HANG, Report, Spec, StateFault, now_ns, sandbox, settle,
    },
    system_tests,
};

fn main() -> ExitCode {
    use sandbox::Need::Libcpg;
    sandbox::run_tests(system_tests![
        [Libcpg] three_nodes_form_a_ring,
        [Libcpg] survivors_of_a_killed_daemon_go_on_and_its_restart_merges_back,
        [Libcpg] a_daemon_that_is_told_to_stop_leaves_at_once,
        [Libcpg] a_partition_makes_two_rings_and_healing_makes_one,
        [Libcpg] a_ring_is_whole_again_after_a_link_failed_in_one_direction,
        [Libcpg] a_paused_daemon_comes_back_to_the_ring,
        [Libcpg] the_order_holds_while_a_tenth_of_all_packets_is_lost,
        [Libcpg] a_running_daemon_survives_a_read_only_state_directory,
        [Libcpg] a_running_daemon_survives_a_full_state_directory,
    ])
}

fn three_nodes_form_a_ring() {
    let mut cluster = Cluster::new(Spec { token_ms: None, ..Spec::default() });
    let started_at = now_ns();
    for number in 1..=3 {
        cluster.start_node(number);
    }
    let options = ClientOptions::default();
    let mut clients: Vec<_> = (1..=3).map(|number| cluster.client(number, &options)).collect();
    let ring_at = clients.iter_mut().map(|client| client.wait_ring(0, &[1, 2, 3])).max().expect("a client");
    println!("from the first start to a ring of three: {} ms", (ring_at - started_at) / 1_000_000);
    for number in 1..=3 {
        cluster.node_mut(number).wait_ready();
    }
    assert_order(&settle(&mut clients));
}

fn survivors_of_a_killed_daemon_go_on_and_its_restart_merges_back() {
    let mut cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions::default());
    for client in &mut clients {
        client.command("send 20000");
    }
    clients[2].command("expect 5000");
    clients[2].wait_reached(0);

    let killed_at = cluster.node_mut(3).kill();
    let mut orphan = clients.pop().expect("a client on node 3");
    assert_eq!(orphan.process().wait(HANG), Some(Ended::Exit(3)), "its client sees that it died");
    let departures: Vec<_> = clients.iter_mut().map(|client| client.wait_departure(0, 3)).collect();
    let told_at = departures.iter().map(|departure| departure.t_ns).max().expect("a survivor");
    println!(
        "from kill -9 to the change at both survivors: {} ms (token 1000 ms, consensus 1200 ms)",
        (told_at - killed_at) / 1_000_000
    );
    assert!(departures.iter().all(|departure| departure.reason == NODE_DOWN), "{departures:?}");
    assert_eq!(departures[0].place, departures[1].place, "at the same place in the order");
    assert_order(&settle(&mut clients));

    cluster.start_node(3);
    cluster.node_mut(3).wait_ready();
    clients.push(cluster.client(3, &ClientOptions::default()));
    for client in &mut clients {
        client.wait_ring(0, &[1, 2, 3]);
    }
    assert_new_group_works(&cluster);
}

fn a_daemon_that_is_told_to_stop_leaves_at_once() {
    // With a token timeout this long, nobody who had to wait for it would be seen here in time.
    let mut cluster = Cluster::start(Spec { token_ms: Some(100_000), ..Spec::default() });
    let mut clients = cluster.clients(&ClientOptions::default());
    let marks: Vec<_> = clients.iter_mut().map(Client::mark).collect();

    let told_at = cluster.node_mut(3).terminate();
    assert_eq!(cluster.node_mut(3).wait_end(), Ended::Exit(0));
    clients.truncate(2);
    for (client, mark) in clients.iter_mut().zip(marks) {
        let departure = client.wait_departure(mark, 3);
        assert_eq!(departure.reason, PROCESS_DOWN, "what corosync reports for an orderly stop");
        let ring_at = client.wait_ring(mark, &[1, 2]);
        println!("a survivor knows {} ms after SIGTERM", (ring_at.max(departure.t_ns) - told_at) / 1_000_000);
    }
    assert_order(&settle(&mut clients));
}

fn a_partition_makes_two_rings_and_healing_makes_one() {
    let cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions::default());
    for client in &mut clients {
        client.command("send 3000");
    }
    cluster.network().cut(&[1, 2], &[3]);
    for (client, nodes) in clients.iter_mut().zip([&[1, 2][..], &[1, 2], &[3]]) {
        client.wait_ring(0, nodes);
        client.command("send 500");
    }
    let third = clients.pop().expect("a client on node 3");
    let mut pair = clients;
    assert_order(&settle(&mut pair));
    let mut single = [third];
    settle(&mut single);

    let marks: Vec<_> = pair.iter_mut().chain(&mut single).map(Client::mark).collect();
    cluster.network().heal();
    for (client, mark) in pair.iter_mut().chain(&mut single).zip(marks) {
        client.wait_ring(mark, &[1, 2, 3]);
        client.wait_members(mark, &[1, 2, 3]);
    }
    assert_same_changes(&mut pair);
    assert_new_group_works(&cluster);
}

fn a_ring_is_whole_again_after_a_link_failed_in_one_direction() {
    let cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions::default());
    let mark = clients[0].mark();
    cluster.network().cut_one_way(&[1], &[3]);
    clients[0]
        .wait_after(mark, "change of the ring", |event| matches!(event, Event::Ring { .. }).then_some(()));
    let marks: Vec<_> = clients.iter_mut().map(Client::mark).collect();
    cluster.network().heal();
    for (client, mark) in clients.iter_mut().zip(marks) {
        client.wait_ring(mark, &[1, 2, 3]);
    }
    assert_new_group_works(&cluster);
}

fn a_paused_daemon_comes_back_to_the_ring() {
    let mut cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions::default());
    cluster.node_mut(3).pause();
    for client in &mut clients[..2] {
        assert_eq!(client.wait_departure(0, 3).reason, NODE_DOWN);
    }
    let marks: Vec<_> = clients.iter_mut().map(Client::mark).collect();
    cluster.node_mut(3).resume();
    for (client, mark) in clients.iter_mut().zip(marks) {
        client.wait_ring(mark, &[1, 2, 3]);
        client.wait_members(mark, &[1, 2, 3]);
    }
    assert_new_group_works(&cluster);
}

fn the_order_holds_while_a_tenth_of_all_packets_is_lost() {
    let cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions { seed: 10, ..ClientOptions::default() });
    cluster.network().split_batches();
    cluster.network().lose(10);
    for client in &mut clients {
        client.command("send 1000");
    }
    // Lost tokens may part the ring for a while, and then each side delivers its own; nobody may lose or reorder
    // what it delivers, which the clients check. Together again, they must agree.
    for client in &mut clients {
        client.drain();
    }
    cluster.network().heal();
    for client in &mut clients {
        client.wait_for_last_ring(&[1, 2, 3]);
    }
    assert_new_group_works(&cluster);
}

fn a_running_daemon_survives_a_read_only_state_directory() {
    survives_failing_state(StateFault::ReadOnly);
}

fn a_running_daemon_survives_a_full_state_directory() {
    survives_failing_state(StateFault::Full);
}

/// Node 1 cannot write its state any more, and then has to: node 3 dies and comes back.
fn survives_failing_state(fault: StateFault) {
    let mut cluster = Cluster::new(Spec::default());
    cluster.node_mut(1).put_state_on_tmpfs();
    for number in 1..=3 {
        cluster.start_node(number);
    }
    let mut clients = cluster.clients(&ClientOptions::default());
    let mark = clients[1].mark();
    cluster.node(1).break_state(fault);
    cluster.node_mut(3).kill();
    clients.truncate(2);
    let others = clients[1].wait_after(mark, "ring without node 3", |event| match event {
        Event::Ring { members, .. } => (!members.contains(&3)).then_some(members.clone()),
        _ => None,
    });
    println!("with {fault:?} state on node 1, node 2 is in a ring of {others:?}");
    assert!(cluster.node_mut(1).daemon().is_running());

    cluster.node(1).mend_state(fault);
    cluster.start_node(3);
    for client in &mut clients {
        client.wait_for_last_ring(&[1, 2, 3]);
    }
    assert!(cluster.node_mut(1).daemon().is_running());
    assert!(cluster.node(1).log().contains("/state"), "it names the directory");
    assert_new_group_works(&cluster);
}

/// Each has delivered the same messages in the same order.
fn assert_order(reports: &[Report]) {
    for report in reports {
        assert_eq!(
            (report.delivered, &report.hash),
            (reports[0].delivered, &reports[0].hash),
            "{reports:#?}"
        );
    }
}

/// Both were told of the same changes at the same places in the order.
fn assert_same_changes(clients: &mut [Client]) {
    let changes: Vec<Vec<_>> = clients
        .iter()
        .map(|client| {
            // The first changes show each client's own way into the whole group.
            let changes = client.history().iter().filter_map(|event| match event {
                Event::Confchg { delivered, hash, members, left, joined, .. } => {
                    Some((*delivered, hash.clone(), members.clone(), left.clone(), joined.clone()))
                }
                _ => None,
            });
            changes.skip_while(|change| change.2.len() < 3).skip(1).collect()
        })
        .collect();
    assert!(changes.windows(2).all(|pair| pair[0] == pair[1]), "{changes:#?}");
}

/// The cluster does its work: a group of new processes on all nodes agrees on an order.
fn assert_new_group_works(cluster: &Cluster) {
    let mut clients = cluster.clients(&ClientOptions { group: "after".into(), ..ClientOptions::default() });
    for client in &mut clients {
        client.command("send 500");
    }
    let reports = settle(&mut clients);
    assert_eq!(reports[0].delivered, 1501);
    assert_order(&reports);
}

/// Reasons of libcpg for a process that is gone.
const NODE_DOWN: u32 = 3;
const PROCESS_DOWN: u32 = 5;
