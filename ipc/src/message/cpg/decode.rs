//! cpg messages from octets.

use bytes::Bytes;

use super::{
    ATOMIC_MESSAGE_BYTES_MAX, Address, Event, Fragment, GroupName, IterationKind, Reason, Reply, Request,
    ZeroCopy, id,
};
use crate::message::{
    CsError, Incoming, MessageError, RingId,
    layout::{i32_at, u32_at, u64_at},
};

/// Reads a request whose header is there and whose size is right.
pub(in crate::message) fn decode(message: &Bytes) -> Result<Incoming, MessageError> {
    let fields = Fields::new(message);
    let request = match fields.id {
        id::JOIN => {
            let fields = fields.need(168)?;
            Request::Join { group: fields.name(16), pid: fields.u32(152), flags: fields.u32(160) }
        }
        id::LEAVE => {
            let fields = fields.need(160)?;
            Request::Leave { group: fields.name(16), pid: fields.u32(152) }
        }
        id::MULTICAST => {
            let fields = fields.need(40)?;
            let message = fields.atomic(40, fields.u32(32))?;
            Request::Multicast { guarantee: fields.u32(24), message }
        }
        id::MEMBERSHIP_GET => Request::MembershipGet { group: fields.need(152)?.name(16) },
        id::LOCAL_GET => Request::LocalGet,
        id::ITERATION_INITIALIZE => {
            let fields = fields.need(160)?;
            Request::IterationInitialize {
                group: fields.name(16),
                kind: IterationKind::from_number(fields.u32(152)),
            }
        }
        id::ITERATION_NEXT => Request::IterationNext { handle: fields.need(24)?.u64(16) },
        id::ITERATION_FINALIZE => Request::IterationFinalize { handle: fields.need(24)?.u64(16) },
        id::FINALIZE => Request::Finalize,
        id::PARTIAL_MULTICAST => {
            let fields = fields.need(56)?;
            Request::PartialMulticast {
                guarantee: fields.u32(24),
                message_bytes: fields.u32(32),
                kind: Fragment::from_number(fields.u32(48)),
                fragment: fields.atomic(56, fields.u32(40))?,
            }
        }
        id::ZERO_COPY_ALLOCATE | id::ZERO_COPY_FREE | id::ZERO_COPY_EXECUTE => {
            return fields.zero_copy().map(Incoming::ZeroCopy);
        }
        _ => return Ok(Incoming::Request(crate::message::Request::Unknown)),
    };
    Ok(Incoming::Request(crate::message::Request::Cpg(request)))
}

impl Reply {
    /// Reads the answer to `request`; its size is right.
    pub(in crate::message) fn decode(request: &Request, message: &Bytes) -> Result<Self, MessageError> {
        let fields = Fields::new(message).need(24)?;
        let error = fields.error()?;
        Ok(match request {
            Request::Join { .. } => Self::Join(error),
            Request::Leave { .. } => Self::Leave(error),
            Request::MembershipGet { .. } => {
                let fields = fields.need(32)?;
                let count = fields.u32(24).min(super::MEMBERSHIP_ADDRESSES_MAX as u32);
                Self::MembershipGet(fields.addresses(32, count)?)
            }
            Request::LocalGet => Self::LocalGet { nodeid: fields.need(32)?.u32(24) },
            Request::IterationInitialize { .. } => Self::IterationInitialize(match error {
                CsError::Ok => Ok(fields.need(32)?.u64(24)),
                error => Err(error),
            }),
            Request::IterationNext { .. } => Self::IterationNext(match error {
                CsError::Ok => Ok(fields.need(168)?.description()?),
                error => Err(error),
            }),
            Request::IterationFinalize { .. } => Self::IterationFinalize(error),
            Request::Finalize => Self::Finalize(error),
            Request::Multicast { .. } | Request::ZeroCopyExecute { .. } => Self::ZeroCopyExecute(error),
            Request::PartialMulticast { .. } => Self::PartialMulticast(error),
        })
    }
}

impl Event {
    /// Reads an event whose header is there and whose size is right.
    pub(in crate::message) fn decode(message: &Bytes) -> Result<Self, MessageError> {
        let fields = Fields::new(message);
        match fields.id {
            id::EVENT_DELIVER => {
                let fields = fields.need(184)?;
                Ok(Self::Deliver {
                    group: fields.valid_name(24)?,
                    nodeid: fields.u32(168),
                    pid: fields.u32(176),
                    message: fields.payload(184, fields.u32(160))?,
                })
            }
            id::EVENT_PARTIAL_DELIVER => {
                let fields = fields.need(200)?;
                Ok(Self::PartialDeliver {
                    group: fields.valid_name(24)?,
                    nodeid: fields.u32(176),
                    pid: fields.u32(184),
                    message_bytes: fields.u32(160),
                    kind: fields.valid("fragment type", 192, Fragment::from_number)?,
                    fragment: fields.payload(200, fields.u32(168))?,
                })
            }
            id::EVENT_CONFIGURATION_CHANGE => fields.need(184)?.configuration_change(),
            id::EVENT_TOTEM_CONFIGURATION_CHANGE => {
                let fields = fields.need(44)?;
                Ok(Self::TotemConfigurationChange {
                    ring: RingId { nodeid: fields.u32(24), seq: fields.u64(32) },
                    members: fields.nodes(44, fields.u32(40))?,
                })
            }
            id => Err(MessageError::UnknownId { id }),
        }
    }
}

