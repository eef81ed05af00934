//! Texts that are refused, with the words in which they are. Several repeat faults that earlier
//! cluster daemons swallowed.

use std::io;

use super::{FakeHost, NODES, address, lines, on, parse, problems};

#[test]
fn everything_is_reported_at_once_sorted_by_place() {
    let found = problems(
        "[totem]\ntokn = 5\nconsensus = 40\njoin = 50\n[quorum]\nprovider = \"x\"\n[logging]\nto_stderr = \"yes\"\n",
    );
    assert_eq!(
        found,
        [
            "c:10:1: unknown key `tokn`; did you mean `token`?",
            "c:11:13: consensus is 40 ms, but must not be less than 1.2 * token (1000 ms by default)",
            "c:12:8: join is 50 ms, but must be less than consensus (40 ms, line 11)",
            "c:13:2: [quorum] is not supported yet by this version",
            "c:16:13: to_stderr must be true or false, not the string \"yes\"",
        ]
    );
}

#[test]
fn an_empty_user_is_not_root() {
    assert_eq!(problems("[[uidgid]]\nuid = \"\"\n"), ["c:10:7: uid must not be empty"]);
    assert_eq!(problems("[[uidgid]]\ngid = \"\"\n"), ["c:10:7: gid must not be empty"]);
    assert_eq!(problems("[[uidgid]]\n"), ["c:9:1: [[uidgid]] has neither `uid` nor `gid`"]);
    assert_eq!(
        problems("[[uidgid]]\nuid = \"nobody7\"\n"),
        ["c:10:7: there is no user \"nobody7\" on this machine"]
    );
    assert_eq!(
        problems("[[uidgid]]\nuid = 4294967295\n"),
        ["c:10:7: uid is 4294967295, but must be between 0 and 4294967294"]
    );
    assert_eq!(
        problems("[[uidgid]]\nuid = -1\n"),
        ["c:10:7: uid is -1, but must be between 0 and 4294967294"]
    );
    assert_eq!(
        problems("[[uidgid]]\nuid = \"99999999999\"\n"),
        ["c:10:7: uid is 99999999999, but must be between 0 and 4294967294"]
    );
    assert_eq!(problems("[[uidgid]]\nuid = \"12x\"\n"), ["c:10:7: there is no user \"12x\" on this machine"]);
}

#[test]
fn numbers_out_of_range_are_refused_not_wrapped() {
    for (given, said) in [
        ("-1", "-1"),
        ("0", "0"),
        ("4294967295", "4294967295"),
        ("4294968296", "4294968296"),
        ("18446744073709551615", "18446744073709551615"),
        ("0xffffffffffffffffffffffffffffffffffff", "too large a number"),
    ] {
        let found = problems(&format!("[totem]\ntoken = {given}\n"));
        assert_eq!(found, [format!("c:10:9: token is {said}, but must be between 30 and 600000 ms")]);
    }
    assert_eq!(problems("[totem]\nversion = 1\n"), ["c:10:11: version is 1, but must be 2"]);
    assert_eq!(
        problems("[totem]\nnetmtu = 65536\n"),
        ["c:10:10: netmtu is 65536, but must be between 576 and 65535 octets"]
    );
    assert_eq!(
        problems("[totem]\ntoken = 1000.0\n"),
        ["c:10:9: token must be a whole number of milliseconds, not a number with a fraction"]
    );
    assert_eq!(
        problems("[totem]\ntoken = \"1000\"\n"),
        ["c:10:9: token must be a whole number of milliseconds, not the string \"1000\""]
    );
}

/// A list of one node with this number.
fn node(id: &str) -> Vec<String> {
    lines(parse(&format!("[[nodelist.node]]\nnodeid = {id}\nring0_addr = \"192.0.2.1\"\n")))
}

