//! cpg messages to octets.

use super::{Address, Event, GroupName, MEMBERS_MAX, MEMBERSHIP_ADDRESSES_MAX, Reply, Request, ZeroCopy, id};
use crate::message::{
    CsError, Encode, RESPONSE_HEADER_BYTES, Sink, bare,
    layout::{Fixed, length},
};

impl Encode for Reply {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Join(_)
            | Self::Leave(_)
            | Self::IterationFinalize(_)
            | Self::Finalize(_)
            | Self::ZeroCopyBuffer(_)
            | Self::ZeroCopyExecute(_)
            | Self::PartialMulticast(_) => RESPONSE_HEADER_BYTES,
            Self::MembershipGet(_) => 32 + MEMBERSHIP_ADDRESSES_MAX * Address::BYTES,
            Self::LocalGet { .. } | Self::IterationInitialize(_) => 32,
            Self::IterationNext(_) => 168,
        }
    }

    fn encode(&self, sink: &mut impl Sink) {
        let bytes = self.encoded_bytes();
        match self {
            Self::Join(error) => bare(0, *error).put(sink),
            Self::Leave(error) => bare(1, *error).put(sink),
            Self::MembershipGet(addresses) => {
                let addresses = first(addresses, MEMBERSHIP_ADDRESSES_MAX);
                Fixed::<32>::response(3, bytes, CsError::Ok).u32(24, length(addresses.len())).put(sink);
                put_addresses(sink, addresses);
                // The library copies as many as the count says out of an array of full size.
                for _ in addresses.len()..MEMBERSHIP_ADDRESSES_MAX {
                    sink.put(&[0; Address::BYTES]);
                }
            }
            Self::LocalGet { nodeid } => {
                Fixed::<32>::response(7, bytes, CsError::Ok).u32(24, *nodeid).put(sink);
            }
            Self::IterationInitialize(result) => {
                let (error, handle) = result.map_or_else(|error| (error, 0), |handle| (CsError::Ok, handle));
                Fixed::<32>::response(9, bytes, error).u64(24, handle).put(sink);
            }
            Self::IterationNext(Ok((group, address))) => Fixed::<168>::response(10, bytes, CsError::Ok)
                .name(24, group)
                .u32(160, address.nodeid)
                .u32(164, address.pid)
                .put(sink),
            Self::IterationNext(Err(error)) => Fixed::<168>::response(10, bytes, *error).put(sink),
            Self::IterationFinalize(error) => bare(11, *error).put(sink),
            Self::Finalize(error) => bare(12, *error).put(sink),
            Self::ZeroCopyBuffer(error) => bare(0, *error).put(sink),
            Self::ZeroCopyExecute(error) => bare(2, *error).put(sink),
            Self::PartialMulticast(error) => bare(18, *error).put(sink),
        }
    }
}

impl Encode for Event {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Deliver { message, .. } => 184 + message.len(),
            Self::PartialDeliver { fragment, .. } => 200 + fragment.len(),
            Self::ConfigurationChange { members, joined, left, .. } => {
                let entries = [members, joined, left].map(|list| first(list, MEMBERS_MAX).len());
                184 + entries.iter().sum::<usize>() * Address::BYTES
            }
            Self::TotemConfigurationChange { members, .. } => 48 + first(members, MEMBERS_MAX).len() * 4,
        }
    }

    fn encode(&self, sink: &mut impl Sink) {
        let bytes = self.encoded_bytes();
        match self {
            Self::Deliver { group, nodeid, pid, message } => {
                Fixed::<184>::response(id::EVENT_DELIVER, bytes, CsError::Ok)
                    .name(24, group)
                    .u32(160, length(message.len()))
                    .u32(168, *nodeid)
                    .u32(176, *pid)
                    .put(sink);
                sink.put(message);
            }
            Self::PartialDeliver { group, nodeid, pid, message_bytes, kind, fragment } => {
                Fixed::<200>::response(id::EVENT_PARTIAL_DELIVER, bytes, CsError::Ok)
                    .name(24, group)
                    .u32(160, *message_bytes)
                    .u32(168, length(fragment.len()))
                    .u32(176, *nodeid)
                    .u32(184, *pid)
                    .u32(192, *kind as u32)
                    .put(sink);
                sink.put(fragment);
            }
            Self::ConfigurationChange { group, members, joined, left } => {
                let [members, joined, left] = [members, joined, left].map(|list| first(list, MEMBERS_MAX));
                Fixed::<184>::response(id::EVENT_CONFIGURATION_CHANGE, bytes, CsError::Ok)
                    .name(24, group)
                    .u32(160, length(members.len()))
                    .u32(168, length(joined.len()))
                    .u32(176, length(left.len()))
                    .put(sink);
                // Another order than that of the counts.
                put_addresses(sink, members);
                put_addresses(sink, left);
                put_addresses(sink, joined);
            }
            Self::TotemConfigurationChange { ring, members } => {
                let members = first(members, MEMBERS_MAX);
                Fixed::<44>::response(id::EVENT_TOTEM_CONFIGURATION_CHANGE, bytes, CsError::Ok)
                    .u32(24, ring.nodeid)
                    .u64(32, ring.seq)
                    .u32(40, length(members.len()))
                    .put(sink);
                for member in members {
                    sink.put(&member.to_ne_bytes());
                }
                // The list starts in the structure's padding; corosync sends the padding as well.
                sink.put(&[0; 4]);
            }
        }
    }
}