impl IterationKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::NameOnly,
            2 => Self::OneGroup,
            3 => Self::All,
            _ => return None,
        })
    }
}

impl Fragment {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::First,
            2 => Self::Continued,
            3 => Self::Last,
            _ => return None,
        })
    }
}

impl Reason {
    /// The reason with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Undefined,
            1 => Self::Join,
            2 => Self::Leave,
            3 => Self::NodeDown,
            4 => Self::NodeUp,
            5 => Self::ProcDown,
            _ => return None,
        })
    }
}

/// A message whose fields are read. Reading behind the end gives zeros; [`Self::need`] comes first.
#[derive(Clone, Copy)]
struct Fields<'a> {
    id: i32,
    message: &'a Bytes,
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

    fn u64(self, offset: usize) -> u64 {
        u64_at(self.message, offset).unwrap_or(0)
    }

    fn name(self, offset: usize) -> Option<GroupName> {
        let len = usize::try_from(self.u32(offset)).ok()?;
        let start = offset + 8;
        // Only the name's own field: a length above it must not reach what follows.
        self.message.get(start..start + GroupName::BYTES_MAX)?.get(..len).and_then(GroupName::new)
    }

    fn valid_name(self, offset: usize) -> Result<GroupName, MessageError> {
        let value = self.u32(offset);
        self.name(offset).ok_or(MessageError::Value { id: self.id, field: "group name length", value })
    }

    fn valid<T>(
        self,
        field: &'static str,
        offset: usize,
        read: impl Fn(u32) -> Option<T>,
    ) -> Result<T, MessageError> {
        let value = self.u32(offset);
        read(value).ok_or(MessageError::Value { id: self.id, field, value })
    }

    fn error(self) -> Result<CsError, MessageError> {
        self.valid("error", 16, |value| i32::try_from(value).ok().and_then(CsError::from_number))
    }

    /// `len` octets from `offset` on, as a slice of the message.
    fn payload(self, offset: usize, len: u32) -> Result<Bytes, MessageError> {
        let end = self.end(offset, len, 1)?;
        Ok(self.message.slice(offset..end))
    }

    /// A payload that fits into an event, which has more in front of it than the request.
    fn atomic(self, offset: usize, len: u32) -> Result<Bytes, MessageError> {
        let payload = self.payload(offset, len)?;
        let (bytes, max) = (payload.len(), ATOMIC_MESSAGE_BYTES_MAX);
        if bytes > max { Err(MessageError::TooBig { bytes, max }) } else { Ok(payload) }
    }

    /// Where a list of `count` entries of `entry` octets ends; it lies within the message.
    fn end(self, offset: usize, count: u32, entry: usize) -> Result<usize, MessageError> {
        let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(entry);
        let end = offset.saturating_add(bytes);
        self.need(end).map(|_| end)
    }

    fn address(self, offset: usize) -> Result<Address, MessageError> {
        Ok(Address {
            nodeid: self.u32(offset),
            pid: self.u32(offset + 8),
            reason: self.valid("reason", offset + 16, Reason::from_number)?,
        })
    }

    fn addresses(self, offset: usize, count: u32) -> Result<Vec<Address>, MessageError> {
        let end = self.end(offset, count, Address::BYTES)?;
        (offset..end).step_by(Address::BYTES).map(|offset| self.address(offset)).collect()
    }

    fn nodes(self, offset: usize, count: u32) -> Result<Vec<u32>, MessageError> {
        let end = self.end(offset, count, 4)?;
        Ok((offset..end).step_by(4).map(|offset| self.u32(offset)).collect())
    }

    fn description(self) -> Result<(GroupName, Address), MessageError> {
        let address = Address { nodeid: self.u32(160), pid: self.u32(164), reason: Reason::Undefined };
        Ok((self.valid_name(24)?, address))
    }

    fn configuration_change(self) -> Result<Event, MessageError> {
        let (members, joined, left) = (self.u32(160), self.u32(168), self.u32(176));
        // The counts stand in the order members, joined, left; the lists do not.
        let left_at = self.end(184, members, Address::BYTES)?;
        let joined_at = self.end(left_at, left, Address::BYTES)?;
        Ok(Event::ConfigurationChange {
            group: self.valid_name(24)?,
            members: self.addresses(184, members)?,
            joined: self.addresses(joined_at, joined)?,
            left: self.addresses(left_at, left)?,
        })
    }

    fn zero_copy(self) -> Result<ZeroCopy, MessageError> {
        match self.id {
            id::ZERO_COPY_ALLOCATE => {
                let fields = self.need(152)?;
                let path = fields.message.slice(24..152);
                let len = path.iter().position(|&octet| octet == 0).unwrap_or(path.len());
                Ok(ZeroCopy::Allocate { map_bytes: fields.u64(16), path: path.slice(..len) })
            }
            id::ZERO_COPY_FREE => Ok(ZeroCopy::Free { token: self.need(32)?.u64(24) }),
            _ => Ok(ZeroCopy::Execute { token: self.need(24)?.u64(16) }),
        }
    }
}
