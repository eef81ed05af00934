//! Frames of members that are broken or mean harm: nothing of what they say stops a node for good.

use bytes::BytesMut;

use super::*;
use crate::wire::{Entry, RegularHead, RetransmitRange, Seq};

/// Node 2 of a ring of two that is up, with the other member, the ring's id, and the time. It never
/// holds the token, and the other one is no longer there to answer.
fn ring_of_two() -> (Ring, Member, RingId, Instant) {
    let mut net = Net::new(2);
    net.run_for(Duration::from_millis(100));
    let first = net.crash(1);
    let second = net.nodes.remove(&2).unwrap().ring;
    let id = second.common.installed.ring;
    (second, first, id, net.now)
}

fn token(ring: RingId) -> Token {
    Token { token_seq: 1 << 40, ..Token::first(ring) }
}

/// Hands a token in and gives the tokens that go out.
fn visit(ring: &mut Ring, now: Instant, from: Member, token: &Token) -> Vec<Token> {
    let mut frame = BytesMut::new();
    token.encode(&mut frame);
    ring.handle_frame(now, from, &frame).unwrap();
    ring.handle_drained(now);
    let sent = std::iter::from_fn(|| ring.poll_output()).filter_map(|output| match output {
        Output::Send { frame, .. } => match Frame::decode(&frame) {
            Ok(Frame::Token(token)) => Some(token),
            _ => None,
        },
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_token_at_the_end_of_all_numbers_is_passed_on() {
    let (mut ring, from, id, now) = ring_of_two();
    let last = Token { token_seq: u64::MAX, seq: Seq(u64::MAX), ..token(id) };
    assert_eq!(visit(&mut ring, now, from, &last).len(), 1);
}

#[test]
fn requests_that_nobody_here_can_serve_end_with_the_recovery_they_were_made_for() {
    // A member asked for many old frames, and then they came late by themselves: it is complete, the
    // ring is installed, and requests are left on the token. Were they passed on for ever, the ring
    // would never be idle, and a full list would leave no room for real ones.
    let (mut ring, from, id, now) = ring_of_two();
    let old = RingId { nonce: !id.nonce, ..id };
    let rtr = (0..48).map(|i| RetransmitRange { ring: old, first: Seq(1 + 2 * i), count: 1 }).collect();
    let passed = visit(&mut ring, now, from, &Token { rtr, ..token(id) });
    assert_eq!(passed.iter().map(|token| token.rtr.len()).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_frame_of_a_sender_outside_the_ring_is_dropped() {
    let (mut ring, from, id, now) = ring_of_two();
    let mut frame = BytesMut::new();
    let sender = NodeId::new(99).unwrap();
    RegularHead { guarantee: Guarantee::Agreed, count: 1, sender, ring: id, seq: Seq(1) }.encode(&mut frame);
    Entry::encode_head(&mut frame, None, 0);
    ring.handle_frame(now, from, &frame).unwrap();
    assert!(!std::iter::from_fn(|| ring.poll_output()).any(|output| matches!(output, Output::Deliver(_))));
}

#[test]
fn a_crowd_of_invented_lives_does_not_push_a_node_out_of_its_own_proposal() {
    let mut net = Net::new(2);
    net.run_for(Duration::from_millis(100));
    let from = net.nodes[&1].member;
    let proc = (0..128).map(|boot| Member { node: from.node, boot: BootId(1000 + boot) }).collect();
    let mut join = BytesMut::new();
    Join { ring_seq: RingSeq(100), proc, fail: vec![] }.encode(&mut join);
    net.with(2, |ring, now| ring.handle_frame(now, from, &join).unwrap());
    net.run_for(secs(5));
    assert_eq!(net.members(2), [1, 2]);
}

#[test]
fn a_join_from_before_the_installed_ring_changes_nothing_in_gather() {
    // It was late on its way: its sender has been in the installed ring since.
    let mut net = Net::new(3);
    net.run_for(Duration::from_millis(100));
    let (from, failed) = (net.nodes[&1].member, net.nodes[&3].member);
    let proc = net.nodes.values().map(|node| node.member).collect();
    let mut late = BytesMut::new();
    Join { ring_seq: RingSeq(1), proc, fail: vec![failed] }.encode(&mut late);
    net.cut = Box::new(|_, _| true);
    net.run_for(Duration::from_millis(1100));
    net.with(2, |ring, now| ring.handle_frame(now, from, &late).unwrap());
    net.cut = Box::new(|_, _| false);
    net.run_for(secs(1));
    assert!(!net.seen(3).contains(&Seen::Regular(vec![1, 2])) && net.members(2) == [1, 2, 3]);
    assert_eq!(net.seen(2).iter().filter(|s| matches!(s, Seen::Regular(_))).count(), 2);
}

#[test]
fn a_token_comes_from_the_predecessor_or_not_at_all() {
    let (mut ring, from, id, now) = ring_of_two();
    let stranger = Member { node: NodeId::new(9).unwrap(), boot: BootId(9) };
    assert_eq!(visit(&mut ring, now, stranger, &token(id)).len(), 0);
    assert_eq!(visit(&mut ring, now, from, &token(id)).len(), 1);
}
