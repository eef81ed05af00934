use super::*;

fn member(node: u32, boot: u64) -> Member {
    Member { node: id(node), boot: protocol::BootId(boot) }
}

fn id(node: u32) -> NodeId {
    NodeId::new(node).expect("not zero")
}

fn ring(seq: u64) -> RingId {
    RingId { seq: RingSeq(seq), rep: id(1), nonce: 0x0102_0304 }
}

fn begin(barrier: &mut Barrier, seq: u64, members: &[Member], parts: &[&'static [u8]]) -> Vec<Bytes> {
    let mut out = VecDeque::new();
    let parts = parts.iter().map(|part| (Service::Cpg, Bytes::from_static(part)));
    barrier.begin(ring(seq), members.to_vec(), parts, &mut out);
    assert!(out.iter().all(|message| message.class == Class::Sync && message.origin.is_none()));
    out.iter().map(|message| [&message.head[..], &message.body[..]].concat().into()).collect()
}

fn done(seq: u64, count: u32) -> Bytes {
    encode(&ring(seq), count, None)
}

fn part(seq: u64, count: u32, data: &[u8]) -> Bytes {
    [&encode(&ring(seq), count, Some(Service::Cpg))[..], data].concat().into()
}

fn completion(step: Step) -> Completion {
    match step {
        Step::Completed(completion) => completion,
        other => panic!("{other:?} does not complete the round"),
    }
}

#[test]
fn layouts_are_as_documented() {
    assert_eq!(
        part(0x18, 5, b"xy"),
        &b"\x01\x01\0\0\0\0\0\0\0\x18\0\0\0\x01\x01\x02\x03\x04\0\0\0\x05\x02xy"[..]
    );
    assert_eq!(done(0x18, 6), &b"\x01\x02\0\0\0\0\0\0\0\x18\0\0\0\x01\x01\x02\x03\x04\0\0\0\x06"[..]);
}

#[test]
fn a_round_sends_all_parts_and_then_done() {
    let mut barrier = Barrier::new();
    let sent = begin(&mut barrier, 4, &[member(1, 1)], &[b"a", b"b"]);
    assert_eq!(sent, [part(4, 0, b"a"), part(4, 1, b"b"), done(4, 2)]);
    assert!(!barrier.is_complete());
}

#[test]
fn the_last_done_completes_the_round_and_no_earlier_one() {
    let mut barrier = Barrier::new();
    let members = [member(1, 1), member(2, 2), member(3, 3)];
    begin(&mut barrier, 4, &members, &[]);
    assert_eq!(barrier.handle_message(id(2), &done(4, 0)), Step::Nothing);
    assert_eq!(barrier.handle_message(id(2), &done(4, 0)), Step::Nothing, "it was done before");
    assert_eq!(barrier.handle_message(id(9), &done(4, 0)), Step::Nothing, "it is no member");
    assert_eq!(
        barrier.handle_message(id(3), &part(4, 0, b"x")),
        Step::Part { service: Service::Cpg, data: Bytes::from_static(b"x") }
    );
    assert_eq!(barrier.handle_message(id(3), &done(4, 1)), Step::Nothing);
    assert!(!barrier.is_complete());
    let completed = completion(barrier.handle_message(id(1), &done(4, 0)));
    assert_eq!(completed.members, members);
    assert!(completed.survivors.is_empty(), "nobody was here before");
    assert!(completed.void.is_empty());
    assert!(barrier.is_complete());
}

#[test]
fn messages_of_another_ring_are_ignored() {
    let mut barrier = Barrier::new();
    begin(&mut barrier, 4, &[member(1, 1)], &[]);
    begin(&mut barrier, 8, &[member(1, 1)], &[]);
    assert_eq!(barrier.handle_message(id(1), &part(4, 0, b"old")), Step::Nothing);
    assert_eq!(barrier.handle_message(id(1), &done(4, 1)), Step::Nothing);
    let mut other_nonce = done(8, 0).to_vec();
    other_nonce[17] ^= 1;
    assert_eq!(barrier.handle_message(id(1), &other_nonce.into()), Step::Nothing);
    assert_eq!(completion(barrier.handle_message(id(1), &done(8, 0))).ring, ring(8));
}

#[test]
fn a_transitional_configuration_aborts_a_round_and_ends_a_completed_one_softly() {
    let mut barrier = Barrier::new();
    begin(&mut barrier, 4, &[member(1, 1)], &[]);
    barrier.interrupt(&[member(1, 1)]);
    assert_eq!(barrier.handle_message(id(1), &done(4, 0)), Step::Nothing);
    assert!(!barrier.is_complete() && !barrier.admits_clients());

    begin(&mut barrier, 8, &[member(1, 1)], &[]);
    completion(barrier.handle_message(id(1), &done(8, 0)));
    barrier.interrupt(&[member(1, 1)]);
    assert!(!barrier.is_complete());
    assert!(barrier.admits_clients(), "messages of the old configuration are still delivered");
    begin(&mut barrier, 12, &[member(1, 1)], &[]);
    assert!(!barrier.admits_clients());
}

#[test]
fn survivors_are_those_who_came_along_through_every_configuration() {
    let (a, b, c) = (member(1, 1), member(2, 2), member(3, 3));
    let mut barrier = Barrier::new();
    begin(&mut barrier, 4, &[a, b, c], &[]);
    for node in [1, 2, 3] {
        let _ = barrier.handle_message(id(node), &done(4, 0));
    }
    // C drops out of a round that never completes, and is back in the next one; B has a new life.
    barrier.interrupt(&[a, b]);
    begin(&mut barrier, 8, &[a, b], &[]);
    barrier.interrupt(&[a]);
    let reborn = member(2, 22);
    begin(&mut barrier, 12, &[a, reborn, c], &[]);
    let _ = barrier.handle_message(id(1), &done(12, 0));
    let _ = barrier.handle_message(id(2), &done(12, 0));
    let completed = completion(barrier.handle_message(id(3), &done(12, 0)));
    assert_eq!(completed.survivors, [a]);
    assert_eq!(completed.members, [a, reborn, c]);
}

#[test]
fn a_contribution_with_a_gap_is_void_and_does_not_stop_the_round() {
    let mut barrier = Barrier::new();
    begin(&mut barrier, 4, &[member(1, 1), member(2, 2), member(3, 3)], &[]);
    assert_eq!(barrier.handle_message(id(2), &part(4, 1, b"x")), Step::Nothing, "part 0 is missing");
    assert_eq!(barrier.handle_message(id(2), &part(4, 1, b"x")), Step::Nothing);
    assert_eq!(barrier.handle_message(id(2), &done(4, 2)), Step::Nothing);
    let _ = barrier.handle_message(id(3), &part(4, 0, b"x"));
    assert_eq!(barrier.handle_message(id(3), &done(4, 2)), Step::Nothing, "one part is missing");
    assert_eq!(completion(barrier.handle_message(id(1), &done(4, 0))).void, [id(2), id(3)]);
}

#[test]
fn cut_messages_are_ignored() {
    let mut barrier = Barrier::new();
    begin(&mut barrier, 4, &[member(1, 1)], &[]);
    for message in [part(4, 0, b""), done(4, 0)] {
        for len in 0..message.len() {
            assert_eq!(barrier.handle_message(id(1), &message.slice(..len)), Step::Nothing, "{len} octets");
        }
    }
    let mut unknown = done(4, 0).to_vec();
    unknown[1] = 3;
    assert_eq!(barrier.handle_message(id(1), &unknown.into()), Step::Nothing);
    completion(barrier.handle_message(id(1), &done(4, 0)));
}
