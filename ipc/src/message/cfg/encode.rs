//! cfg messages to octets.

use std::net::IpAddr;

use super::{
    ADDRESS_BYTES, INTERFACES_MAX, Interface, LinkStatus, NodeStatus, Reply, Request, family, id, ring_status,
};
use crate::message::{
    CsError, Encode, RESPONSE_HEADER_BYTES, Sink, bare,
    layout::{Fixed, length},
};

impl Encode for Request {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::RingStatusGet | Self::LocalGet => 16,
            Self::GetNodeAddrs { .. } => 24,
            Self::NodeStatusGet { .. } => 32,
            Self::Command(command) => command.bytes(),
        }
    }

    /// What a command carries is zeros.
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::RingStatusGet => Fixed::<16>::request(id::RING_STATUS_GET, 16).put(sink),
            Self::GetNodeAddrs { nodeid } => {
                Fixed::<24>::request(id::GET_NODE_ADDRS, 24).u32(16, *nodeid).put(sink);
            }
            Self::LocalGet => Fixed::<16>::request(id::LOCAL_GET, 16).put(sink),
            Self::NodeStatusGet { nodeid, version } => {
                Fixed::<32>::request(id::NODE_STATUS_GET, 32).u32(16, *nodeid).u32(24, *version).put(sink);
            }
            Self::Command(command) => {
                let (id, bytes) = (command.ids().0, command.bytes());
                Fixed::<16>::request(id, bytes).put(sink);
                (16..bytes).step_by(8).for_each(|_| sink.put(&[0; 8]));
            }
        }
    }
}

impl Encode for Reply {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::RingStatusGet(_) => ring_status::BYTES,
            Self::GetNodeAddrs(Ok(addresses)) => 32 + one_family(addresses).1.len() * ADDRESS_BYTES,
            Self::GetNodeAddrs(Err(_)) | Self::LocalGet { .. } | Self::NodeStatusGet(Err(_)) => 32,
            Self::NodeStatusGet(Ok(_)) => NodeStatus::BYTES,
            Self::Command(..) => RESPONSE_HEADER_BYTES,
        }
    }

    fn encode(&self, sink: &mut impl Sink) {
        let bytes = self.encoded_bytes();
        match self {
            Self::RingStatusGet(interfaces) => put_ring_status(interfaces, sink),
            Self::GetNodeAddrs(Ok(addresses)) => {
                let (family, addresses) = one_family(addresses);
                Fixed::<32>::response(id::REPLY_GET_NODE_ADDRS, bytes, CsError::Ok)
                    .u32(24, family)
                    .u32(28, length(addresses.len()))
                    .put(sink);
                addresses.iter().for_each(|address| put_address(*address, sink));
            }
            // The library uses family and number whatever the error says; they are zeros.
            Self::GetNodeAddrs(Err(error)) => {
                Fixed::<32>::response(id::REPLY_GET_NODE_ADDRS, bytes, *error).put(sink);
            }
            Self::LocalGet { nodeid } => {
                Fixed::<32>::response(id::REPLY_LOCAL_GET, bytes, CsError::Ok).u32(24, *nodeid).put(sink);
            }
            Self::NodeStatusGet(Ok(status)) => put_node_status(status, sink),
            // The library puts its own error in front of this one if the version is another.
            Self::NodeStatusGet(Err(error)) => {
                Fixed::<32>::response(id::REPLY_NODE_STATUS_GET, bytes, *error)
                    .u32(24, NodeStatus::VERSION)
                    .put(sink);
            }
            Self::Command(command, error) => bare(command.ids().1, *error).put(sink),
        }
    }
}

/// A message has one family for all its addresses: the first one's, as far as it goes.
fn one_family(addresses: &[IpAddr]) -> (u32, &[IpAddr]) {
    let Some(first) = addresses.first() else { return (0, addresses) };
    let same = addresses.iter().take_while(|address| address.is_ipv4() == first.is_ipv4()).count();
    let family = if first.is_ipv4() { family::IPV4 } else { family::IPV6 };
    (family, addresses.get(..same).unwrap_or(addresses))
}

fn put_address(address: IpAddr, sink: &mut impl Sink) {
    let fixed = Fixed::<ADDRESS_BYTES>::new();
    match address {
        IpAddr::V4(address) => fixed.octets(0, &address.octets()),
        IpAddr::V6(address) => fixed.octets(0, &address.octets()),
    }
    .put(sink);
}

fn put_ring_status(interfaces: &[Interface], sink: &mut impl Sink) {
    use ring_status::{BYTES, NAME_BYTES, NAMES, STATUS_BYTES, STATUSES};
    let interfaces = interfaces.get(..INTERFACES_MAX).unwrap_or(interfaces);
    let mut fixed = Fixed::<BYTES>::response(id::REPLY_RING_STATUS_GET, BYTES, CsError::Ok)
        .u32(24, length(interfaces.len()));
    for (place, interface) in interfaces.iter().enumerate() {
        fixed = fixed
            .octets(NAMES + place * NAME_BYTES, text(&interface.name, NAME_BYTES))
            .octets(STATUSES + place * STATUS_BYTES, text(&interface.status, STATUS_BYTES));
    }
    fixed.put(sink);
}

fn put_node_status(status: &NodeStatus, sink: &mut impl Sink) {
    Fixed::<40>::response(id::REPLY_NODE_STATUS_GET, NodeStatus::BYTES, CsError::Ok)
        .u32(24, NodeStatus::VERSION)
        .u32(28, status.nodeid)
        // The octets behind it tell of knet's routing and of its wire format; there is neither here.
        .octets(32, &[status.reachable.into()])
        .put(sink);
    for place in 0..NodeStatus::LINKS_MAX {
        let fixed = Fixed::<{ LinkStatus::BYTES }>::new();
        match status.links.get(place).copied().flatten() {
            Some(link) => fixed
                .octets(0, &[1, link.connected.into()])
                .u32(4, link.mtu)
                .octets(8, text(&link.source.to_string(), 256))
                .octets(264, text(&link.destination.to_string(), 256)),
            None => fixed,
        }
        .put(sink);
    }
}

/// As much of a text as fits with its terminating zero.
fn text(text: &str, bytes: usize) -> &[u8] {
    text.as_bytes().get(..bytes - 1).unwrap_or(text.as_bytes())
}
