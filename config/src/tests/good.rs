//! Texts that come to settings.

use std::{fs, io, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use protocol::{NodeId, seal::Protection};

use super::{FakeHost, NODES, address, good, on, parse};
use crate::{IpcTransport, LogLevel, Timestamp};

#[test]
fn the_shortest_file_comes_to_the_documented_defaults() {
    let config = good("");
    let ring = config.executive.ring;
    assert_eq!(ring.node, NodeId::new(1).expect("not zero"));
    assert_eq!(ring.token_timeout, Duration::from_millis(1000));
    assert_eq!(ring.token_retransmit, Duration::from_millis(238));
    assert_eq!(ring.token_hold, Duration::from_millis(180));
    assert_eq!(ring.join, Duration::from_millis(50));
    assert_eq!(ring.consensus, Duration::from_millis(1200));
    assert_eq!(ring.merge, Duration::from_millis(200));
    assert_eq!((ring.window_size, ring.max_messages, ring.seqno_unchanged_const), (512, 256, 30));
    assert_eq!(ring.peers, 1);

    let links = config.executive.links;
    assert!(matches!(links.protection, Protection::Aes256Gcm(_)));
    assert_eq!(links.cluster_name, "");
    assert_eq!(links.netmtu, 1500);
    assert_eq!(links.heartbeat, Duration::from_millis(100));
    assert_eq!(links.peer_timeout, Duration::from_millis(1000));
    assert_eq!(links.peers.len(), 1);
    assert_eq!(links.peers[0].node.get(), 2);
    assert_eq!(links.peers[0].address, (address(2), 5405).into());

    assert_eq!(config.cluster.local.address, (address(1), 5405).into());
    assert_eq!(config.cluster.local.name, "alpha");
    assert_eq!(config.cluster.nodes.len(), 2);
    assert_eq!(config.ipc.transport, IpcTransport::SharedMemory);
    assert_eq!(config.ipc.instance, None);
    assert!(config.ipc.uids.is_empty() && config.ipc.gids.is_empty());
    assert_eq!(config.logging.level, LogLevel::Info);
    assert_eq!(config.logging.timestamp, Timestamp::Hires);
    assert!(config.logging.to_stderr && !config.logging.to_syslog);
    assert_eq!(config.system.state_dir, PathBuf::from("/var/lib/corosync"));
    assert_eq!(config.warnings, vec![]);
}

#[test]
fn the_token_timeout_grows_with_each_node_above_two() {
    let nodes: String = (3..=5)
        .map(|id| format!("[[nodelist.node]]\nnodeid = {id}\nring0_addr = \"192.0.2.{id}\"\n"))
        .collect();
    let ring = good(&nodes).executive.ring;
    assert_eq!(ring.token_timeout, Duration::from_millis(1000 + 3 * 125));
    assert_eq!(ring.consensus, Duration::from_millis(1650));
    assert_eq!(ring.token_retransmit, Duration::from_millis(327));
    let fixed = good(&format!("{nodes}[totem]\ntoken_coefficient = 0\n")).executive.ring;
    assert_eq!(fixed.token_timeout, Duration::from_millis(1000));
}

#[test]
fn timers_derived_from_token_follow_it() {
    let ring = good("[totem]\ntoken = 420\n").executive.ring;
    assert_eq!(ring.token_retransmit, Duration::from_millis(100));
    assert_eq!(ring.token_hold, Duration::from_millis(70));
    assert_eq!(ring.consensus, Duration::from_millis(504));
    let ring = good("[totem]\ntoken = 100\n").executive.ring;
    assert_eq!(ring.token_hold, Duration::from_millis(11));
}

#[test]
fn a_window_smaller_than_the_default_share_bounds_the_share() {
    let ring = good("[totem]\nwindow_size = 50\n").executive.ring;
    assert_eq!((ring.window_size, ring.max_messages), (50, 50));
}

#[test]
fn ports_come_from_totem_or_from_link_0() {
    let port = |more| good(more).cluster.local.address.port();
    assert_eq!(port("[totem]\nmcastport = 6000\n"), 6000);
    assert_eq!(port("[[totem.interface]]\nmcastport = 7000\n"), 7000);
    assert_eq!(port("[totem]\nmcastport = 6000\n[[totem.interface]]\nlinknumber = 0\n"), 6000);
    assert_eq!(port("[totem]\nmcastport = 6000\n[[totem.interface]]\nmcastport = 7000\n"), 7000);
}

#[test]
fn protection_is_weakened_only_in_as_many_words() {
    let hashed = good("[totem]\ncrypto_cipher = \"none\"\n");
    assert!(matches!(hashed.executive.links.protection, Protection::HmacSha256(_)));
    assert_eq!(hashed.warnings.len(), 1);
    let clear =
        good("[totem]\ncrypto_cipher = \"none\"\ncrypto_hash = \"none\"\ninsecure_cleartext = true\n");
    assert!(matches!(clear.executive.links.protection, Protection::Cleartext));
    assert_eq!(
        clear.warnings[0].to_string(),
        "c:12:22: warning: the cluster has no protection: anybody who can send packets to a node can take part in it"
    );
    let useless = good("[totem]\ninsecure_cleartext = true\n");
    assert!(matches!(useless.executive.links.protection, Protection::Aes256Gcm(_)));
    assert!(useless.warnings[0].message.contains("no effect"));
}

#[test]
fn cleartext_needs_no_key_file() {
    let host = FakeHost { key: Err(io::ErrorKind::NotFound), ..FakeHost::default() };
    let text = "[totem]\ncrypto_cipher = \"none\"\ncrypto_hash = \"none\"\ninsecure_cleartext = true\n";
    assert!(on(&host, &format!("{NODES}{text}")).is_ok());
}

#[test]
fn the_key_is_never_printed() {
    let config = good("");
    let Protection::Aes256Gcm(key) = &config.executive.links.protection else {
        panic!("encrypted by default")
    };
    assert_eq!(*key.0, vec![1; 256]);
    assert!(!format!("{config:?}").contains("1, 1, 1"));
}

#[test]
fn users_and_groups_are_numbers_or_names() {
    let ipc =
        good("[[uidgid]]\nuid = \"hacluster\"\ngid = \"haclient\"\n[[uidgid]]\nuid = 1000\ngid = \"1001\"\n")
            .ipc;
    assert_eq!(ipc.uids.into_iter().collect::<Vec<_>>(), vec![189, 1000]);
    assert_eq!(ipc.gids.into_iter().collect::<Vec<_>>(), vec![190, 1001]);
}

#[test]
fn the_other_sections_are_read() {
    let config = good(
        "[logging]\nto_stderr = false\nto_syslog = true\nlevel = \"warn\"\ntimestamp = \"off\"\n\
         [system]\nqb_ipc_type = \"socket\"\nipc_instance = \"second\"\nstate_dir = \"state\"\n",
    );
    assert_eq!(config.logging.level, LogLevel::Warn);
    assert_eq!(config.logging.timestamp, Timestamp::Off);
    assert!(!config.logging.to_stderr && config.logging.to_syslog);
    assert_eq!(config.ipc.transport, IpcTransport::Socket);
    assert_eq!(config.ipc.instance.as_deref(), Some("second"));
    assert_eq!(config.system.state_dir, PathBuf::from("/nonexistent/state"));
    assert_eq!(good("[logging]\ndebug = true\n").logging.level, LogLevel::Debug);
    assert_eq!(good("[logging]\ndebug = true\nlevel = \"trace\"\n").logging.level, LogLevel::Trace);
}

#[test]
fn dotted_keys_and_inline_tables_mean_the_same() {
    let text = "totem.token = 420\nnodelist.node = [{ nodeid = 1, ring0_addr = \"alpha\" }]\n";
    let config = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.executive.ring.token_timeout, Duration::from_millis(420));
    assert_eq!(config.executive.ring.peers, 0);
    assert_eq!(config.cluster.local.name, "alpha");
}

