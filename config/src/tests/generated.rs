//! The files made from the table of keys are up to date, and the example means what it says.

use std::{fs, path::PathBuf};

use super::{good, parse};
use crate::{example::example, keys, manual::manual};

/// Compares a file of the repository with what it should be; `UPDATE=1` writes it.
fn compare(file: &str, wanted: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("it has a directory"))
            .expect("the repository can be written");
        fs::write(&path, wanted).expect("the repository can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{file} is out of date; run: UPDATE=1 cargo test -p config generated");
}

#[test]
fn the_example_file_is_up_to_date() {
    compare("corosync.toml.example", &example());
}

#[test]
fn the_manual_page_is_up_to_date() {
    compare("packaging/man/corosync.toml.5", &manual());
}

#[test]
fn the_example_file_comes_to_the_defaults() {
    let config = parse(&example()).unwrap_or_else(|problems| panic!("{problems}"));
    let three = "[[nodelist.node]]\nnodeid = 3\nring0_addr = \"192.0.2.3\"";
    let defaults = good(three);
    assert_eq!(config.executive.ring, defaults.executive.ring);
    assert_eq!(config.logging, defaults.logging);
    assert_eq!(config.system, defaults.system);
    assert_eq!(config.ipc, defaults.ipc);
    assert_eq!(config.warnings, vec![]);
}

/// The example with all comments of the form `#key = value` and `#[[section]]` taken up, except those
/// whose value is one of several nodes' or of other keys', which would contradict the three nodes.
fn taken_up() -> String {
    let mut text = String::new();
    for line in example().lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        text.push_str(setting.unwrap_or(line));
        text.push('\n');
    }
    text
}

#[test]
fn every_default_in_the_example_file_is_a_legal_value() {
    let text = taken_up();
    // For two nodes the computed values are those that the example shows.
    let (two, _) = text.split_once("\n[[nodelist.node]]\nnodeid = 3").expect("three nodes");
    let (_, rest) = text.split_once("ring0_addr = \"192.0.2.3\"\n").expect("three nodes");
    let config = parse(&format!("{two}\n{rest}")).unwrap_or_else(|problems| panic!("{problems}"));
    let defaults = good("");
    assert_eq!(config.executive.ring, defaults.executive.ring);
    assert_eq!(config.executive.links.heartbeat, defaults.executive.links.heartbeat);
    assert_eq!(config.executive.links.peer_timeout, defaults.executive.links.peer_timeout);
    assert_eq!(config.logging, defaults.logging);
    assert_eq!(config.system, defaults.system);
}

#[test]
fn the_example_file_and_the_manual_name_every_key() {
    let (example, manual) = (taken_up(), manual());
    for section in keys::ROOT.all() {
        for key in section.keys {
            if key.support == keys::Support::Now {
                assert!(
                    example.contains(&format!("\n{} = ", key.name)),
                    "{} is not in the example",
                    key.name
                );
            }
            assert!(manual.contains(key.name), "{} is not in the manual", key.name);
        }
    }
}

#[test]
fn no_line_of_the_manual_is_taken_for_a_request() {
    for line in manual().lines().filter(|line| line.starts_with(['.', '\''])) {
        let request = line.split_whitespace().next().unwrap_or_default();
        let known = [".TH", ".SH", ".I", ".B", ".BR", ".PP", ".TP", ".nf", ".fi", ".\\\""];
        assert!(known.contains(&request), "{line}");
    }
}
