//! Debian's unmodified libcpg and tools against our daemon; and the yardstick, the same against Debian's own corosync.

use std::{
    env,
    process::{Command, ExitCode, Output},
};

use tests::{
    system::{Client, ClientOptions, Cluster, Crypto, Flavour, Network, Report, Spec, sandbox},
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
        [DebianCorosync] debians_cfgtool_tells_where_nodes_are,
        [DebianCorosync] debians_cfgtool_is_told_that_commands_are_not_supported,
        [Libcpg, DebianCorosync] the_checking_client_finds_no_fault_in_debians_corosync,
    ])
}

/// Mixed sizes from 1 octet to 1 MiB, all nodes sending, every packet encrypted.
fn libcpg_clients_on_three_nodes_see_one_total_order() {
    let cluster = Cluster::start(Spec { crypto: Crypto::On, ..patient() });
    let total = message_count();
    let reports = all_send(&cluster, total);
    check_total_order(&reports, total);
    print_throughput("ours", &reports);
}

fn libcpg_clients_see_one_total_order_without_encryption() {
    let cluster = Cluster::start(Spec { crypto: Crypto::Off, ..patient() });
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

fn debians_cpgtool_lists_the_groups_of_all_nodes() {
    let cluster = Cluster::start(Spec::default());
    let clients = cluster.clients(&ClientOptions { group: "listed".into(), ..ClientOptions::default() });
    let output = cluster.run_on(2, &mut Command::new("/usr/sbin/corosync-cpgtool"));
    check_list(&output, &clients);
}

/// The table as corosync prints it: a line for the group, and one for each process with its pid, its node and the
/// node's address.
fn check_list(output: &Output, clients: &[Client]) {
    let mut expected = String::from("Group Name\t       PID\t   Node ID\nlisted\n");
    for (node, client) in (1..).zip(clients) {
        let (pid, address) = (client.pid(), Network::address(node));
        expected.push_str(&format!("\t\t{pid:>10}\t{node:>10} ({address})\n"));
    }
    assert_eq!(said(output), (Some(0), expected, String::new()));
}

fn debians_cfgtool_tells_where_nodes_are() {
    let cluster = Cluster::start(Spec::default());
    for node in 1..=3 {
        let expected = (Some(0), format!("{}\n", Network::address(node)), String::new());
        assert_eq!(cfgtool(&cluster, &["-a", &node.to_string()]), expected);
    }
    let (code, _, errors) = cfgtool(&cluster, &["-a", "9"]);
    assert_eq!((code, errors.as_str()), (Some(1), "Could not get node address for nodeid 9\n"));
}

/// Each of them would wait for ever if it got no answer, or another one's. The exit status is the tool's choice.
fn debians_cfgtool_is_told_that_commands_are_not_supported() {
    let cluster = Cluster::start(Spec::default());
    let cases = [
        (["-R"].as_slice(), 19, "Could not reload configuration. Error CS_ERR_NOT_SUPPORTED\n"),
        (&["-L"], 19, "Could not reopen corosync logging files. Error CS_ERR_NOT_SUPPORTED\n"),
        (&["-k", "3"], 1, "Could not kill node (error = CS_ERR_NOT_SUPPORTED)\n"),
        (&["-H"], 0, "Could not shutdown (error = 19)\n"),
    ];
    for (arguments, expected_code, expected) in cases {
        let (code, _, errors) = cfgtool(&cluster, arguments);
        assert_eq!((code, errors.as_str()), (Some(expected_code), expected), "{arguments:?}");
    }
}

fn cfgtool(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String, String) {
    said(&cluster.run_on(2, Command::new("/usr/sbin/corosync-cfgtool").args(arguments)))
}

/// A program's exit status, and what it wrote on its two outputs.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |octets| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Calibrates the client and the harness: what they check holds for the daemon whose work ours takes over.
fn the_checking_client_finds_no_fault_in_debians_corosync() {
    let cluster = Cluster::start(Spec { flavour: Flavour::Debian, crypto: Crypto::On, ..patient() });
    let total = message_count() / 5;
    let reports = all_send(&cluster, total);
    check_total_order(&reports, total);
    print_throughput("Debian's corosync", &reports);
}

/// A ring that does not break because the machine is busy: on a broken one, not everybody delivers everything.
fn patient() -> Spec {
    Spec { token_ms: Some(5000), ..Spec::default() }
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
