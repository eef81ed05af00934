//! Frames that came in parts.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::{node::Member, wire::Part};

/// At most this many senders have a frame under way at a time.
const SENDERS_MAX: usize = 128;

/// The frames whose parts have begun to arrive, the latest one of each sender.
#[derive(Debug, Default)]
pub(super) struct Parts {
    begun: BTreeMap<Member, Begun>,
}

#[derive(Debug)]
struct Begun {
    id: u32,
    parts: Vec<Option<Bytes>>,
}

impl Parts {
    /// Takes a part; gives the frame if it was the last one missing.
    pub(super) fn take(&mut self, from: Member, part: &Part<'_>) -> Option<Bytes> {
        let count = usize::from(part.count);
        let known =
            self.begun.get(&from).is_some_and(|begun| begun.id == part.id && begun.parts.len() == count);
        if !known {
            if self.begun.len() >= SENDERS_MAX {
                self.begun.clear();
            }
            self.begun.insert(from, Begun { id: part.id, parts: vec![None; count] });
        }
        let begun = self.begun.get_mut(&from)?;
        *begun.parts.get_mut(usize::from(part.index))? = Some(Bytes::copy_from_slice(part.octets));
        if begun.parts.iter().any(Option::is_none) {
            return None;
        }
        let parts = self.begun.remove(&from)?.parts;
        let mut frame = BytesMut::with_capacity(parts.iter().flatten().map(Bytes::len).sum());
        parts.iter().flatten().for_each(|octets| frame.extend_from_slice(octets));
        Some(frame.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{BootId, NodeId};

    #[test]
    fn parts_come_in_any_order_and_a_newer_frame_replaces_an_older() {
        let from = Member { node: NodeId::new(1).unwrap(), boot: BootId(1) };
        let part = |id, index, octets| Part { id, index, count: 2, octets };
        let mut parts = Parts::default();
        assert_eq!(parts.take(from, &part(1, 1, b"old")), None);
        assert_eq!(parts.take(from, &part(2, 1, b"def")), None);
        assert_eq!(parts.take(from, &part(2, 1, b"def")), None, "twice the same");
        assert_eq!(parts.take(from, &part(2, 0, b"abc")).unwrap(), "abcdef");
        assert_eq!(parts.take(from, &part(2, 0, b"abc")), None, "it starts anew");
    }
}
