//! Debian's unmodified libcpg and tools against our daemon; and the yardstick, the same against Debian's own corosync.

use std::{
    env,
    process::{Command, ExitCode, Output},
};

use tests::{
    system::{
        Client, ClientOptions, Cluster, Crypto, Flavour, Report, Spec,
        sandbox::{self, Outcome},
    },
    system_tests,
};

fn main() -> ExitCode {
    use sandbox::Need::{DebianCorosync, Libcpg};
    sandbox::run_tests(system_tests![
        [Libcpg] libcpg_clients_on_three_nodes_see_one_total_order,
        [Libcpg] libcpg_clients_see_one_total_order_without_encryption,
        [Libcpg] libcpgs_iteration_lists_the_groups_of_all_nodes,
        [Libcpg] our_cpgtool_lists_the_groups_of_all_nodes,
        [Libcpg, DebianCorosync] debians_cpgtool_lists_the_groups_of_all_nodes,
        [Libcpg, DebianCorosync] the_checking_client_finds_no_fault_in_debians_corosync,
    ])
}

/// Mixed sizes from 1 octet to 1 MiB, all nodes sending, every packet encrypted.
fn libcpg_clients_on_three_nodes_see_one_total_order() {
    let cluster = Cluster::start(Spec { crypto: Crypto::On, ..Spec::default() });
    let total = message_count();
    let reports = all_send(&cluster, total);
    check_total_order(&reports, total);
    print_throughput("ours", &reports);
}

fn libcpg_clients_see_one_total_order_without_encryption() {
    let cluster = Cluster::start(Spec { crypto: Crypto::Off, ..Spec::default() });
    let total = message_count() / 5;
    let reports = all_send(&cluster, total);
    check_total_order(&reports, total);
    print_throughput("ours, clear", &reports);
}

fn libcpgs_iteration_lists_the_groups_of_all_nodes() {
    let cluster = Cluster::start(Spec::default());
    let mut clients = cluster.clients(&ClientOptions { group: "one".into(), ..ClientOptions::default() });
    let others = cluster.clients(&ClientOptions { group: "another".into(), ..ClientOptions::default() });
    let mut expected: Vec<_> =
        (1..).zip(&others).map(|(node, it)| ("another".to_owned(), node, it.pid())).collect();
    expected.extend((1..).zip(&clients).map(|(node, it)| ("one".to_owned(), node, it.pid())));
    for client in &mut clients {
        let mut groups = client.groups();
        groups.sort();
        assert_eq!(groups, expected);
    }
}

fn our_cpgtool_lists_the_groups_of_all_nodes() {
    let cluster = Cluster::start(Spec::default());
    let clients = cluster.clients(&ClientOptions { group: "listed".into(), ..ClientOptions::default() });
    let output = cluster.run_on(2, &mut Command::new(sandbox::program("corosync-cpgtool")));
    check_list(&output, &clients);
}

fn debians_cpgtool_lists_the_groups_of_all_nodes() -> Outcome {
    let cluster = Cluster::start(Spec::default());
    let clients = cluster.clients(&ClientOptions { group: "listed".into(), ..ClientOptions::default() });
    let output = cluster.run_on(2, &mut Command::new("/usr/sbin/corosync-cpgtool"));
    // It asks the configuration service for the nodes' addresses, and gives up when there is none.
    if String::from_utf8_lossy(&output.stderr).contains("configuration API") {
        return Outcome::Skipped("it needs the cfg service, which the daemon does not have yet".into());
    }
    check_list(&output, &clients);
    Outcome::Holds
}

/// A table with a line for the group, and one for each process with its pid and its node.
fn check_list(output: &Output, clients: &[Client]) {
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {errors}", output.status);
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.iter().any(|words| words[..] == ["listed"]), "{table}");
    for (node, client) in (1..).zip(clients) {
        let expected = [client.pid().to_string(), node.to_string()];
        assert!(
            lines.iter().any(|words| words.len() >= 2 && words[..2] == expected),
            "no {expected:?} in:\n{table}"
        );
    }
}

/// Calibrates the client and the harness: what they check holds for the daemon whose work ours takes over.
fn the_checking_client_finds_no_fault_in_debians_corosync() {
    let cluster = Cluster::start(Spec { flavour: Flavour::Debian, crypto: Crypto::On, ..Spec::default() });
    let total = message_count() / 5;
    let reports = all_send(&cluster, total);
    check_total_order(&reports, total);
    print_throughput("Debian's corosync", &reports);
}

/// Messages that all nodes send together: `MESSAGES`, or what is enough for every change.
fn message_count() -> u64 {
    let given = env::var("MESSAGES").ok().map(|text| text.parse().expect("MESSAGES is a number"));
    given.unwrap_or(50_000)
}

/// A client on each node sends its share of `total`; returns what each had seen when all were delivered.
fn all_send(cluster: &Cluster, total: u64) -> Vec<Report> {
    let mut clients = cluster.clients(&ClientOptions::default());
    let count = clients.len() as u64;
    for client in &mut clients {
        client.command(&format!("expect {total}"));
    }
    for (index, client) in (0..).zip(&mut clients) {
        let share = total / count + u64::from(index < total % count);
        client.command(&format!("send {share}"));
    }
    let reports = clients.iter_mut().map(|client| client.wait_reached(0)).collect();
    clients.into_iter().map(Client::quit).for_each(drop);
    reports
}

/// Contents, gaps and duplicates were checked by each client as it went.
fn check_total_order(reports: &[Report], total: u64) {
    for report in reports {
        assert_eq!(report.delivered, total, "each message exactly once");
        assert_eq!(report.hash, reports[0].hash, "one order everywhere");
    }
}

fn print_throughput(name: &str, reports: &[Report]) {
    let start = reports.iter().map(|report| report.first_send_ns).min().expect("a client");
    let end = reports.iter().map(|report| report.last_delivery_ns).max().expect("a client");
    let seconds = (end - start) as f64 / 1e9;
    let (messages, octets) = (reports[0].delivered as f64, reports[0].octets as f64);
    println!(
        "{name}: {:.0} messages/s, {:.1} MB/s of mixed sizes",
        messages / seconds,
        octets / seconds / 1e6
    );
}
