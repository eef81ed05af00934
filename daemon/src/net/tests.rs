use std::net::Ipv4Addr;

use protocol::links::{Recipients, Transmit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

fn socket() -> Socket {
    Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback is there")
}

/// What arrives at `socket`, until there are `count` datagrams.
fn receive(socket: &Socket, receiver: &mut Receiver, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let mut waiting = [PollFd::new(&socket.io, PollFlags::IN)];
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut waiting, Some(&limit)).expect("polled"), 1, "only {} arrived", arrived.len());
        let left = receiver.receive(socket, |batch| {
            arrived.extend(batch.iter().map(|received| (received.source, received.datagram.to_vec())));
        });
        left.expect("received");
    }
    arrived
}

/// Datagrams of these lengths, each filled with its own number.
fn pieces(lens: &[usize], to: Recipients) -> (Vec<u8>, Vec<Transmit>) {
    let mut octets = Vec::new();
    let mut transmits = Vec::new();
    for (number, &len) in lens.iter().enumerate() {
        transmits.push(Transmit { to, start: octets.len(), len });
        octets.resize(octets.len() + len, u8::try_from(number).expect("few datagrams"));
    }
    (octets, transmits)
}

#[test]
fn datagrams_sent_in_one_call_arrive_as_they_were_sent_at_every_peer() {
    let mut sender = socket();
    let peers = [socket(), socket()];
    let addresses = peers.each_ref().map(Socket::local_addr);
    let mut lens = vec![1400; 100];
    lens.extend([300, 1, 1400, 1400, 20]);
    let (octets, transmits) = pieces(&lens, Recipients::All);
    sender.send(&octets, &transmits, &addresses);
    let mut receiver = Receiver::new();
    for peer in &peers {
        let arrived = receive(peer, &mut receiver, lens.len());
        for ((source, datagram), transmit) in arrived.iter().zip(&transmits) {
            assert_eq!(*source, sender.local_addr());
            assert!(datagram == &octets[transmit.start..transmit.start + transmit.len]);
        }
        assert_eq!(receiver.receive(peer, |_| panic!("nothing more")).expect("received"), Left::Nothing);
    }
}

#[test]
fn one_recipient_alone_gets_what_is_for_it() {
    let mut sender = socket();
    let (first, second) = (socket(), socket());
    let (octets, transmits) = pieces(&[8, 8], Recipients::One(second.local_addr()));
    sender.send(&octets, &transmits, &[first.local_addr()]);
    let mut receiver = Receiver::new();
    assert_eq!(receive(&second, &mut receiver, 2).len(), 2);
    assert_eq!(receiver.receive(&first, |_| panic!("nothing is for it")).expect("received"), Left::Nothing);
}

#[test]
fn datagrams_that_cannot_leave_are_counted_and_the_others_go_out() {
    let mut sender = socket();
    let peer = socket();
    // Larger than any datagram, between two good ones.
    let (octets, transmits) = pieces(&[100, 65_530, 100], Recipients::All);
    sender.send(&octets, &transmits, &[peer.local_addr()]);
    assert_eq!(receive(&peer, &mut Receiver::new(), 2).len(), 2);
    assert_eq!(sender.lost(send::Failure::TooLarge), 1);
}

#[test]
fn an_empty_datagram_is_skipped() {
    let peer = socket();
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
    other.send_to(b"", peer.local_addr()).expect("sent");
    other.send_to(b"x", peer.local_addr()).expect("sent");
    let arrived = receive(&peer, &mut Receiver::new(), 1);
    assert_eq!(arrived, [(other.local_addr().expect("bound"), b"x".to_vec())]);
}

#[test]
fn an_address_that_no_interface_has_is_told_apart() {
    // TEST-NET-3 (RFC 5737): never on an interface.
    let error = Socket::bind((Ipv4Addr::new(203, 0, 113, 9), 0).into()).expect_err("not ours");
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
}
