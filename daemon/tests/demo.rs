//! `corosync demo`, as somebody who has just cloned the repository runs it.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

fn start(directory: &Path, nodes: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corosync"));
    command.args(["demo", "--nodes", nodes]).env("TMPDIR", directory);
    command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it starts")
}

fn is_empty(directory: &Path) -> bool {
    directory.read_dir().expect("listed").next().is_none()
}

#[test]
fn it_shows_what_it_should_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = start(directory.path(), "3").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for step in
        ["start ", "ring ", "join ", "agreed ", "kill -9 ", "group ", "safe ", "leave ", "end ", "Done in "]
    {
        assert!(said.lines().any(|line| line.contains(step)), "{step}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours for a pipe");
    assert!(is_empty(directory.path()));
}

#[test]
fn interrupted_it_ends_its_daemons_and_removes_its_files() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut demo = start(directory.path(), "2");
    let mut output = BufReader::new(demo.stdout.take().expect("piped"));
    let mut said = String::new();
    while !said.contains("processes ") {
        assert!(output.read_line(&mut said).expect("read") > 0, "{said}");
    }
    let daemons = said.split_once("processes ").expect("just seen").1.trim();
    let daemons: Vec<i32> = daemons.split(' ').map(|pid| pid.parse().expect("a number")).collect();
    let pid = Pid::from_raw(i32::try_from(demo.id()).expect("a process id")).expect("not 0");
    kill_process(pid, Signal::INT).expect("not waited for yet");
    output.read_to_string(&mut said).expect("read");
    assert_eq!(demo.wait().expect("waited for").code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    for pid in daemons {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
    assert!(is_empty(directory.path()));
}