impl Encode for Request {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Join { .. } => 168,
            Self::Leave { .. } | Self::IterationInitialize { .. } => 160,
            Self::Multicast { message, .. } | Self::ZeroCopyExecute { message, .. } => {
                Self::multicast_bytes(message)
            }
            Self::MembershipGet { .. } => 152,
            Self::LocalGet | Self::Finalize => 16,
            Self::IterationNext { .. } | Self::IterationFinalize { .. } => 24,
            Self::PartialMulticast { fragment, .. } => 56 + fragment.len(),
        }
    }

    /// A [`Request::ZeroCopyExecute`] holds its payload and goes as a plain multicast.
    fn encode(&self, sink: &mut impl Sink) {
        let bytes = self.encoded_bytes();
        match self {
            Self::Join { group, pid, flags } => {
                group_request::<168>(id::JOIN, group.as_ref()).u32(152, *pid).u32(160, *flags).put(sink);
            }
            Self::Leave { group, pid } => {
                group_request::<160>(id::LEAVE, group.as_ref()).u32(152, *pid).put(sink);
            }
            Self::Multicast { guarantee, message } | Self::ZeroCopyExecute { guarantee, message } => {
                Self::put_multicast(*guarantee, message, sink);
            }
            Self::MembershipGet { group } => {
                group_request::<152>(id::MEMBERSHIP_GET, group.as_ref()).put(sink);
            }
            Self::LocalGet => Fixed::<16>::request(id::LOCAL_GET, bytes).put(sink),
            Self::IterationInitialize { group, kind } => {
                group_request::<160>(id::ITERATION_INITIALIZE, group.as_ref())
                    .u32(152, kind.map_or(0, |kind| kind as u32))
                    .put(sink);
            }
            Self::IterationNext { handle } => {
                Fixed::<24>::request(id::ITERATION_NEXT, bytes).u64(16, *handle).put(sink);
            }
            Self::IterationFinalize { handle } => {
                Fixed::<24>::request(id::ITERATION_FINALIZE, bytes).u64(16, *handle).put(sink);
            }
            Self::Finalize => Fixed::<16>::request(id::FINALIZE, bytes).put(sink),
            Self::PartialMulticast { guarantee, message_bytes, kind, fragment } => {
                Fixed::<56>::request(id::PARTIAL_MULTICAST, bytes)
                    .u32(24, *guarantee)
                    .u32(32, *message_bytes)
                    .u32(40, length(fragment.len()))
                    .u32(48, kind.map_or(0, |kind| kind as u32))
                    .put(sink);
                sink.put(fragment);
            }
        }
    }
}

impl Request {
    /// Octets of a multicast with this payload.
    pub(crate) fn multicast_bytes(message: &[u8]) -> usize {
        40 + message.len()
    }

    /// Puts a multicast whose payload is borrowed.
    pub(crate) fn put_multicast(guarantee: u32, message: &[u8], sink: &mut impl Sink) {
        Fixed::<40>::request(id::MULTICAST, Self::multicast_bytes(message))
            .u32(24, guarantee)
            .u32(32, length(message.len()))
            .put(sink);
        sink.put(message);
    }
}

impl Encode for ZeroCopy {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Allocate { .. } => 152,
            Self::Free { .. } => 32,
            Self::Execute { .. } => 24,
        }
    }

    fn encode(&self, sink: &mut impl Sink) {
        let bytes = self.encoded_bytes();
        match self {
            Self::Allocate { map_bytes, path } => Fixed::<152>::request(id::ZERO_COPY_ALLOCATE, bytes)
                .u64(16, *map_bytes)
                .octets(24, first(path, 127))
                .put(sink),
            Self::Free { token } => {
                Fixed::<32>::request(id::ZERO_COPY_FREE, bytes).u64(24, *token).put(sink);
            }
            Self::Execute { token } => {
                Fixed::<24>::request(id::ZERO_COPY_EXECUTE, bytes).u64(16, *token).put(sink);
            }
        }
    }
}

/// The fixed part of a request with a group's name behind the header. No name is a length that no
/// name can have.
fn group_request<const N: usize>(id: i32, group: Option<&GroupName>) -> Fixed<N> {
    let fixed = Fixed::request(id, N);
    match group {
        Some(group) => fixed.name(16, group),
        None => fixed.u32(16, u32::MAX),
    }
}

fn put_addresses(sink: &mut impl Sink, addresses: &[Address]) {
    for address in addresses {
        Fixed::<{ Address::BYTES }>::new()
            .u32(0, address.nodeid)
            .u32(8, address.pid)
            .u32(16, address.reason as u32)
            .put(sink);
    }
}

/// At most the first `max` entries: what the libraries' arrays can take.
fn first<T>(list: &[T], max: usize) -> &[T] {
    list.get(..max).unwrap_or(list)
}
