//! A process that speaks to a daemon through Debian's unmodified libcpg: `tests/c/cpg_order.c`.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{
    HANG, Namespace, Process,
    process::{Ended, quiet},
    sandbox::{self, run},
};

/// Processes in a group: (node, pid, reason). The reason is 0 in a list of members.
pub type Members = Vec<(u32, u32, u32)>;

/// Counts of a client; times on the clock of [`now_ns`](super::now_ns).
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// When this was printed.
    pub t_ns: u64,
    /// Messages that the daemon accepted from this client.
    pub sent: u64,
    /// Messages delivered to it, its own included.
    pub delivered: u64,
    /// Their length together.
    pub octets: u64,
    /// A hash over all of them in order.
    pub hash: String,
    /// Its first attempt to send; 0: none.
    pub first_send_ns: u64,
    /// 0: none.
    pub first_delivery_ns: u64,
    /// 0: none.
    pub last_delivery_ns: u64,
    /// How often the daemon answered `CS_ERR_TRY_AGAIN`.
    pub try_again: u64,
    /// The longest time between such an answer and the next accepted message.
    pub try_again_longest_ns: u64,
}

/// What a client says.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the fields are those of libcpg's callbacks")]
pub enum Event {
    /// It has connected and its join was accepted.
    Connected { t_ns: u64, node: u32, pid: u32 },
    /// The group has changed, after `delivered` messages with this hash.
    Confchg { t_ns: u64, delivered: u64, hash: String, members: Members, left: Members, joined: Members },
    /// The ring has changed.
    Ring { t_ns: u64, rep: u32, seq: u64, members: BTreeSet<u32> },
    /// Answer to `report`.
    Report(Report),
    /// As many messages as `expect` said were delivered.
    Reached(Report),
    /// Answer to `drain`: everything it was told to send was delivered to itself.
    Drained(Report),
    /// It has finalised its handle and ends.
    End(Report),
    /// Answer to `leave`.
    Left { t_ns: u64, error: i32 },
    /// Answer to `groups`: (group, node, pid).
    Groups { t_ns: u64, entries: Vec<(String, u32, u32)> },
    /// What was delivered is wrong; it ends.
    Fault { what: String, node: u32, pid: u32, counter: u64, have: u64, want: u64, delivered: u64 },
    /// A call failed for good, as when the daemon has died; it ends.
    Lost { t_ns: u64, call: String, error: i32, delivered: u64 },
}

/// How a process left a group.
#[derive(Clone, Debug)]
pub struct Departure {
    /// When a client was told.
    pub t_ns: u64,
    /// libcpg's reason: 2 leave, 3 node down, 5 process down.
    pub reason: u32,
    /// After how many messages, and the hash over them.
    pub place: (u64, String),
}

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The group it joins.
    pub group: String,
    /// Sizes and contents follow from it; equal at all clients of a group.
    pub seed: u64,
    /// Octets in each message; `None`: mixed, 1 octet to 1 MiB.
    pub size: Option<usize>,
    /// Whether contents are checked.
    pub verify: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { group: "order".into(), seed: 1, size: None, verify: true }
    }
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    process: Process,
    commands: Option<ChildStdin>,
    incoming: Receiver<Event>,
    history: Vec<Event>,
}