#[test]
fn a_node_number_is_neither_zero_nor_cut_to_size() {
    assert_eq!(node("0"), ["c:2:10: nodeid is 0, but must be between 1 and 4294967295"]);
    assert_eq!(node("-1"), ["c:2:10: nodeid is -1, but must be between 1 and 4294967295"]);
    assert_eq!(node("4294967296"), ["c:2:10: nodeid is 4294967296, but must be between 1 and 4294967295"]);
    let large =
        parse("[[nodelist.node]]\nnodeid = 65537\nring0_addr = \"192.0.2.1\"\n").expect("a legal number");
    assert_eq!(large.executive.ring.node.get(), 65537);
    assert_eq!(
        lines(parse("[[nodelist.node]]\nring0_addr = \"192.0.2.1\"\n")),
        ["c:1:1: [[nodelist.node]] has no `nodeid`"]
    );
    assert_eq!(
        lines(parse("[[nodelist.node]]\nnodeid = 1\n")),
        ["c:1:1: [[nodelist.node]] has no `ring0_addr`"]
    );
}

#[test]
fn nodes_share_nothing() {
    let third = "[[nodelist.node]]\nnodeid = 2\nname = \"alpha\"\nring0_addr = \"192.0.2.2\"\n";
    assert_eq!(
        problems(third),
        [
            "c:10:10: nodeid 2 is already used by node \"beta\" on line 6",
            "c:11:8: name \"alpha\" is already used by node \"alpha\" on line 3",
            "c:12:14: ring0_addr 192.0.2.2 is already used by node \"beta\" on line 8",
        ]
    );
    let by_name = "[[nodelist.node]]\nnodeid = 3\nring0_addr = \"beta\"\n";
    assert_eq!(
        problems(by_name),
        ["c:11:14: ring0_addr 192.0.2.2 (\"beta\") is already used by node \"beta\" on line 8"]
    );
}

#[test]
fn a_key_of_an_inner_section_never_counts_for_the_outer_one() {
    let text =
        "[[nodelist.node]]\nnodeid = 1\nring0_addr = \"192.0.2.1\"\n[nodelist.node.inner]\nnodeid = 7\n";
    assert_eq!(lines(parse(text)), ["c:4:16: unknown section `inner`"]);
    assert_eq!(
        problems("[[totem.interface]]\ntoken = 50\n"),
        ["c:10:1: unknown key `token`; it belongs to [totem]"]
    );
    assert_eq!(
        problems("[totem]\nnodeid = 7\n"),
        ["c:10:1: unknown key `nodeid`; it belongs to [[nodelist.node]]"]
    );
}

#[test]
fn every_line_of_broken_syntax_is_reported() {
    assert_eq!(
        problems("}\n[totem]\ntoken = = 5\nmerge = 0\njoin 50\nhold = =\n"),
        [
            "c:9:1: this is the syntax of corosync.conf; here it is `[section]` and `key = value`",
            "c:11:9: extra `=`, expected nothing",
            "c:12:9: merge is 0, but must be between 30 and 600000 ms",
            "c:13:6: key with no value, expected `=`",
            "c:14:8: extra `=`, expected nothing",
        ]
    );
}

#[test]
fn what_may_stand_in_a_broken_line_is_not_missed() {
    // No complaint about a list without nodes, or a node without a number, that follows from the line.
    assert_eq!(lines(parse("[totem]\njoin 50\n")), ["c:2:6: key with no value, expected `=`"]);
    assert_eq!(lines(parse("[[nodelist.node]]\nnodeid = = 1\n")), ["c:2:10: extra `=`, expected nothing"]);
}

#[test]
fn the_older_syntax_is_recognised() {
    let found = lines(parse("totem {\n    version: 2\n    token: 1000\n}\n"));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|line| line.contains("the syntax of corosync.conf")), "{found:?}");
}

#[test]
fn a_key_twice_is_refused() {
    assert_eq!(problems("[totem]\ntoken = 1000\ntoken = 2000\n"), ["c:11:1: `token` is already there above"]);
    assert_eq!(problems("[totem]\n[system]\n[totem]\n"), ["c:11:2: `totem` is already there above"]);
}

#[test]
fn sections_have_their_shape() {
    assert_eq!(
        problems("[totem.interface]\nlinknumber = 0\n"),
        ["c:9:8: `interface` is a section: write [[totem.interface]] for each one"]
    );
    assert_eq!(problems("[[logging]]\n"), ["c:9:3: `logging` is a section: write [logging] once"]);
    assert_eq!(
        lines(parse("totem = 3\n"))[1],
        "c:1:1: there are no nodes: add a [[nodelist.node]] section for each node"
    );
}

