//! Debian's unmodified libcpg and tools against our daemon; and the yardstick, the same against Debian's own corosync.

use std::{env, process::ExitCode};

use tests::{
    system::{Client, ClientOptions, Cluster, Crypto, Flavour, Report, Spec, sandbox},
    system_tests,
};

fn main() -> ExitCode {
    use sandbox::Need::{DebianCorosync, Libcpg};
    sandbox::run_tests(system_tests![
        [Libcpg, DebianCorosync] the_checking_client_finds_no_fault_in_debians_corosync,
    ])
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
