//! The unit file, as systemd itself reads it.

use std::{fs, process::Command};

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let unit = include_str!("../../packaging/corosync.service");
    let installed = "ExecStart=/usr/sbin/corosync ";
    assert!(unit.contains(installed));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("corosync.service");
    // systemd looks whether the program is there.
    let here = format!("ExecStart={} ", env!("CARGO_BIN_EXE_corosync"));
    fs::write(&file, unit.replace(installed, &here)).expect("written");
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output();
    match verified {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(error) => eprintln!("skipped: systemd-analyze does not run here: {error}"),
    }
}
