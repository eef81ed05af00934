//! Iterations: snapshots of the groups that a client walks through at its own pace.

use std::collections::BTreeMap;

use ipc::message::cpg::{Address, GroupName, IterationKind, Reason};

use super::{group::Groups, process::ProcessId};

/// The iterations of one connection; they die with it.
#[derive(Debug, Default)]
pub(super) struct Iterations {
    open: BTreeMap<u64, Iteration>,
}

/// Most iterations that one connection may have open.
pub(super) const ITERATIONS_MAX: usize = 16;

impl Iterations {
    /// Keeps an iteration under `handle`. `false`: there are [`ITERATIONS_MAX`] already.
    pub(super) fn open(&mut self, handle: u64, iteration: Iteration) -> bool {
        if self.open.len() >= ITERATIONS_MAX {
            return false;
        }
        self.open.insert(handle, iteration);
        true
    }

    /// The iteration of this handle.
    pub(super) fn find(&mut self, handle: u64) -> Option<&mut Iteration> {
        self.open.get_mut(&handle)
    }

    /// Ends it. `false`: there is none.
    pub(super) fn close(&mut self, handle: u64) -> bool {
        self.open.remove(&handle).is_some()
    }
}

/// A walk through a snapshot.
#[derive(Debug)]
pub(super) struct Iteration {
    names: Vec<GroupName>,
    /// Ascending; an index into `names`, and nobody where only names were asked for.
    entries: Vec<(usize, Option<ProcessId>)>,
    place: usize,
}

impl Iteration {
    /// A snapshot of `groups`; `group` matters for [`IterationKind::OneGroup`].
    pub(super) fn new(groups: &Groups, kind: IterationKind, group: Option<&GroupName>) -> Self {
        let mut iteration = Self { names: Vec::new(), entries: Vec::new(), place: 0 };
        match kind {
            IterationKind::NameOnly => {
                for group in groups.iter() {
                    iteration.entries.push((iteration.names.len(), None));
                    iteration.names.push(*group.name());
                }
            }
            IterationKind::OneGroup => {
                iteration.extend(group.and_then(|name| groups.group(name.as_bytes())));
            }
            IterationKind::All => iteration.extend(groups.iter()),
        }
        iteration
    }

    /// The next entry, or `None` behind the last.
    pub(super) fn next(&mut self) -> Option<(GroupName, Address)> {
        let &(name, process) = self.entries.get(self.place)?;
        self.place += 1;
        let nobody = Address { nodeid: 0, pid: 0, reason: Reason::Undefined };
        let address = process.map_or(nobody, |id| id.address(Reason::Undefined));
        Some((*self.names.get(name)?, address))
    }

    fn extend<'a>(&mut self, groups: impl IntoIterator<Item = &'a super::group::Group>) {
        for group in groups {
            self.entries.extend(group.members().map(|id| (self.names.len(), Some(id))));
            self.names.push(*group.name());
        }
    }
}

/// Makes handles: a counter below, 32 bits above that only the seed's owner can foretell. Handles hold
/// only on their own connection, so a lucky guess opens nothing.
#[derive(Debug)]
pub(super) struct Handles {
    seed: u64,
    count: u64,
}

impl Handles {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    /// Another handle.
    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        // The finaliser of SplitMix64 (Steele, Lea, Flood 2014), twice with the seed in between; only
        // the upper half is shown.
        let mixed = mix(mix(self.seed.wrapping_add(self.count)) ^ self.seed.rotate_left(32));
        (mixed & 0xffff_ffff_0000_0000) | (self.count & 0xffff_ffff)
    }
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use protocol::NodeId;

    use super::*;

    fn groups() -> Groups {
        let node = NodeId::new(1).expect("not zero");
        let mut groups = Groups::default();
        for (name, pid) in [(b"a", 1), (b"b", 2), (b"b", 3)] {
            groups.insert(name, ProcessId { node, pid });
        }
        groups
    }

    fn walk(mut iteration: Iteration) -> Vec<(Vec<u8>, u32, u32)> {
        std::iter::from_fn(|| iteration.next())
            .map(|(name, address)| (name.as_bytes().to_vec(), address.nodeid, address.pid))
            .collect()
    }

    #[test]
    fn each_kind_walks_its_own_list() {
        let groups = groups();
        let b = GroupName::new(b"b").expect("short");
        let entry = |name: &[u8], node, pid| (name.to_vec(), node, pid);
        assert_eq!(
            walk(Iteration::new(&groups, IterationKind::NameOnly, None)),
            [entry(b"a", 0, 0), entry(b"b", 0, 0)]
        );
        assert_eq!(
            walk(Iteration::new(&groups, IterationKind::OneGroup, Some(&b))),
            [entry(b"b", 1, 2), entry(b"b", 1, 3)]
        );
        assert_eq!(
            walk(Iteration::new(&groups, IterationKind::All, None)),
            [entry(b"a", 1, 1), entry(b"b", 1, 2), entry(b"b", 1, 3)]
        );
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut groups = groups();
        let iteration = Iteration::new(&groups, IterationKind::All, None);
        groups.insert(b"c", ProcessId { node: NodeId::new(9).expect("not zero"), pid: 9 });
        assert_eq!(walk(iteration).len(), 3);
    }

    #[test]
    fn handles_differ_in_both_halves_and_between_seeds() {
        let (mut one, mut other) = (Handles::new(1), Handles::new(2));
        let (a, b, c) = (one.next(), one.next(), other.next());
        assert_eq!((a & 0xffff_ffff, b & 0xffff_ffff), (1, 2));
        assert_ne!(a >> 32, b >> 32);
        assert_ne!(a >> 32, c >> 32);
    }
}
