//! Several nodes' services on the [`Bus`]; its programs check each event against all before it.

use std::collections::BTreeSet;

use ipc::message::cpg::ATOMIC_MESSAGE_BYTES_MAX;
use proptest::prelude::*;

use super::*;
use crate::bus::{Bus, Client, group};

const NONE: [&str; 0] = [];

fn fragment(kind: Fragment, message_bytes: u32, text: &'static str) -> Request {
    let fragment = Bytes::from_static(text.as_bytes());
    Request::PartialMulticast { guarantee: 2, message_bytes, kind: Some(kind), fragment }
}

// Joining, leaving, ending.

#[test]
fn a_join_is_answered_at_once_and_takes_place_in_the_order() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.connect(2));
    bus.forget();
    assert_eq!(bus.join(b, "g", 20), CsError::Ok);
    assert_eq!(bus.members(b, "g"), [(1, 10)], "nothing was ordered yet");
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 2.20 +2.20 join"]);
    assert_eq!(bus.told(b), ["g 1.10 2.20 +2.20 join"]);
    assert_eq!(bus.members(b, "g"), [(1, 10), (2, 20)]);
}

#[test]
fn a_leave_is_told_to_the_leaver_too_and_to_nobody_else_twice() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    assert_eq!(bus.leave(b), CsError::Ok);
    bus.gone(b);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 -2.20 leave"]);
    assert_eq!(bus.leave(a), CsError::Ok);
    bus.settle();
    assert_eq!(bus.told(a), ["g -1.10 leave"]);
    assert_eq!(bus.members(a, "g"), []);
}

#[test]
fn a_process_that_ends_without_leaving_is_down_once() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b, c) = (bus.member(1, "g", 10), bus.member(2, "g", 20), bus.member(2, "g", 21));
    bus.forget();
    bus.gone(b);
    assert_eq!(bus.call(c, Request::Finalize), Reply::Finalize(CsError::Ok));
    assert!(bus.is_disconnected(c));
    bus.gone(c);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 2.21 -2.20 procdown", "g 1.10 -2.21 procdown"]);
}

#[test]
fn a_connection_may_join_again_once_its_leave_was_delivered() {
    let mut bus = Bus::ring_of(&[1]);
    let a = bus.member(1, "g", 10);
    assert_eq!(bus.leave(a), CsError::Ok);
    assert_eq!(bus.join(a, "h", 10), CsError::Busy);
    bus.settle();
    assert_eq!(bus.join(a, "h", 10), CsError::Ok);
    bus.settle();
    assert_eq!(bus.members(a, "h"), [(1, 10)]);
}

#[test]
fn every_state_answers_as_it_should() {
    let mut bus = Bus::ring_of(&[1]);
    let a = bus.connect(1);
    let zero_copy = || Request::ZeroCopyExecute { guarantee: 2, message: Bytes::from_static(b"z") };

    assert_eq!(bus.leave(a), CsError::NotExist);
    assert_eq!(bus.call(a, zero_copy()), Reply::ZeroCopyExecute(CsError::NotExist));
    assert_eq!(bus.call(a, fragment(Fragment::First, 1, "z")), Reply::PartialMulticast(CsError::NotExist));
    bus.multicast(a, "to nobody");
    assert!(bus.nodes[&1].client.is_empty());
    assert_eq!(
        bus.call(a, Request::Join { group: None, pid: 10, flags: 0 }),
        Reply::Join(CsError::NameTooLong)
    );

    assert_eq!(bus.join(a, "g", 10), CsError::Ok);
    assert_eq!(bus.join(a, "h", 10), CsError::Exist);
    assert_eq!(bus.leave(a), CsError::Busy);
    assert_eq!(bus.call(a, zero_copy()), Reply::ZeroCopyExecute(CsError::Ok));
    bus.settle();

    assert_eq!(bus.join(a, "h", 10), CsError::Exist);
    let twin = bus.connect(1);
    assert_eq!(bus.join(twin, "g", 10), CsError::Exist, "another connection is that process");
    assert_eq!(bus.join(twin, "h", 10), CsError::Ok, "but in another group it may be it too");
    bus.settle();

    assert_eq!(bus.leave(a), CsError::Ok);
    assert_eq!(bus.join(a, "g", 10), CsError::Exist);
    assert_eq!(bus.join(a, "h", 99), CsError::Busy);
    assert_eq!(bus.leave(a), CsError::NotExist);
    assert_eq!(bus.call(a, zero_copy()), Reply::ZeroCopyExecute(CsError::NotExist));
    bus.gone(a);
    let next = bus.connect(1);
    assert_eq!(bus.join(next, "g", 10), CsError::TryAgain, "the end of its predecessor is on its way");
    bus.settle();
    assert_eq!(bus.join(next, "g", 10), CsError::Ok);
}