impl Client {
    /// Starts a client in a node's namespace. It waits for the daemon by itself.
    #[must_use]
    pub fn start(namespace: &Namespace, options: &ClientOptions) -> Self {
        let mut command = Command::new(client_program());
        command.arg("--group").arg(&options.group).arg("--seed").arg(options.seed.to_string());
        if let Some(size) = options.size {
            command.arg("--size").arg(size.to_string());
        }
        if !options.verify {
            command.arg("--no-verify");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let log = sandbox::root().join("clients.log");
        let mut process = namespace.enter(|| Process::start(&mut command, &log));
        let commands = process.stdin();
        let output = process.stdout().expect("stdout is a pipe");
        let (events, incoming) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if events.send(event).is_err() {
                    return;
                }
            }
        });
        Self { process, commands, incoming, history: Vec::new() }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything it has said, as far as somebody waited for it.
    #[must_use]
    pub fn history(&self) -> &[Event] {
        &self.history
    }

    /// How much it has said so far: a mark for [`wait_after`](Self::wait_after).
    pub fn mark(&mut self) -> usize {
        self.history.extend(self.incoming.try_iter());
        self.history.len()
    }

    /// Hands it a command; see `cpg_order.c`.
    pub fn command(&mut self, line: &str) {
        let commands = self.commands.as_mut().expect("the client was not told to quit");
        writeln!(commands, "{line}").expect("write to a client that runs");
    }

    /// Waits for an event among all that it ever said.
    pub fn wait_for<T>(&mut self, what: &str, choose: impl FnMut(&Event) -> Option<T>) -> T {
        self.wait_after(0, what, choose)
    }

    /// Waits for an event that comes after a [`mark`](Self::mark).
    ///
    /// # Panics
    /// When the event does not come within [`HANG`], or the client reports a fault or its end first.
    pub fn wait_after<T>(
        &mut self,
        mark: usize,
        what: &str,
        mut choose: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        match self.try_wait_after(mark, HANG, &mut choose) {
            Some(found) => found,
            None => panic!("client {}: no {what}; last events: {:#?}", self.pid(), self.last_events()),
        }
    }

    /// Waits for an event that comes after a mark; `None` when it did not come in time or can no longer come.
    pub fn try_wait_after<T>(
        &mut self,
        mark: usize,
        limit: Duration,
        mut choose: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut next = mark;
        loop {
            while let Some(event) = self.history.get(next) {
                if let Some(found) = choose(event) {
                    return Some(found);
                }
                assert!(!matches!(event, Event::Fault { .. }), "client {}: {event:?}", self.pid());
                next += 1;
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => self.history.push(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Waits until the group has processes on exactly these nodes, one on each.
    pub fn wait_members(&mut self, mark: usize, nodes: &[u32]) {
        self.wait_after(mark, &format!("group on nodes {nodes:?}"), |event| match event {
            Event::Confchg { members, .. } => {
                members.iter().map(|member| member.0).eq(nodes.iter().copied()).then_some(())
            }
            _ => None,
        });
    }

    /// Waits until the ring has exactly these nodes; says when that was.
    pub fn wait_ring(&mut self, mark: usize, nodes: &[u32]) -> u64 {
        self.wait_after(mark, &format!("ring of nodes {nodes:?}"), |event| match event {
            Event::Ring { members, t_ns, .. } => members.iter().eq(nodes).then_some(*t_ns),
            _ => None,
        })
    }

    /// Waits until the newest ring it knows has exactly these nodes.
    pub fn wait_for_last_ring(&mut self, nodes: &[u32]) {
        let mark = self.mark();
        let newest = self.history[..mark].iter().rposition(|event| matches!(event, Event::Ring { .. }));
        self.wait_ring(newest.unwrap_or(0), nodes);
    }

    /// Waits until `expect` came true.
    pub fn wait_reached(&mut self, mark: usize) -> Report {
        self.wait_progress(mark, "end of the messages", |event| match event {
            Event::Reached(report) => Some(report.clone()),
            _ => None,
        })
    }

    /// Waits until everything it was told to send was delivered to itself.
    pub fn drain(&mut self) -> Report {
        let mark = self.mark();
        self.command("drain");
        self.wait_progress(mark, "return of its own messages", |event| match event {
            Event::Drained(report) => Some(report.clone()),
            _ => None,
        })
    }

    /// Like [`wait_after`](Self::wait_after), for as long as messages are delivered at all.
    fn wait_progress<T>(&mut self, mark: usize, what: &str, choose: impl Fn(&Event) -> Option<T>) -> T {
        let mut delivered_before = None;
        loop {
            if let Some(found) = self.try_wait_after(mark, HANG, &choose) {
                return found;
            }
            let report = self.report();
            let is_stuck = delivered_before == Some(report.delivered);
            assert!(
                !is_stuck,
                "client {}: no {what}: {report:?}; last: {:#?}",
                self.pid(),
                self.last_events()
            );
            delivered_before = Some(report.delivered);
        }
    }

    /// Waits for the change of the group with which a process left; says how and where in the order.
    pub fn wait_departure(&mut self, mark: usize, node: u32) -> Departure {
        self.wait_after(mark, &format!("departure of node {node}"), |event| match event {
            Event::Confchg { t_ns, delivered, hash, left, .. } => {
                let process = left.iter().find(|process| process.0 == node)?;
                Some(Departure { t_ns: *t_ns, reason: process.2, place: (*delivered, hash.clone()) })
            }
            _ => None,
        })
    }

    /// Asks for the counts.
    pub fn report(&mut self) -> Report {
        let mark = self.mark();
        self.command("report");
        self.wait_after(mark, "report", |event| match event {
            Event::Report(report) => Some(report.clone()),
            _ => None,
        })
    }

    /// Asks for all groups of the cluster.
    pub fn groups(&mut self) -> Vec<(String, u32, u32)> {
        let mark = self.mark();
        self.command("groups");
        self.wait_after(mark, "list of groups", |event| match event {
            Event::Groups { entries, .. } => Some(entries.clone()),
            _ => None,
        })
    }

    /// Lets it finalise its handle and end.
    pub fn quit(mut self) -> Report {
        let mark = self.mark();
        self.command("quit");
        let report = self.wait_after(mark, "end", |event| match event {
            Event::End(report) => Some(report.clone()),
            _ => None,
        });
        assert_eq!(self.process.wait(HANG), Some(Ended::Exit(0)));
        report
    }

    fn last_events(&mut self) -> &[Event] {
        self.mark();
        &self.history[self.history.len().saturating_sub(5)..]
    }
}

/// Waits until everything that these clients were told to send is delivered to all of them; returns what each has seen
/// by then. They are all members that can reach each other, and nobody else sends.
pub fn settle(clients: &mut [Client]) -> Vec<Report> {
    for client in &mut *clients {
        client.drain();
    }
    // A last message, ordered after all others: where it comes back, everything has come.
    clients[0].command("send 1");
    let total = clients[0].drain().delivered;
    let reports = clients.iter_mut().map(|client| {
        let mark = client.mark();
        client.command(&format!("expect {total}"));
        client.wait_reached(mark)
    });
    reports.collect()
}

/// The compiled client; compiles it once a run.
fn client_program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/c/cpg_order.c");
        let program = sandbox::root().join("cpg_order");
        fs::create_dir_all(sandbox::root()).expect("make the directory for the tests' files");
        run(quiet("gcc")
            .stdout(Stdio::piped())
            .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .args([source, "-lcpg"]));
        program
    })
}
