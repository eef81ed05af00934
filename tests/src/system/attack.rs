//! What an attacker without the key can do on the nodes' network: listen, replay, forge.

use std::{
    io::{ErrorKind, Read as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Network;

/// A UDP datagram with its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// Who claims to have sent it.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub target: SocketAddrV4,
    /// Its content.
    pub payload: Vec<u8>,
}

/// Listens to everything that passes the bridge.
#[derive(Debug)]
pub struct Sniffer(Socket);

impl Sniffer {
    /// Starts to record, in the kernel's buffer.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let socket = network.outside().enter(|| {
            let every_protocol = Protocol::from(i32::from(0x0003_u16.to_be()));
            Socket::new(Domain::PACKET, Type::RAW, Some(every_protocol)).expect("open a packet socket")
        });
        socket.set_recv_buffer_size(RECORD_OCTETS).expect("set a buffer size");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("set a timeout");
        Self(socket)
    }

    /// The single UDP datagrams to nodes that were recorded so far, at most `limit`.
    ///
    /// What the kernel carried as one batch is left out; see [`Network::split_batches`].
    pub fn take(&mut self, limit: usize) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        let mut frame = [0; 1 << 16];
        while datagrams.len() < limit {
            match self.0.read(&mut frame) {
                Ok(len) => datagrams.extend(udp_of_frame(&frame[..len])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("packet socket: {error}"),
            }
        }
        datagrams
    }
}

/// Sends datagrams under any address.
#[derive(Debug)]
pub struct Injector(Socket);

impl Injector {
    /// An injector at the bridge.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        network.outside().enter(|| {
            let socket =
                Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("open a raw socket");
            socket.set_header_included_v4(true).expect("write headers ourselves");
            Self(socket)
        })
    }

    /// Sends a datagram of at most 1472 octets.
    pub fn send(&self, datagram: &Datagram) {
        let udp_len = u16::try_from(UDP_HEADER + datagram.payload.len()).expect("one packet");
        let mut packet = Vec::with_capacity(IP_HEADER + usize::from(udp_len));
        // The kernel fills in length, identification and checksum. Version 4, 5 words; time to live 64; UDP.
        packet.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend_from_slice(&datagram.source.ip().octets());
        packet.extend_from_slice(&datagram.target.ip().octets());
        packet.extend_from_slice(&datagram.source.port().to_be_bytes());
        packet.extend_from_slice(&datagram.target.port().to_be_bytes());
        packet.extend_from_slice(&udp_len.to_be_bytes());
        packet.extend_from_slice(&[0, 0]); // no checksum, which UDP over IPv4 allows
        packet.extend_from_slice(&datagram.payload);
        self.0.send_to(&packet, &SocketAddr::V4(datagram.target).into()).expect("send a raw packet");
    }
}

/// The datagram in an Ethernet frame, if it is a whole, single one to a node.
fn udp_of_frame(frame: &[u8]) -> Option<Datagram> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    let is_ipv4 = frame[12..14] == [0x08, 0x00] && *packet.first()? >> 4 == 4;
    let header_len = usize::from(packet.first()? & 15) * 4;
    let total_len = usize::from(u16_at(packet, 2)?);
    if !is_ipv4 || packet.get(9) != Some(&17) || total_len > MTU || u16_at(packet, 6)? & 0x3fff != 0 {
        return None;
    }
    let udp = packet.get(header_len..total_len)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    Some(Datagram {
        source: SocketAddrV4::new(address(12)?, u16_at(udp, 0)?),
        target: SocketAddrV4::new(address(16)?, u16_at(udp, 2)?),
        payload: udp.get(UDP_HEADER..)?.to_vec(),
    })
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

const ETHERNET_HEADER: usize = 14;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const MTU: usize = 1500;
/// Room for what a test records; the kernel caps it.
const RECORD_OCTETS: usize = 16 << 20;