#[test]
fn a_successor_is_not_mistaken_for_a_process_that_ended_before_its_join_was_ordered() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let watcher = bus.member(2, "g", 20);
    bus.forget();
    let first = bus.connect(1);
    assert_eq!(bus.join(first, "g", 10), CsError::Ok);
    bus.gone(first);
    let second = bus.connect(1);
    assert_eq!(bus.join(second, "g", 10), CsError::Ok);
    assert!(bus.order(1), "the first join");
    assert_eq!(bus.told(second), NONE);
    bus.settle();
    assert_eq!(bus.told(second), ["g 1.10 2.20 +1.10 join"]);
    assert_eq!(
        bus.told(watcher),
        ["g 1.10 2.20 +1.10 join", "g 2.20 -1.10 procdown", "g 1.10 2.20 +1.10 join"]
    );
}

#[test]
fn the_join_flag_brings_the_ring_right_after_the_join() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let a = bus.connect(1);
    let join = Request::Join { group: group("g"), pid: 10, flags: JOIN_INITIAL_TOTEM_CONF };
    assert_eq!(bus.call(a, join), Reply::Join(CsError::Ok));
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 +1.10 join", "ring 1.4 [1, 2]"]);
}

#[test]
fn names_are_octets_and_may_be_empty() {
    let mut bus = Bus::ring_of(&[1]);
    let (plain, with_nul, empty) =
        (bus.member(1, "crmd", 1), bus.member(1, "crmd\0", 2), bus.member(1, "", 3));
    assert_eq!(bus.members(plain, "crmd"), [(1, 1)]);
    assert_eq!(bus.members(with_nul, "crmd\0"), [(1, 2)]);
    assert_eq!(bus.members(empty, ""), [(1, 3)]);
}

// Messages.

#[test]
fn messages_and_changes_are_in_one_order_everywhere() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    bus.multicast(a, "one");
    let c = bus.connect(1);
    assert_eq!(bus.join(c, "g", 11), CsError::Ok);
    bus.multicast(c, "two");
    bus.multicast(b, "three");
    bus.settle();
    let seen = bus.told(a);
    assert_eq!(bus.told(b), seen);
    assert_eq!(seen, ["g 1.10: one", "g 2.20: three", "g 1.10 1.11 2.20 +1.11 join", "g 1.11: two"]);
    assert_eq!(bus.told(c), seen[2..]);
}

#[test]
fn messages_of_other_groups_and_of_strangers_are_not_delivered() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "h", 20));
    bus.forget();
    bus.multicast(b, "in h");
    let stranger = Content::Message(Bytes::from_static(b"spoof"));
    let (head, body) = HeadPool::default().encode(10, &group("g").expect("short"), stranger);
    bus.deliver(2, [head, body].concat().into());
    bus.settle();
    assert_eq!(bus.told(a), NONE);
    assert_eq!(bus.told(b), ["h 2.20: in h"]);
}

#[test]
fn a_leaver_still_hears_what_was_ordered_before_its_leave() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    bus.multicast(a, "before");
    assert_eq!(bus.leave(b), CsError::Ok);
    assert!(bus.order(1));
    bus.multicast(a, "after");
    assert!(bus.order(2));
    bus.settle();
    assert_eq!(bus.told(b), ["g 2.20: before".replace("2.20", "1.10"), "g 1.10 -2.20 leave".into()]);
}

