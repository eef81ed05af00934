//! What the binary says and how it ends when no node runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn corosync(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corosync"));
    command.args(arguments).env_remove("COROSYNC_MAIN_CONFIG_FILE").output().expect("it runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A configuration of one node on loopback, with `more` at its end.
fn configuration(directory: &Path, more: &str) -> PathBuf {
    let key = directory.join("authkey");
    fs::write(&key, [7; 256]).expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
    let file = directory.join("corosync.toml");
    let text = format!(
        "[totem]\nkeyfile = \"authkey\"\n[[nodelist.node]]\nnodeid = 1\nring0_addr = \"127.0.0.1\"\n{more}"
    );
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn a_good_configuration_passes_the_check_in_silence() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = configuration(directory.path(), "");
    let output = corosync(&["-t", "-c", &file.to_string_lossy()]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_broken_configuration_ends_with_8_and_every_fault_with_its_place() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broken = "[[nodelist.node]]\nnodeid = 1\nring0_addr = \"127.0.0.2\"\n[totm]\nx = 1\n[logging]\nlevel = \"loud\"\n";
    let file = configuration(directory.path(), broken);
    for arguments in [&["-t", "-c"][..], &["-f", "-c"]] {
        let output = corosync(&[arguments, &[&file.to_string_lossy()]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{said}");
        for (line, fault) in [(7, "nodeid"), (9, "totm"), (12, "level")] {
            let place = format!("corosync.toml:{line}:");
            assert!(
                said.lines().any(|said| said.contains(&place) && said.contains(fault)),
                "{fault}: {said}"
            );
        }
    }
}

#[test]
fn the_environment_names_the_configuration_unless_the_command_line_does() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corosync"));
        command.env("COROSYNC_MAIN_CONFIG_FILE", "/nonexistent/one.toml").args(arguments);
        text(&command.output().expect("it runs").stderr)
    };
    assert!(run(&["-t"]).starts_with("/nonexistent/one.toml:1:1: "));
    assert!(run(&["-t", "-c", "/nonexistent/two.toml"]).starts_with("/nonexistent/two.toml:1:1: "));
}

#[test]
fn the_help_explains_every_option_and_exit_status() {
    let help = corosync(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for word in
        ["-f", "-c", "-t", "-v", "foreground", "COROSYNC_MAIN_CONFIG_FILE", "Exit status:", "  8 ", "  30 "]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert_eq!(corosync(&["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn the_version_is_printed_as_tools_look_for_it() {
    let version = corosync(&["-v"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(text(&version.stdout).starts_with("Corosync Cluster Engine, version "));
}
