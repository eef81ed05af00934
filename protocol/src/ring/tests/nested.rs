//! Failures while a ring is being formed.

use super::*;
use crate::{
    ring::{keeper::TokenKeeper, recovery::Recovery},
    wire::{CommitEntry, CommitReport, Held, Seq},
};

#[test]
fn a_member_lost_at_any_moment_of_forming_a_ring_is_left_out_at_once() {
    // Everybody knows that it is down: nobody waits for the consensus timeout, and nobody else is
    // given up.
    for step in 0..20 {
        let mut net = Net::new(3);
        net.run_for(HOP / 2 * step);
        let gone = net.crash(3);
        net.down(gone);
        let (start, limit) = (net.now, Duration::from_millis(1100));
        while net.now.since(start) < limit && (net.members(1), net.members(2)) != (vec![1, 2], vec![1, 2]) {
            net.run_for(Duration::from_millis(10));
        }
        for node in 1..=2 {
            assert_eq!(net.members(node), [1, 2], "node 3 lost after {step} half hops");
            assert!(!net.seen(node).contains(&Seen::Regular(vec![node])), "after {step} half hops");
        }
    }
}

#[test]
fn a_node_that_completes_a_recovery_takes_over_the_obligations_of_the_others() {
    // 1 recovers with 2, which had completed an earlier attempt with 3. If 2 installs now, it may
    // deliver a message of 3 beyond a hole; so 1 has to, even if this attempt fails for it.
    let boot = Boot { id: BootId(1), seed: 7, ring_seq: RingSeq(0) };
    let mut common = Common::new(settings(1, 3), boot, Instant::ZERO);
    let member = |node: u32| Member { node: NodeId::new(node).unwrap(), boot: BootId(node.into()) };
    common.installed.members = (1..=4).map(member).collect();
    let old_ring = common.installed.ring;
    let report = |obligations: &[u32]| CommitReport {
        old_ring,
        aru: Seq(0),
        delivered: Seq(0),
        stable: Seq(0),
        high_seen: Seq(0),
        obligations: obligations.iter().map(|&node| NodeId::new(node).unwrap()).collect(),
        held: Held::default(),
    };
    let entry = |node, obligations| CommitEntry { member: member(node), report: Some(report(obligations)) };
    let ring = RingId { seq: RingSeq(8), rep: member(1).node, nonce: 0 };
    let entries = vec![entry(1, &[]), entry(2, &[2, 3])];
    let keeper = TokenKeeper::new(ring, &[member(1), member(2)], member(1));
    let mut recovery = Recovery::new(&mut common, keeper, CommitToken { ring, hop: 3, entries });
    let _ = recovery.visit(&mut common, Token { token_seq: 5, ..Token::first(ring) });
    let obligations = common.installed.report().obligations;
    assert_eq!(obligations.iter().map(|node| node.get()).collect::<Vec<_>>(), [1, 2, 3]);
}

/// Four nodes with messages of both guarantees under way fall apart after `steps` half hops of a change
/// of the ring, and come together again.
fn fall_apart(steps: u32, disorder: bool, lose: Option<u64>, side: fn(u32) -> u32) {
    let mut net = Net::new(4);
    net.run_for(Duration::from_millis(100));
    (net.disorder, net.lose) = (disorder, lose);
    let mut said = 0;
    let mut say = |net: &mut Net| {
        for node in net.nodes.keys().copied().collect::<Vec<_>>() {
            said += 1;
            let guarantee = if said % 2 == 0 { Guarantee::Safe } else { Guarantee::Agreed };
            net.send(node, guarantee, format!("{node}:{said}").into());
        }
    };
    say(&mut net);
    net.run_for(HOP * 3);
    say(&mut net);
    // The change: 4 says that it leaves, and comes back in a new life.
    net.with(4, Ring::leave);
    net.crash(4);
    net.start(4, RingSeq(8));
    net.run_for(HOP / 2 * steps);
    net.cut = Box::new(move |a, b| side(a) != side(b));
    net.run_for(secs(6));
    say(&mut net);
    net.run_for(secs(1));
    net.cut = Box::new(|_, _| false);
    net.run_for(secs(6));
    (net.disorder, net.lose) = (false, None);
    net.run_for(secs(3));
    for node in 1..=4 {
        assert_eq!(net.members(node), [1, 2, 3, 4], "node {node}, {steps} half hops");
        let own = net.messages(node).into_iter().filter(|(sender, _)| *sender == node);
        let own: Vec<_> = own.map(|(_, body)| body).collect();
        assert!(own.len() >= if node == 4 { 1 } else { 3 }, "node {node}, {steps} half hops: {own:?}");
    }
    // No message twice, and what two nodes both have is in one order.
    for a in 1..=4 {
        let ours = net.messages(a);
        for b in 1..=4 {
            let theirs = net.messages(b);
            let both: Vec<_> = ours.iter().filter(|m| theirs.contains(m)).collect();
            assert!(theirs.iter().filter(|m| ours.contains(m)).eq(both), "{a}, {b}, {steps} half hops");
        }
    }
}

#[test]
fn a_partition_at_any_moment_of_a_change_heals() {
    for steps in 0..60 {
        fall_apart(steps, false, None, |node| u32::from(node <= 2));
        fall_apart(steps, false, None, |node| u32::from(node == 1));
        fall_apart(steps, false, None, |node| node);
    }
}

#[test]
fn a_partition_heals_although_frames_are_lost_come_twice_and_overtake_each_other() {
    for steps in 0..60 {
        fall_apart(steps * 7, true, None, |node| u32::from(node <= 2));
        fall_apart(steps * 7, true, Some(u64::from(5 + steps % 7)), |node| u32::from(node == 1));
    }
}

#[test]
fn a_representative_that_dies_unnoticed_at_any_moment_is_left_out() {
    for steps in 0..60 {
        let mut net = Net::new(4);
        net.run_for(Duration::from_millis(100));
        net.with(4, Ring::leave);
        net.crash(4);
        net.run_for(HOP / 2 * steps);
        net.crash(1);
        net.run_for(secs(6));
        assert_eq!((net.members(2), net.members(3)), (vec![2, 3], vec![2, 3]), "{steps} half hops");
    }
}

#[test]
fn a_node_with_a_smaller_netmtu_brings_the_others_a_larger_frame() {
    // 1 says much in large frames and dies; only 2, whose frames are smaller, has heard it.
    let mut net = Net::new(3);
    net.nodes.get_mut(&2).unwrap().ring.common.settings.frame_bytes_max = 600;
    net.run_for(Duration::from_millis(100));
    net.cut = Box::new(|a, b| a == 1 && b == 3);
    net.send(1, Guarantee::Agreed, vec![1; 1300].into());
    net.run_for(Duration::from_millis(1));
    net.crash(1);
    net.cut = Box::new(|_, _| false);
    net.run_for(secs(6));
    assert_eq!(net.messages(3), [(1, vec![1; 1300].into())]);
    assert_eq!(net.seen(2), net.seen(3));
}