#[test]
fn guarantee_three_is_safe_and_everything_else_agreed() {
    let mut bus = Bus::ring_of(&[1]);
    let a = bus.member(1, "g", 10);
    for guarantee in [0, 1, 2, 3, 4, u32::MAX] {
        bus.ask(a, Request::Multicast { guarantee, message: Bytes::new() });
    }
    let guarantees: Vec<Guarantee> = bus.nodes[&1].client.iter().map(|m| m.guarantee).collect();
    let (agreed, safe) = (Guarantee::Agreed, Guarantee::Safe);
    assert_eq!(guarantees, [agreed, agreed, agreed, safe, agreed, agreed]);
}

#[test]
fn the_payload_is_never_copied() {
    let mut bus = Bus::ring_of(&[1]);
    let a = bus.member(1, "g", 10);
    let message = Bytes::from(vec![7; ATOMIC_MESSAGE_BYTES_MAX]);
    bus.ask(a, Request::Multicast { guarantee: 2, message: message.clone() });
    let ordered = bus.nodes[&1].client.back().expect("it was sent");
    assert_eq!(ordered.body.as_ptr(), message.as_ptr());
    assert!(ordered.head.len() <= message::HEAD_BYTES_MAX);
}

// Messages in fragments.

#[test]
fn fragments_are_relayed_in_order() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    for (kind, text) in [(Fragment::First, "ab"), (Fragment::Continued, "cd"), (Fragment::Last, "e")] {
        assert_eq!(bus.call(a, fragment(kind, 5, text)), Reply::PartialMulticast(CsError::Ok));
    }
    bus.settle();
    let expected = ["g 1.10: First of 5: ab", "g 1.10: Continued of 5: cd", "g 1.10: Last of 5: e"];
    assert_eq!(bus.told(b), expected);
    assert_eq!(bus.told(a), expected);
}