#[test]
fn host_names_are_resolved_and_the_preferred_version_is_taken() {
    let text = "[[nodelist.node]]\nnodeid = 1\nring0_addr = \"alpha\"\n\
                [[nodelist.node]]\nnodeid = 3\nring0_addr = \"both\"\n[totem]\nip_version = \"ipv4-6\"\n";
    let config = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.executive.links.peers[0].address, (address(3), 5405).into());
}

/// The local node that a machine with these addresses and this name finds.
fn local(addresses: &[u8], name: &'static str, more: &str) -> Option<u32> {
    let addresses = addresses.iter().map(|last| address(*last)).collect();
    let host = FakeHost { addresses, name, ..FakeHost::default() };
    on(&host, &format!("{NODES}{more}")).ok().map(|config| config.cluster.local.node.get())
}

#[test]
fn a_node_finds_itself_by_number_address_or_name() {
    assert_eq!(local(&[2], "alpha", ""), Some(2), "the only local address decides, whatever the name");
    assert_eq!(local(&[1, 2], "beta", ""), Some(2), "of several local addresses the name picks one");
    assert_eq!(local(&[], "BETA", ""), Some(2), "without a local address the name decides");
    assert_eq!(local(&[], "beta.example.org", ""), Some(2), "short names count");
    assert_eq!(local(&[1], "alpha", "[system]\nlocal_nodeid = 2\n"), Some(2), "the file has the last word");
    assert_eq!(local(&[1, 2], "gamma", ""), None, "no guess among several");
    assert_eq!(local(&[], "gamma", ""), None, "no guess without a hint");
    let third = "[[nodelist.node]]\nnodeid = 3\nname = \"gamma\"\nring0_addr = \"192.0.2.3\"\n";
    assert_eq!(
        local(&[1, 2], "gamma", third),
        None,
        "the name never picks a node whose address is elsewhere"
    );
    assert_eq!(local(&[], "", ""), None, "a machine without a name matches no node");
}

