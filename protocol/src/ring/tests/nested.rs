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
