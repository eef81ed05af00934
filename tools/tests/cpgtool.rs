//! `corosync-cpgtool` as its users run it, against the real server and a fixed list of groups.

use std::{
    collections::VecDeque,
    os::fd::AsFd,
    process::{Child, Command, Output, Stdio},
};

use ipc::{
    message::{
        CsError, Reply, Request, Service, cfg,
        cpg::{self, Address, GroupName, IterationKind, Reason},
    },
    server::{AccessRules, Input, Limits, Server, ServerSettings, Transport},
};
use rustix::event::{PollFd, PollFlags, poll};

/// A daemon's server whose cpg service has two groups, and whose cfg service knows one of their nodes.
struct Daemon {
    server: Server,
    instance: String,
    rest: VecDeque<(GroupName, Address)>,
}

impl Daemon {
    /// `accepting`: whether its node is part of a ring.
    fn new(name: &str, accepting: bool, services: &[Service]) -> Self {
        let instance = format!("cpgtool_{name}_{}", std::process::id());
        let mut server = Server::bind(ServerSettings {
            services: services.to_vec(),
            instance: Some(instance.clone()),
            transport: Transport::SharedMemory,
            rules: AccessRules::default(),
            limits: Limits::default(),
        })
        .expect("the name is ours");
        server.set_accepting(accepting);
        Self { server, instance, rest: VecDeque::new() }
    }

    /// Runs the tool and serves it until it ends.
    fn tool(&mut self, arguments: &[&str]) -> Output {
        let mut tool = start(&[&["--instance", self.instance.as_str()], arguments].concat());
        let pidfd = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&tool),
            rustix::process::PidfdFlags::empty(),
        )
        .expect("our child");
        loop {
            let mut inputs = Vec::new();
            let more = self.server.poll(&mut inputs);
            inputs.into_iter().for_each(|input| self.answer(input));
            self.server.flush();
            if tool.try_wait().expect("our child").is_some() {
                return tool.wait_with_output().expect("our child");
            }
            if !more {
                let mut waits = [
                    PollFd::from_borrowed_fd(self.server.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
                ];
                poll(&mut waits, None).expect("both are open");
            }
        }
    }

    fn answer(&mut self, input: Input) {
        let Input::Request { client, request } = input else { return };
        let reply = match request {
            Request::Cpg(request) => Reply::Cpg(self.cpg(request)),
            Request::Cfg(cfg::Request::GetNodeAddrs { nodeid }) => {
                let result =
                    if nodeid == 1 { Ok(vec![[10, 0, 0, 1].into()]) } else { Err(CsError::NotExist) };
                Reply::Cfg(cfg::Reply::GetNodeAddrs(result))
            }
            other => panic!("the tool asked {other:?}"),
        };
        self.server.reply(client, &reply);
    }

    fn cpg(&mut self, request: cpg::Request) -> cpg::Reply {
        match request {
            cpg::Request::IterationInitialize { kind, .. } => {
                self.rest = entries(kind == Some(IterationKind::NameOnly)).into();
                cpg::Reply::IterationInitialize(Ok(7))
            }
            cpg::Request::IterationNext { handle: 7 } => {
                cpg::Reply::IterationNext(self.rest.pop_front().ok_or(CsError::NoSections))
            }
            cpg::Request::IterationFinalize { handle: 7 } => cpg::Reply::IterationFinalize(CsError::Ok),
            other => panic!("the tool asked {other:?}"),
        }
    }
}

fn entries(names_only: bool) -> Vec<(GroupName, Address)> {
    let entry = |name: &[u8], nodeid, pid| {
        let (nodeid, pid) = if names_only { (0, 0) } else { (nodeid, pid) };
        (GroupName::new(name).expect("short"), Address { nodeid, pid, reason: Reason::Undefined })
    };
    let mut entries = vec![entry(b"grp", 1, 9000), entry(b"crmd\0", 2, 77)];
    if !names_only {
        entries.insert(1, entry(b"grp", 2, 9001));
    }
    entries
}

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_corosync-cpgtool"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool was built")
}

/// What it printed, after it succeeded.
fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("escaped")
}

#[test]
fn groups_are_listed_in_every_style() {
    let mut daemon = Daemon::new("list", true, &[Service::Cfg, Service::Cpg]);
    assert_eq!(
        printed(&daemon.tool(&[])),
        "Group Name\t       PID\t   Node ID\ngrp\n\t\t      9000\t         1 (10.0.0.1)\n\
         \t\t      9001\t         2 ()\ncrmd\\x00\n\t\t        77\t         2 ()\n"
    );
    assert_eq!(
        printed(&daemon.tool(&["-d,"])),
        "GRP_NAME,PID,NODEID\ngrp,9000,1\ngrp,9001,2\ncrmd\\x00,77,2\n"
    );
    assert_eq!(printed(&daemon.tool(&["-n"])), "grp\ncrmd\\x00\n");
    assert_eq!(printed(&daemon.tool(&["-n", "-e", "-d", "::"])), "grp:crmd\0:");
    assert!(printed(&daemon.tool(&["--json"])).starts_with("[{\"group\":\"grp\""));
}

#[test]
fn a_daemon_without_the_cfg_service_only_costs_the_addresses() {
    let mut daemon = Daemon::new("bare", true, &[Service::Cpg]);
    assert_eq!(
        printed(&daemon.tool(&[])),
        "Group Name\t       PID\t   Node ID\ngrp\n\t\t      9000\t         1\n\t\t      9001\t         2\n\
         crmd\\x00\n\t\t        77\t         2\n"
    );
}

#[test]
fn without_a_daemon_the_error_is_corosync_s() {
    let output = start(&["--instance", "nobody_listens_here"]).wait_with_output().expect("our child");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("Could not initialize corosync cpg API error 2: no daemon listens"), "{said}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_daemon_that_is_not_ready_yet_is_told_apart() {
    let output = Daemon::new("early", false, &[Service::Cpg]).tool(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("Could not initialize corosync cpg API error 6: "), "{said}");
}

#[test]
fn wrong_options_are_a_failure() {
    for wrong in [["-z"].as_slice(), &["--json", "-e"], &["group"]] {
        let output = start(wrong).wait_with_output().expect("our child");
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
    }
}
