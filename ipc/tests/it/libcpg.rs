//! Programs that are linked against corosync's own library, in a network namespace of their own.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ipc::server::{ServerSettings, Transport};

use crate::daemon::{Daemon, instance, settings};

#[test]
fn corosyncs_library_works_over_shared_memory() {
    in_namespace("corosyncs_library_works_over_shared_memory", |client| {
        let _daemon = Daemon::start(with_libqbs_names(Transport::SharedMemory));
        expect_ok(Command::new(client).arg("check"));
    });
}

#[test]
fn corosyncs_library_works_over_sockets() {
    in_namespace("corosyncs_library_works_over_sockets", |client| {
        let _daemon = Daemon::start(with_libqbs_names(Transport::Socket));
        let mut check = Command::new(client);
        check.arg("check");
        if std::env::var(SEND_BUFFER_MAX).is_ok_and(|max| is_small(&max)) {
            // libqb cannot send larger datagrams then.
            check.env("CPG_CLIENT_SIZE_MAX", "200000");
        }
        expect_ok(&mut check);
    });
}

#[test]
fn corosyncs_library_notices_the_end_of_the_daemon() {
    in_namespace("corosyncs_library_notices_the_end_of_the_daemon", |client| {
        let daemon = Daemon::start(with_libqbs_names(Transport::SharedMemory));
        let mut waiting = Command::new(client).arg("wait").stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(waiting.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        drop(daemon);
        assert_eq!(lines.next().expect("a line").expect("text"), "ok");
        assert!(waiting.wait().expect("it ends").success());
    });
}

#[test]
fn a_stranger_is_refused_with_access() {
    in_namespace("a_stranger_is_refused_with_access", |client| {
        if !is_installed("setpriv") {
            return skip("a_stranger_is_refused_with_access", "no setpriv");
        }
        let _daemon = Daemon::start(with_libqbs_names(Transport::SharedMemory));
        let stranger = ["--reuid", "1234", "--regid", "1234", "--clear-groups"];
        let output =
            Command::new("setpriv").args(stranger).arg(client).arg("check").output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if error.starts_with("setpriv:") {
            return skip("a_stranger_is_refused_with_access", "cannot become another user here");
        }
        assert!(error.trim_end().ends_with("= 11"), "CS_ERR_ACCESS expected: {error}");
    });
}

const SEND_BUFFER_MAX: &str = "IPC_TEST_SEND_BUFFER_MAX";

fn with_libqbs_names(transport: Transport) -> ServerSettings {
    ServerSettings { instance: None, ..settings(&instance("unused"), transport) }
}

fn is_small(max: &str) -> bool {
    max.trim().parse::<u64>().is_ok_and(|max| max < 1_048_576)
}

fn expect_ok(client: &mut Command) {
    let output = client.output().expect("it runs");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out == "ok\n", "{}\n{out}{error}", output.status);
}

/// Builds the client and runs the test in this program, started again in a network namespace.
fn in_namespace(test: &str, body: impl FnOnce(&Path)) {
    const INSIDE: &str = "IPC_TEST_CLIENT";
    if let Some(client) = std::env::var_os(INSIDE) {
        return body(Path::new(&client));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let client = match compile(directory.path()) {
        Ok(client) => client,
        Err(reason) => return skip(test, &reason),
    };
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    if !unshare.arg("true").output().is_ok_and(|output| output.status.success()) {
        return skip(test, "no network namespaces here");
    }
    let mut inside = Command::new("unshare");
    inside.arg("--net");
    if !rustix::process::geteuid().is_root() {
        inside.arg("--map-root-user");
    }
    let program = std::env::current_exe().expect("a path");
    let status = inside
        .arg(program)
        .args(["--exact", &format!("libcpg::{test}"), "--nocapture"])
        .env(INSIDE, &client)
        // Cannot be seen from inside.
        .env(SEND_BUFFER_MAX, std::fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap_or_default())
        .status()
        .expect("it runs");
    assert!(status.success(), "the test inside failed");
}

fn compile(directory: &Path) -> Result<PathBuf, String> {
    if !is_installed("gcc") {
        return Err("no gcc".to_owned());
    }
    if !Path::new("/usr/include/corosync/cpg.h").exists() {
        return Err("no libcpg-dev".to_owned());
    }
    let client = directory.join("cpg_client");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/cpg_client.c");
    let output = Command::new("gcc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&client)
        .args([source, "-lcpg"])
        .output()
        .expect("gcc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(client)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Says so where the test runner does not swallow it.
fn skip(test: &str, reason: &str) {
    let line = format!("skipped: libcpg::{test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