#[test]
fn a_change_of_the_group_interrupts_a_message_in_fragments() {
    let mut bus = Bus::ring_of(&[1]);
    let a = bus.member(1, "g", 10);
    let send = |bus: &mut Bus, kind, text| match bus.call(a, fragment(kind, 4, text)) {
        Reply::PartialMulticast(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(send(&mut bus, Fragment::First, "ab"), CsError::Ok);
    bus.member(1, "other", 11);
    assert_eq!(send(&mut bus, Fragment::Continued, "c"), CsError::Ok, "another group does not matter");
    bus.member(1, "g", 12);
    assert_eq!(send(&mut bus, Fragment::Last, "d"), CsError::Interrupt);
    assert_eq!(send(&mut bus, Fragment::Last, "d"), CsError::Interrupt, "the message is given up");
    assert_eq!(send(&mut bus, Fragment::First, "ab"), CsError::Ok);
    assert_eq!(send(&mut bus, Fragment::Last, "cd"), CsError::Ok);
}

#[test]
fn fragments_that_do_not_add_up_are_refused_and_never_reach_a_library() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    let invalid = Reply::PartialMulticast(CsError::InvalidParam);
    assert_eq!(bus.call(a, fragment(Fragment::First, 2, "abc")), invalid);
    let unknown = Request::PartialMulticast {
        guarantee: 2,
        message_bytes: 1,
        kind: None,
        fragment: Bytes::from_static(b"a"),
    };
    assert_eq!(bus.call(a, unknown), invalid);

    // A node that does not check its clients.
    for (kind, text) in [(Fragment::First, "ab"), (Fragment::Continued, "cdefgh"), (Fragment::Last, "i")] {
        let content =
            Content::Fragment { kind, message_bytes: 4, payload: Bytes::from_static(text.as_bytes()) };
        let (head, body) = HeadPool::default().encode(10, &group("g").expect("short"), content);
        bus.deliver(1, [head, body].concat().into());
    }
    bus.settle();
    assert_eq!(bus.told(b), ["g 1.10: First of 4: ab"]);
}

// Configurations.

#[test]
fn lost_nodes_are_one_event_for_each_group_and_before_the_ring() {
    let mut bus = Bus::ring_of(&[1, 2, 3]);
    let (g, h) = (bus.member(1, "g", 10), bus.member(1, "h", 11));
    for (node, name, pid) in [(2, "g", 20), (2, "g", 21), (3, "g", 30), (3, "h", 31), (2, "i", 22)] {
        bus.member(node, name, pid);
    }
    let idle = bus.connect(1);
    bus.forget();
    bus.crash(2);
    bus.crash(3);
    bus.form(&[1]);
    assert_eq!(bus.told(g), NONE, "nothing before the end of the sync");
    bus.settle();
    assert_eq!(bus.told(g), ["g 1.10 -2.20 nodedown -2.21 nodedown -3.30 nodedown", "ring 1.8 [1]"]);
    assert_eq!(bus.told(h), ["h 1.11 -3.31 nodedown", "ring 1.8 [1]"]);
    assert_eq!(bus.told(idle), ["ring 1.8 [1]"], "every client hears of the ring");
    assert_eq!(bus.members(idle, "i"), []);
}

#[test]
fn a_merge_brings_one_event_for_each_group_on_each_side() {
    let mut bus = Bus::ring_of(&[1, 2]);
    bus.form(&[1]);
    bus.form(&[2]);
    bus.settle();
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.member(2, "g", 21);
    bus.forget();
    bus.form(&[1, 2]);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 2.20 2.21 +2.20 nodeup +2.21 nodeup", "ring 1.10 [1, 2]"]);
    assert_eq!(bus.told(b), ["g 1.10 2.20 2.21 +1.10 nodeup", "ring 1.10 [1, 2]"]);
}

#[test]
fn a_partition_with_changes_on_both_sides_merges_into_what_is_true() {
    let mut bus = Bus::ring_of(&[1, 2, 3, 4]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    let (c, d) = (bus.member(3, "g", 30), bus.member(4, "g", 40));
    bus.forget();
    bus.form(&[1, 2]);
    bus.form(&[3, 4]);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 2.20 -3.30 nodedown -4.40 nodedown", "ring 1.8 [1, 2]"]);
    assert_eq!(bus.told(d), ["g 3.30 4.40 -1.10 nodedown -2.20 nodedown", "ring 3.c [3, 4]"]);

    // One ends while apart, one leaves, one comes.
    bus.gone(b);
    assert_eq!(bus.leave(c), CsError::Ok);
    bus.member(4, "g", 41);
    bus.settle();
    bus.forget();
    bus.form(&[1, 2, 3, 4]);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 4.40 4.41 +4.40 nodeup +4.41 nodeup", "ring 1.10 [1, 2, 3, 4]"]);
    assert_eq!(bus.told(d), ["g 1.10 4.40 4.41 +1.10 nodeup", "ring 1.10 [1, 2, 3, 4]"]);
}

#[test]
fn who_comes_straight_from_the_old_ring_sees_the_others_go_and_come() {
    // Node 2 was alone for a while, which node 1 has not noticed: node 1 goes from one common ring to
    // the next. What node 2 delivered in between is unknown to node 1, so it is gone and new.
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.member(2, "g", 21);
    bus.forget();
    bus.form(&[2]);
    bus.settle();
    assert_eq!(bus.told(b), ["g 2.20 2.21 -1.10 nodedown", "ring 2.8 [2]"]);
    bus.form(&[1, 2]);
    bus.settle();
    assert_eq!(
        bus.told(a),
        [
            "g 1.10 -2.20 nodedown -2.21 nodedown",
            "g 1.10 2.20 2.21 +2.20 nodeup +2.21 nodeup",
            "ring 1.c [1, 2]"
        ]
    );
    assert_eq!(bus.told(b), ["g 1.10 2.20 2.21 +1.10 nodeup", "ring 1.c [1, 2]"]);
}

#[test]
fn a_restarted_node_is_another_one_even_if_nobody_noticed() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let a = bus.member(1, "g", 10);
    bus.member(2, "g", 20);
    bus.forget();
    bus.start(2);
    let reborn = bus.connect(2);
    assert_eq!(bus.join(reborn, "g", 20), CsError::Ok);
    bus.form(&[1, 2]);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 -2.20 nodedown", "ring 1.8 [1, 2]", "g 1.10 2.20 +2.20 join"]);
}

#[test]
fn a_process_that_joins_and_ends_during_a_sync_leaves_no_ghost() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let a = bus.member(1, "g", 10);
    bus.forget();
    bus.form(&[1, 2]);
    assert!(bus.order(1), "the sync is under way");
    let short = bus.connect(2);
    assert_eq!(bus.join(short, "g", 20), CsError::Ok);
    bus.gone(short);
    bus.settle();
    assert_eq!(bus.told(a), ["ring 1.8 [1, 2]", "g 1.10 2.20 +2.20 join", "g 1.10 -2.20 procdown"]);
    assert_eq!(bus.members(a, "g"), [(1, 10)]);
}