/// A directory with a key and a configuration of one node on the loopback device.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = "[totem]\nkeyfile = \"authkey\"\n[[nodelist.node]]\nnodeid = 1\nring0_addr = \"127.0.0.1\"\n";
    fs::write(directory.path().join("corosync.toml"), text).expect("the directory is ours");
    let key = directory.path().join("authkey");
    fs::write(&key, [9; 128]).expect("the directory is ours");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("the file is ours");
    directory
}

#[test]
fn a_file_on_disk_is_loaded_with_its_key_and_its_uidgid_directory() {
    let directory = directory();
    let more = directory.path().join("uidgid.d");
    fs::create_dir(&more).expect("the directory is ours");
    fs::write(more.join("a.toml"), "[[uidgid]]\nuid = 1000\n").expect("the directory is ours");
    fs::write(more.join("old"), "uidgid {\n uid: 1000\n}\n").expect("the directory is ours");
    let config = crate::load(&directory.path().join("corosync.toml")).unwrap_or_else(|p| panic!("{p}"));
    assert!(config.ipc.uids.contains(&1000));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("uidgid.d/old:1:1: warning: not read"), "{warnings:?}");

    fs::write(more.join("b.toml"), "[totem]\ntoken = 1\n[[uidgid]]\nuid = \"\"\n")
        .expect("the directory is ours");
    let problems =
        crate::load(&directory.path().join("corosync.toml")).expect_err("b.toml is wrong").to_string();
    assert!(problems.contains("uidgid.d/b.toml:1:2: unknown section `totem`"), "{problems}");
    assert!(problems.contains("uidgid.d/b.toml:4:7: uid must not be empty"), "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_with_a_place() {
    let directory = directory();
    let path = directory.path().join("corosync.toml");
    let first_line = |path: &std::path::Path| {
        let problems = crate::load(path).expect_err("it cannot be used");
        let line = problems.to_string().lines().next().map(str::to_owned).unwrap_or_default();
        line.replace(&*path.to_string_lossy(), "F")
    };
    fs::write(&path, vec![b'#'; (1 << 18) + 1]).expect("the directory is ours");
    assert_eq!(first_line(&path), "F:1:1: cannot read the configuration: it has more than 262144 octets");
    fs::write(&path, b"# \xff").expect("the directory is ours");
    assert_eq!(
        first_line(&path),
        "F:1:1: cannot read the configuration: it is not UTF-8 text: octet 3 is wrong"
    );
    assert_eq!(
        first_line(directory.path()),
        "F:1:1: cannot read the configuration: it is not a regular file"
    );
    let missing = directory.path().join("none");
    assert!(first_line(&missing).starts_with("F:1:1: cannot read the configuration: No such file"));
}
