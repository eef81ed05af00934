//! `corosync-keygen` as its users run it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};

fn keygen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corosync-keygen")).args(arguments).output().expect("the tool was built")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary names are text")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_key_has_256_octets_that_only_its_owner_reads() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    for path in [&one, &two] {
        let output = keygen(&["-k", text(path)]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(fs::metadata(path).expect("it was made").permissions().mode() & 0o7777, 0o400);
    }
    let (one, two) = (fs::read(one).expect("ours"), fs::read(two).expect("ours"));
    assert_eq!((one.len(), two.len()), (256, 256));
    assert_ne!(one, two);
}

#[test]
fn the_size_can_be_chosen_within_limits_and_old_options_are_accepted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (size, code) in [("127", 1), ("128", 0), ("4096", 0), ("4097", 1), ("-1", 1), ("x", 1)] {
        let path = directory.path().join(format!("key{size}"));
        let output = keygen(&["-l", "-s", size, "--key-file", text(&path)]);
        assert_eq!(output.status.code(), Some(code), "{size}: {}", said(&output));
        let bytes = fs::metadata(&path).map(|metadata| metadata.len().to_string()).ok();
        assert_eq!(bytes.as_deref(), (code == 0).then_some(size));
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("authkey");
    fs::write(&path, "precious").expect("ours");
    let output = keygen(&["-k", text(&path)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("exists already and is not overwritten"), "{}", said(&output));
    assert_eq!(fs::read(&path).expect("still there"), b"precious");

    let (link, target) = (directory.path().join("link"), directory.path().join("target"));
    symlink(&target, &link).expect("ours");
    assert_eq!(keygen(&["-k", text(&link)]).status.code(), Some(2));
    assert!(!target.exists(), "a dangling link is not followed");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let output = keygen(&["-k", "/nonexistent/authkey"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).starts_with("corosync-keygen: cannot create /nonexistent/authkey: "),
        "{}",
        said(&output)
    );
}

#[test]
fn help_is_no_failure_and_a_stray_argument_is_one() {
    let help = keygen(&["-h"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("--key-file"));
    assert_eq!(keygen(&["authkey"]).status.code(), Some(1));
    assert_eq!(keygen(&["-z"]).status.code(), Some(1));
}
