//! What a node reports about its own processes in a sync, and what it hears from all nodes.
//!
//! A part is a sequence of records, integers with the most significant octet first:
//!
//! | octets   | field | note                                |
//! |----------|-------|-------------------------------------|
//! | 0        | len   | of the group's name, at most 128    |
//! | 1..1+len | name  | the group                           |
//! | 2 more   | count | processes that follow, at least one |
//! | 4 × count | pids | ascending                           |

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use ipc::message::cpg::GroupName;
use protocol::NodeId;

use super::{
    group::{Group, Groups},
    process::ProcessId,
};

/// Largest part in octets.
pub(super) const PART_BYTES_MAX: usize = 16 * 1024;

/// The local processes of `node` in parts. None at all where there are no processes.
pub(super) fn encode(groups: &Groups, node: NodeId) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut part = BytesMut::new();
    for group in groups.iter() {
        let pids: Vec<u32> = group.members().filter(|id| id.node == node).map(|id| id.pid).collect();
        let mut pids = &pids[..];
        while !pids.is_empty() {
            let room =
                (PART_BYTES_MAX - part.len()).saturating_sub(record_bytes(group, 0)) / size_of::<u32>();
            let (now, later) = pids.split_at(room.min(pids.len()));
            if now.is_empty() {
                parts.push(part.split().freeze());
                continue;
            }
            encode_record(&mut part, group, now);
            pids = later;
        }
    }
    if !part.is_empty() {
        parts.push(part.freeze());
    }
    parts
}

fn record_bytes(group: &Group, pids: usize) -> usize {
    1 + group.name().as_bytes().len() + size_of::<u16>() + pids * size_of::<u32>()
}

fn encode_record(part: &mut BytesMut, group: &Group, pids: &[u32]) {
    let name = group.name().as_bytes();
    part.reserve(record_bytes(group, pids.len()));
    part.put_u8(u8::try_from(name.len()).expect("a group's name has at most 128 octets"));
    part.put_slice(name);
    part.put_u16(u16::try_from(pids.len()).expect("a part has room for some thousand"));
    for &pid in pids {
        part.put_u32(pid);
    }
}

/// What all nodes have reported in the current sync. Dropped whole when the sync is aborted.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// By group.
    reported: BTreeMap<Box<[u8]>, BTreeSet<ProcessId>>,
    counts: BTreeMap<NodeId, usize>,
    void: BTreeSet<NodeId>,
}

/// Why a part is not a joinlist.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum JoinlistError {
    #[error("it needs {need} octets where {have} are left")]
    Truncated { need: usize, have: usize },
    #[error("a group's name of {0} octets is longer than {max}", max = GroupName::BYTES_MAX)]
    NameTooLong(u8),
    #[error("it lists no process for a group")]
    Empty,
    #[error("it brings its node to more than {max} memberships", max = Groups::NODE_MEMBERSHIPS_MAX)]
    TooMany,
}

impl From<TryGetError> for JoinlistError {
    fn from(error: TryGetError) -> Self {
        Self::Truncated { need: error.requested, have: error.available }
    }
}

impl Staging {
    /// Adds what `node` reports. After an error the node counts as having reported nothing, whatever
    /// else it sends.
    pub(super) fn add(&mut self, node: NodeId, part: &[u8]) -> Result<(), JoinlistError> {
        let result = self.add_records(node, part);
        if result.is_err() {
            self.void.insert(node);
        }
        result
    }

    /// Counts these nodes as having reported nothing.
    pub(super) fn void(&mut self, nodes: &[NodeId]) {
        self.void.extend(nodes);
    }