#[test]
fn a_node_that_joins_and_goes_within_one_round_leaves_no_ghost() {
    // Node 3 brings a process, and its report is delivered; then it is gone before the round is over.
    let mut bus = Bus::ring_of(&[1, 2]);
    let a = bus.member(1, "g", 10);
    bus.start(3);
    bus.form(&[3]);
    bus.settle();
    bus.member(3, "g", 30);
    bus.forget();
    bus.form(&[1, 2, 3]);
    while bus.order(3) {}
    assert!(bus.order(1));
    bus.crash(3);
    bus.form(&[1, 2]);
    bus.settle();
    assert_eq!(bus.told(a), ["ring 1.10 [1, 2]"]);
    assert_eq!(bus.members(a, "g"), [(1, 10)]);
}

#[test]
fn an_aborted_round_loses_no_change() {
    // 3 is lost, and in the round about that 2 is lost too: both are told when a round completes.
    let mut bus = Bus::ring_of(&[1, 2, 3]);
    let a = bus.member(1, "g", 10);
    bus.member(2, "g", 20);
    bus.member(3, "g", 30);
    bus.forget();
    bus.form(&[1, 2]);
    assert!(bus.order(1));
    bus.form(&[1]);
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 -2.20 nodedown -3.30 nodedown", "ring 1.c [1]"]);
}

#[test]
fn messages_queued_before_a_configuration_are_delivered_behind_its_sync() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    bus.multicast(a, "queued");
    let c = bus.connect(2);
    assert_eq!(bus.join(c, "g", 21), CsError::Ok);
    bus.start(3);
    bus.form(&[1, 2, 3]);
    bus.settle();
    let expected = ["ring 1.8 [1, 2, 3]", "g 1.10: queued", "g 1.10 2.20 2.21 +2.21 join"];
    assert_eq!(bus.told(a), expected);
    assert_eq!(bus.told(b), expected);
}

#[test]
fn a_clients_message_that_is_ordered_within_a_sync_is_dropped() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    bus.multicast(b, "too early");
    let message = bus.nodes.get_mut(&2).expect("it runs").client.pop_front().expect("just sent");
    bus.form(&[1, 2]);
    bus.deliver(2, [message.head, message.body].concat().into());
    bus.settle();
    assert_eq!(bus.told(a), ["ring 1.8 [1, 2]"]);
    assert_eq!(bus.nodes[&1].services.dropped().unsynchronised, 1);
}

#[test]
fn processes_that_their_node_no_longer_reports_are_down() {
    // Node 2's report is spoilt on its way out; everybody takes it as empty.
    let mut bus = Bus::ring_of(&[1, 2, 3]);
    let a = bus.member(1, "g", 10);
    bus.member(2, "g", 20);
    let c = bus.member(3, "g", 30);
    bus.forget();
    bus.form(&[1, 2, 3]);
    let spoilt = bus.nodes.get_mut(&2).expect("it runs").sync.pop_front().expect("a part");
    assert!(!spoilt.body.is_empty());
    bus.settle();
    assert_eq!(bus.told(a), ["g 1.10 3.30 -2.20 procdown", "ring 1.8 [1, 2, 3]"]);
    assert_eq!(bus.told(c), ["g 1.10 3.30 -2.20 procdown", "ring 1.8 [1, 2, 3]"]);
}

#[test]
fn a_node_that_stops_takes_its_clients_along_in_order() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let (a, b) = (bus.member(1, "g", 10), bus.member(2, "g", 20));
    bus.forget();
    let mut out = Outbox::default();
    let node = bus.nodes.get_mut(&2).expect("it runs");
    node.services.shut_down(&mut out);
    node.client.extend(out.messages);
    bus.settle();
    assert_eq!(out.effects.len(), 1, "{b:?} is cut off");
    assert_eq!(bus.told(a), ["g 1.10 -2.20 procdown"]);
    assert_eq!(bus.nodes[&2].services.processes_local(), 0);
}

