//! cfg messages from octets.

use std::net::IpAddr;

use bytes::Bytes;

use super::{
    ADDRESS_BYTES, Command, INTERFACES_MAX, Interface, LinkStatus, NodeStatus, Reply, Request, family, id,
    ring_status,
};
use crate::message::{
    CsError, Incoming, MessageError,
    layout::{i32_at, u32_at},
};

/// Reads a request whose header is there and whose size is right.
pub(in crate::message) fn decode(message: &Bytes) -> Result<Incoming, MessageError> {
    let fields = Fields::new(message);
    let request = match fields.id {
        id::RING_STATUS_GET => Request::RingStatusGet,
        id::GET_NODE_ADDRS => Request::GetNodeAddrs { nodeid: fields.need(24)?.u32(16) },
        id::LOCAL_GET => Request::LocalGet,
        id::NODE_STATUS_GET => {
            let fields = fields.need(32)?;
            Request::NodeStatusGet { nodeid: fields.u32(16), version: fields.u32(24) }
        }
        id => match Command::ALL.into_iter().find(|command| command.ids().0 == id) {
            Some(command) => {
                fields.need(command.bytes())?;
                Request::Command(command)
            }
            None => return Ok(Incoming::Request(crate::message::Request::Unknown)),
        },
    };
    Ok(Incoming::Request(crate::message::Request::Cfg(request)))
}

impl Reply {
    /// Reads the answer to `request`; its size is right.
    pub(in crate::message) fn decode(request: &Request, message: &Bytes) -> Result<Self, MessageError> {
        let fields = Fields::new(message).need(24)?;
        let error = fields.error()?;
        Ok(match request {
            Request::RingStatusGet => Self::RingStatusGet(fields.need(ring_status::BYTES)?.interfaces()),
            Request::GetNodeAddrs { .. } => Self::GetNodeAddrs(match error {
                CsError::Ok => Ok(fields.need(32)?.addresses()?),
                error => Err(error),
            }),
            Request::LocalGet => Self::LocalGet { nodeid: fields.need(32)?.u32(24) },
            Request::NodeStatusGet { .. } => Self::NodeStatusGet(match error {
                CsError::Ok => Ok(fields.need(NodeStatus::BYTES)?.node_status()?),
                error => Err(error),
            }),
            Request::Command(command) => Self::Command(*command, error),
        })
    }
}

/// A message whose fields are read. Reading behind the end gives zeros; [`Self::need`] comes first.
#[derive(Clone, Copy)]
struct Fields<'a> {
    id: i32,
    message: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(message: &'a Bytes) -> Self {
        Self { id: i32_at(message, 0).unwrap_or(-1), message }
    }

    /// The same, known to have at least `need` octets.
    fn need(self, need: usize) -> Result<Self, MessageError> {
        let have = self.message.len();
        if have < need { Err(MessageError::Truncated { id: self.id, need, have }) } else { Ok(self) }
    }

    fn u32(self, offset: usize) -> u32 {
        u32_at(self.message, offset).unwrap_or(0)
    }

    fn flag(self, offset: usize) -> bool {
        self.message.get(offset).is_some_and(|&octet| octet != 0)
    }

    fn error(self) -> Result<CsError, MessageError> {
        let value = self.u32(16);
        let error = i32::try_from(value).ok().and_then(CsError::from_number);
        error.ok_or(MessageError::Value { id: self.id, field: "error", value })
    }

    /// A text in a field of `bytes` octets: up to its first zero.
    fn text(self, offset: usize, bytes: usize) -> String {
        let field = self.message.get(offset..offset + bytes).unwrap_or_default();
        let len = field.iter().position(|&octet| octet == 0).unwrap_or(bytes);
        String::from_utf8_lossy(field.get(..len).unwrap_or_default()).into_owned()
    }

    fn interfaces(self) -> Vec<Interface> {
        use ring_status::{NAME_BYTES, NAMES, STATUS_BYTES, STATUSES};
        let count = self.u32(24).min(INTERFACES_MAX as u32) as usize;
        (0..count)
            .map(|place| Interface {
                name: self.text(NAMES + place * NAME_BYTES, NAME_BYTES),
                status: self.text(STATUSES + place * STATUS_BYTES, STATUS_BYTES),
            })
            .collect()
    }

    fn addresses(self) -> Result<Vec<IpAddr>, MessageError> {
        let (family, count) = (self.u32(24), self.u32(28));
        let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(ADDRESS_BYTES);
        let end = bytes.saturating_add(32);
        self.need(end)?;
        (32..end).step_by(ADDRESS_BYTES).map(|offset| self.address(family, offset)).collect()
    }

    fn address(self, family: u32, offset: usize) -> Result<IpAddr, MessageError> {
        let octets: [u8; ADDRESS_BYTES] =
            self.message.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let [a, b, c, d, ..] = octets;
        match family {
            family::IPV4 => Ok([a, b, c, d].into()),
            family::IPV6 => Ok(octets.into()),
            value => Err(MessageError::Value { id: self.id, field: "address family", value }),
        }
    }

    fn node_status(self) -> Result<NodeStatus, MessageError> {
        let link = |place| self.link_status(40 + place * LinkStatus::BYTES);
        let mut links = (0..NodeStatus::LINKS_MAX).map(link).collect::<Result<Vec<_>, _>>()?;
        let used = links.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        links.truncate(used);
        Ok(NodeStatus { nodeid: self.u32(28), reachable: self.flag(32), links })
    }

    fn link_status(self, offset: usize) -> Result<Option<LinkStatus>, MessageError> {
        if !self.flag(offset) {
            return Ok(None);
        }
        let address = |offset| {
            let invalid = |_| MessageError::Value { id: self.id, field: "address", value: self.u32(offset) };
            self.text(offset, 256).parse().map_err(invalid)
        };
        Ok(Some(LinkStatus {
            connected: self.flag(offset + 1),
            mtu: self.u32(offset + 4),
            source: address(offset + 8)?,
            destination: address(offset + 264)?,
        }))
    }
}