#[test]
fn what_corosync_has_and_this_version_has_not_is_never_ignored() {
    assert_eq!(
        problems(
            "[totem]\nsend_join = 80\ntransport = \"knet\"\n[logging]\nto_logfile = true\n[[logging.logger_subsys]]\nsubsys = \"CPG\"\n[nozzle]\n"
        ),
        [
            "c:10:1: `totem.send_join` is not supported yet by this version",
            "c:11:1: `totem.transport` has no meaning here: there is one transport, sealed unicast UDP",
            "c:13:1: `logging.to_logfile` is not supported yet by this version",
            "c:14:11: [[logging.logger_subsys]] is not supported yet by this version",
            "c:16:2: [nozzle] has no meaning here: there is no network device on top of the links",
        ]
    );
    assert_eq!(
        problems("[[totem.interface]]\nlinknumber = 1\n"),
        ["c:10:14: link 1 is not supported yet by this version, only link 0"]
    );
    assert_eq!(
        problems("[[totem.interface]]\n[[totem.interface]]\nlinknumber = 0\n"),
        ["c:11:14: linknumber 0 is already used on line 9"]
    );
}

#[test]
fn timers_that_contradict_each_other_name_both_places() {
    assert_eq!(
        problems("[totem]\ntoken = 30\n"),
        ["c:10:9: join is 50 ms by default, but must be less than consensus (36 ms: 1.2 * token)"]
    );
    assert_eq!(
        problems("[totem]\nconsensus = 1100\ntoken = 1000\n"),
        ["c:10:13: consensus is 1100 ms, but must not be less than 1.2 * token (1000 ms, line 11)"]
    );
    assert_eq!(
        problems("[totem]\nhold = 300\n"),
        ["c:10:8: hold is 300 ms, but must be less than token_retransmit (238 ms: computed from token)"]
    );
    assert_eq!(
        problems("[totem]\ntoken_retransmit = 1000\n"),
        ["c:10:20: token_retransmit is 1000 ms, but must be less than token (1000 ms by default)"]
    );
    assert_eq!(
        problems("[totem]\nheartbeat = 100\npeer_timeout = 299\n"),
        ["c:11:16: peer_timeout is 299 ms, but must not be less than 3 * heartbeat (100 ms, line 10)"]
    );
    assert_eq!(
        problems("[totem]\nmax_messages = 60\nwindow_size = 50\n"),
        ["c:10:16: max_messages is 60 frames, but must not be more than window_size (50 frames, line 11)"]
    );
    let three = "[[nodelist.node]]\nnodeid = 3\nring0_addr = \"192.0.2.3\"\n[totem]\nconsensus = 1200\n";
    assert_eq!(
        problems(three),
        [
            "c:13:13: consensus is 1200 ms, but must not be less than 1.2 * token (1125 ms: 1000 ms + 1 * 125 ms for 3 nodes)"
        ]
    );
}

#[test]
fn a_value_that_is_wrong_already_breaks_no_further_rule() {
    assert_eq!(problems("[totem]\ntoken = -5\nconsensus = 100\n").len(), 1);
    assert_eq!(problems("[totem]\ntoken_coefficient = \"x\"\nconsensus = 100\n").len(), 2);
}

#[test]
fn weak_protection_needs_the_right_words() {
    let both = "[totem]\ncrypto_cipher = \"none\"\ncrypto_hash = \"none\"\n";
    assert!(problems(both)[0].ends_with("if that is what you want, add insecure_cleartext = true"));
    assert_eq!(
        problems("[totem]\ncrypto_hash = \"none\"\n"),
        [
            "c:10:15: crypto_hash is \"none\", but crypto_cipher \"aes256\" always authenticates; remove crypto_hash"
        ]
    );
    assert_eq!(
        problems("[totem]\ncrypto_cipher = \"aes128\"\n"),
        ["c:10:17: crypto_cipher is \"aes128\", but must be \"aes256\" or \"none\""]
    );
}

#[test]
fn a_key_file_that_cannot_be_used_is_a_problem_beside_the_others() {
    let host = FakeHost { key: Err(io::ErrorKind::NotFound), ..FakeHost::default() };
    let found = lines(on(&host, &format!("{NODES}[totem]\nkeyfile = \"/k\"\njoin = 0\n")));
    assert!(found[0].starts_with("c:10:11: the key file \"/k\" cannot be used: "), "{found:?}");
    assert!(found[0].ends_with("make one with corosync-keygen and copy it to all nodes"), "{found:?}");
    assert!(found[1].starts_with("c:11:8: join is 0"), "{found:?}");
}