// Size.

#[test]
fn a_group_of_three_hundred_is_whole_although_events_list_only_128() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let watcher = bus.member(1, "g", 0);
    let many: Vec<Client> = (1..=300).map(|_| bus.connect(2)).collect();
    for (pid, &client) in (1u32..).zip(&many) {
        assert_eq!(bus.join(client, "g", pid), CsError::Ok);
    }
    bus.settle();
    assert_eq!(bus.members(watcher, "g").len(), 301);
    bus.forget();

    bus.form(&[1]);
    bus.form(&[2]);
    bus.settle();
    let lengths: Vec<usize> = bus
        .events(watcher)
        .iter()
        .filter_map(|event| match event {
            Event::ConfigurationChange { left, members, .. } if members.len() == 1 => Some(left.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [128, 128, 44], "all are told, in as many events as it takes");
    assert_eq!(bus.members(watcher, "g"), [(1, 0)]);

    bus.form(&[1, 2]);
    bus.settle();
    assert_eq!(bus.members(watcher, "g").len(), 301);
}

#[test]
fn a_membership_answer_has_at_most_384_entries() {
    let mut bus = Bus::ring_of(&[1]);
    let clients: Vec<Client> = (0..400).map(|_| bus.connect(1)).collect();
    for (pid, &client) in (0u32..).zip(&clients) {
        assert_eq!(bus.join(client, "g", pid), CsError::Ok);
    }
    bus.settle();
    assert_eq!(bus.members(clients[0], "g").len(), 384);
}

// Questions.

#[test]
fn questions_are_answered_from_this_nodes_view() {
    let mut bus = Bus::ring_of(&[1, 2]);
    let a = bus.connect(2);
    assert_eq!(bus.call(a, Request::LocalGet), Reply::LocalGet { nodeid: 2 });
    assert_eq!(bus.members(a, "nobody"), []);
    assert_eq!(bus.call(a, Request::MembershipGet { group: None }), Reply::MembershipGet(vec![]));
}

#[test]
fn iterations_belong_to_their_connection_and_are_bounded() {
    let mut bus = Bus::ring_of(&[1]);
    let (a, b) = (bus.member(1, "g", 10), bus.connect(1));
    let initialize = |kind| Request::IterationInitialize { group: group("g"), kind };
    let Reply::IterationInitialize(Ok(handle)) = bus.call(a, initialize(Some(IterationKind::All))) else {
        panic!("there is room");
    };
    let next = Request::IterationNext { handle };
    assert_eq!(bus.call(b, next.clone()), Reply::IterationNext(Err(CsError::Library)));
    let address = Address { nodeid: 1, pid: 10, reason: Reason::Undefined };
    assert_eq!(bus.call(a, next.clone()), Reply::IterationNext(Ok((group("g").expect("short"), address))));
    assert_eq!(bus.call(a, next.clone()), Reply::IterationNext(Err(CsError::NoSections)));
    let finalize = Request::IterationFinalize { handle };
    assert_eq!(bus.call(a, finalize.clone()), Reply::IterationFinalize(CsError::Ok));
    assert_eq!(bus.call(a, finalize), Reply::IterationFinalize(CsError::Library));
    assert_eq!(bus.call(a, next), Reply::IterationNext(Err(CsError::Library)));
    assert_eq!(bus.call(a, initialize(None)), Reply::IterationInitialize(Err(CsError::InvalidParam)));

    for _ in 0..iteration::ITERATIONS_MAX {
        assert!(matches!(
            bus.call(a, initialize(Some(IterationKind::NameOnly))),
            Reply::IterationInitialize(Ok(_))
        ));
    }
    assert_eq!(
        bus.call(a, initialize(Some(IterationKind::NameOnly))),
        Reply::IterationInitialize(Err(CsError::NoResources))
    );
}

// Any history.

/// One step of a random history.
#[derive(Clone, Debug)]
enum Act {
    Join { node: u32, name: u8, pid: u32 },
    Leave(usize),
    End(usize),
    Multicast(usize),
    Order { node: u32, count: usize },
    Form(u8),
    Restart(u32),
}

const NODES: [u32; 4] = [1, 2, 3, 4];

fn act() -> impl Strategy<Value = Act> {
    let node = || proptest::sample::select(&NODES[..]);
    prop_oneof![
        4 => (node(), 0..2u8, 1..4u32).prop_map(|(node, name, pid)| Act::Join { node, name, pid }),
        2 => any::<usize>().prop_map(Act::Leave),
        2 => any::<usize>().prop_map(Act::End),
        2 => any::<usize>().prop_map(Act::Multicast),
        6 => (node(), 1..5usize).prop_map(|(node, count)| Act::Order { node, count }),
        2 => any::<u8>().prop_map(Act::Form),
        1 => node().prop_map(Act::Restart),
    ]
}

/// Puts the nodes into two rings, or one, as the bits say.
fn form(bus: &mut Bus, sides: u8) {
    let (left, right): (Vec<u32>, Vec<u32>) = NODES.iter().partition(|&&node| sides >> node & 1 == 1);
    for side in [left, right] {
        if !side.is_empty() {
            bus.form(&side);
        }
    }
}

fn run(acts: Vec<Act>) {
    let mut bus = Bus::ring_of(&NODES);
    let mut clients: Vec<Client> = Vec::new();
    // One on each node that never leaves: its program folds and checks everything it is told.
    let watchers = NODES.map(|node| bus.member(node, "n0", 100 + node));
    for act in acts {
        match act {
            Act::Join { node, name, pid } => {
                let client = bus.connect(node);
                clients.push(client);
                let _ = bus.join(client, &format!("n{name}"), pid);
            }
            Act::Leave(index) if !clients.is_empty() => {
                let _ = bus.leave(clients[index % clients.len()]);
            }
            Act::End(index) if !clients.is_empty() => {
                let client = clients.swap_remove(index % clients.len());
                bus.gone(client);
            }
            Act::Multicast(index) if !clients.is_empty() => {
                bus.multicast(clients[index % clients.len()], "m");
            }
            Act::Leave(_) | Act::End(_) | Act::Multicast(_) => {}
            Act::Order { node, count } => {
                let _ = (0..count).all(|_| bus.order(node));
            }
            Act::Form(sides) => form(&mut bus, sides),
            Act::Restart(node) => {
                bus.start(node);
                clients.retain(|client| client.node != node);
                // It comes back into a ring with everybody, so that the watchers' views can be compared.
                bus.form(&NODES);
                let again = bus.connect(node);
                assert_eq!(bus.join(again, "n0", 100 + node), CsError::Ok);
                clients.push(again);
            }
        }
    }
    bus.form(&NODES);
    bus.settle();

    for name in ["n0", "n1"] {
        let probe = NODES.map(|node| bus.connect(node));
        let views = probe.map(|client| bus.members(client, name));
        assert!(views.iter().all(|view| *view == views[0]), "all nodes know the same: {views:?}");
        let truth: BTreeSet<(u32, u32)> = NODES.iter().flat_map(|node| bus.truth(*node, name)).collect();
        assert!(views[0].iter().copied().eq(truth.clone()), "{:?} is not {truth:?}", views[0]);
    }
    for watcher in watchers {
        if let Some(view) = bus.view(watcher) {
            assert_eq!(view, bus.members(watcher, "n0"), "what {watcher:?} was told adds up");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_all_nodes_know_the_true_groups(acts in proptest::collection::vec(act(), 1..60)) {
        run(acts);
    }

    #[test]
    fn no_ordered_message_of_a_peer_makes_a_node_panic(
        messages in proptest::collection::vec(
            (0..4u8, proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..40
        ),
    ) {
        let mut bus = Bus::ring_of(&[1, 2]);
        let a = bus.member(1, "g", 10);
        for (channel, octets, sync) in messages {
            // Half of them with a sound beginning, so that they get further.
            let beginning: &[u8] = if sync { &[] } else { b"\0\0\0\x0a\x01g" };
            let kind = octets.first().map_or(0, |octet| octet % 9);
            let message = [&[channel, kind], beginning, &octets[..]].concat();
            bus.deliver(2, message.into());
        }
        bus.settle();
        prop_assert!(bus.members(a, "g").contains(&(1, 10)));
    }
}