    /// Everything reported: groups in the order of their names, processes ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = ProcessId> + '_)> {
        self.reported.iter().map(|(name, processes)| {
            (&**name, processes.iter().copied().filter(|id| !self.void.contains(&id.node)))
        })
    }

    /// Whether a process was reported as a member of the group.
    pub(super) fn contains(&self, group: &[u8], id: ProcessId) -> bool {
        !self.void.contains(&id.node) && self.reported.get(group).is_some_and(|ids| ids.contains(&id))
    }

    fn add_records(&mut self, node: NodeId, mut rest: &[u8]) -> Result<(), JoinlistError> {
        let count = self.counts.entry(node).or_insert(0);
        while !rest.is_empty() {
            let len = rest.try_get_u8()?;
            if usize::from(len) > GroupName::BYTES_MAX {
                return Err(JoinlistError::NameTooLong(len));
            }
            let (name, after) = split(rest, usize::from(len))?;
            rest = after;
            let pids = usize::from(rest.try_get_u16()?);
            let (mut pids, after) = split(rest, pids * size_of::<u32>())?;
            rest = after;
            if pids.is_empty() {
                return Err(JoinlistError::Empty);
            }
            *count += pids.len() / size_of::<u32>();
            if *count > Groups::NODE_MEMBERSHIPS_MAX {
                return Err(JoinlistError::TooMany);
            }
            let processes = self.reported.entry(name.into()).or_default();
            while let Ok(pid) = pids.try_get_u32() {
                processes.insert(ProcessId { node, pid });
            }
        }
        Ok(())
    }
}

fn split(octets: &[u8], len: usize) -> Result<(&[u8], &[u8]), JoinlistError> {
    octets.split_at_checked(len).ok_or(JoinlistError::Truncated { need: len, have: octets.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).expect("not zero")
    }

    fn staged(staging: &Staging) -> Vec<(Vec<u8>, ProcessId)> {
        staging.iter().flat_map(|(name, ids)| ids.map(move |id| (name.to_vec(), id))).collect()
    }

    #[test]
    fn the_layout_is_as_documented() {
        let mut groups = Groups::default();
        groups.insert(b"ab", ProcessId { node: node(1), pid: 7 });
        groups.insert(b"ab", ProcessId { node: node(1), pid: 0x0102_0304 });
        groups.insert(b"ab", ProcessId { node: node(2), pid: 8 });
        groups.insert(b"", ProcessId { node: node(1), pid: 9 });
        assert_eq!(
            encode(&groups, node(1)),
            [&b"\0\0\x01\0\0\0\x09\x02ab\0\x02\0\0\0\x07\x01\x02\x03\x04"[..]]
        );
        assert!(encode(&groups, node(3)).is_empty());
    }

    #[test]
    fn many_processes_travel_in_small_parts_and_all_arrive() {
        let mut groups = Groups::default();
        for number in 0..9_000u32 {
            let name = vec![b'n'; usize::try_from(number % 129).expect("small")];
            groups.insert(&name, ProcessId { node: node(1), pid: number });
        }
        let parts = encode(&groups, node(1));
        assert!(parts.len() > 2);
        let mut staging = Staging::default();
        for part in &parts {
            assert!(part.len() <= PART_BYTES_MAX);
            assert_eq!(staging.add(node(1), part), Ok(()));
        }
        let expected: Vec<_> =
            groups.iter().flat_map(|g| g.members().map(|id| (g.name().as_bytes().to_vec(), id))).collect();
        assert_eq!(staged(&staging), expected);
    }

    #[test]
    fn a_node_that_reports_nonsense_has_reported_nothing() {
        let mut staging = Staging::default();
        let good = b"\x01g\0\x01\0\0\0\x01";
        assert_eq!(staging.add(node(1), good), Ok(()));
        assert_eq!(staging.add(node(2), good), Ok(()));
        assert_eq!(
            staging.add(node(1), b"\x01g\0\x02\0\0\0\x01"),
            Err(JoinlistError::Truncated { need: 8, have: 4 })
        );
        assert_eq!(staging.add(node(1), good), Ok(()));
        assert_eq!(staged(&staging), [(b"g".to_vec(), ProcessId { node: node(2), pid: 1 })]);
        assert!(!staging.contains(b"g", ProcessId { node: node(1), pid: 1 }));
    }

    #[test]
    fn more_memberships_than_a_node_may_have_are_refused() {
        let mut staging = Staging::default();
        let mut part = b"\x01g\x40\x00".to_vec();
        part.extend((0..0x4000u32).flat_map(u32::to_be_bytes));
        assert_eq!(staging.add(node(1), &part), Ok(()));
        assert_eq!(staging.add(node(1), b"\x01g\0\x01\0\0\0\x01"), Err(JoinlistError::TooMany));
    }

    proptest! {
        #[test]
        fn no_octets_make_staging_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Staging::default().add(node(1), &octets);
        }
    }
}