#[test]
fn addresses_are_those_of_one_machine_each_and_of_one_kind() {
    let with =
        |address: &str| problems(&format!("[[nodelist.node]]\nnodeid = 3\nring0_addr = \"{address}\"\n"));
    for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
        assert_eq!(
            with(address),
            [format!("c:11:14: ring0_addr \"{address}\" is not the address of a single machine")]
        );
    }
    assert_eq!(with("gamma"), ["c:11:14: ring0_addr \"gamma\" cannot be resolved: no such host"]);
    assert_eq!(with(""), ["c:11:14: ring0_addr must not be empty"]);
    assert_eq!(
        with("2001:db8::3"),
        [
            "c:11:14: ring0_addr \"2001:db8::3\" is an IPv6 address, but this node's is an IPv4 address (line 4)"
        ]
    );
    assert_eq!(
        problems("[[nodelist.node]]\nnodeid = 3\nring0_addr = \"beta\"\n[totem]\nip_version = \"ipv6\"\n"),
        ["c:11:14: ring0_addr \"beta\" has no address that ip_version allows"]
    );
}

#[test]
fn this_node_has_to_be_in_the_list() {
    let nowhere = FakeHost { addresses: vec![], name: "gamma", ..FakeHost::default() };
    assert_eq!(
        lines(on(&nowhere, NODES)),
        [
            "c:1:1: no node of the list is this one: none has an address of this machine or its host name \"gamma\"; \
          set local_nodeid in [system]"
        ]
    );
    let twice = FakeHost { addresses: vec![address(1), address(2)], name: "gamma", ..FakeHost::default() };
    assert_eq!(
        lines(on(&twice, NODES)),
        [
            "c:1:1: nodes 1, 2 all have an address of this machine, and its host name \"gamma\" does not tell which of \
          them this one is; set local_nodeid in [system]"
        ]
    );
    assert_eq!(
        problems("[system]\nlocal_nodeid = 9\n"),
        ["c:10:16: local_nodeid is 9, but no node of the list has that nodeid"]
    );
    assert_eq!(
        lines(parse("")),
        ["c:1:1: there are no nodes: add a [[nodelist.node]] section for each node"]
    );
}

#[test]
fn a_cluster_has_a_largest_size() {
    let nodes = |count: usize| -> String {
        (1..=count)
            .map(|id| format!("[[nodelist.node]]\nnodeid = {id}\nring0_addr = \"192.0.2.{id}\"\n"))
            .collect()
    };
    assert!(parse(&nodes(128)).is_ok());
    assert_eq!(lines(parse(&nodes(129))), ["c:385:1: there are 129 nodes, but a cluster has at most 128"]);
}

#[test]
fn texts_are_neither_empty_nor_endless_nor_unprintable() {
    assert_eq!(problems("[totem]\ncluster_name = \"\"\n"), ["c:10:16: cluster_name must not be empty"]);
    assert_eq!(
        problems("[totem]\ncluster_name = \"a\\nb\"\n"),
        ["c:10:16: cluster_name must not hold control characters"]
    );
    let long = "x".repeat(256);
    assert_eq!(
        problems(&format!("[totem]\ncluster_name = \"{long}\"\n")),
        ["c:10:16: cluster_name has 256 octets, but must not have more than 255"]
    );
    assert_eq!(
        problems("[system]\nipc_instance = \"a/b\"\n"),
        ["c:10:16: ipc_instance must consist of letters, digits, \"_\" and \".\""]
    );
}

#[test]
fn debug_and_level_agree() {
    assert_eq!(
        problems("[logging]\ndebug = true\nlevel = \"warn\"\n"),
        ["c:11:9: level is \"warn\", but debug is true on line 10"]
    );
}

#[test]
fn columns_count_characters() {
    let text = format!("totem = {{ cluster_name = \"äöü\", tokn = 1 }}\n{NODES}");
    assert_eq!(lines(parse(&text)), ["c:1:33: unknown key `tokn`; did you mean `token`?"]);
}
