//! The groups and who is in them: the state that all nodes of a configuration share.

use std::collections::{BTreeMap, btree_map::Entry};

use ipc::message::{
    ClientId,
    cpg::{Address, GroupName, Reason},
};
use protocol::NodeId;

use super::process::{Process, ProcessId};

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    name: GroupName,
    /// Ascending.
    members: Vec<Process>,
    /// This node's connections that get the group's messages and changes, ascending.
    listeners: Vec<ClientId>,
}

impl Group {
    fn new(name: GroupName) -> Self {
        Self { name, members: Vec::new(), listeners: Vec::new() }
    }

    /// Its name.
    pub(super) fn name(&self) -> &GroupName {
        &self.name
    }

    /// Who is in it, ascending by node and process.
    pub(super) fn members(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.members.iter().map(|process| process.id)
    }

    /// The member, if it is one.
    pub(super) fn member_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        let place = self.place(id).ok()?;
        self.members.get_mut(place)
    }

    /// Whether it is a member.
    pub(super) fn contains(&self, id: ProcessId) -> bool {
        self.place(id).is_ok()
    }

    /// The members as events list them, the first `max`.
    pub(super) fn addresses(&self, max: usize) -> Vec<Address> {
        self.members().take(max).map(|id| id.address(Reason::Undefined)).collect()
    }

    /// Who listens on this node.
    pub(super) fn listeners(&self) -> &[ClientId] {
        &self.listeners
    }

    /// Adds a listener; once is enough.
    pub(super) fn listen(&mut self, client: ClientId) {
        if let Err(place) = self.listeners.binary_search(&client) {
            self.listeners.insert(place, client);
        }
    }

    /// Removes a listener.
    pub(super) fn unlisten(&mut self, client: ClientId) {
        self.listeners.retain(|&listener| listener != client);
    }

    fn insert(&mut self, id: ProcessId) -> bool {
        match self.place(id) {
            Ok(_) => false,
            Err(place) => {
                self.members.insert(place, Process::new(id));
                true
            }
        }
    }

    fn remove(&mut self, id: ProcessId) -> bool {
        self.place(id).map(|place| self.members.remove(place)).is_ok()
    }

    fn place(&self, id: ProcessId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |process| process.id)
    }
}

/// All groups that have members, by name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Found by a slice of a message, without building a key.
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Memberships of each node.
    counts: BTreeMap<NodeId, usize>,
}

impl Groups {
    /// Most memberships that one node's processes may have together; what goes beyond is ignored, by
    /// all nodes alike. A process needs a connection for each, so no honest node comes near.
    pub(super) const NODE_MEMBERSHIPS_MAX: usize = 16_384;

    /// The group of this name, if it has members.
    pub(super) fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The group of this name, if it has members.
    pub(super) fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// All groups in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Memberships of one node.
    pub(super) fn memberships(&self, node: NodeId) -> usize {
        self.counts.get(&node).copied().unwrap_or(0)
    }

    /// Adds a member and returns its group. `None`: it is one already, or its node has too many.
    pub(super) fn insert(&mut self, name: &[u8], id: ProcessId) -> Option<&mut Group> {
        let count = self.counts.entry(id.node).or_insert(0);
        if *count >= Self::NODE_MEMBERSHIPS_MAX {
            return None;
        }
        let group = match self.groups.entry(name.into()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Group::new(GroupName::new(name)?)),
        };
        if !group.insert(id) {
            return None;
        }
        *count += 1;
        Some(group)
    }

    /// Removes a member and returns its group, which may be empty now: call [`Self::prune`] when it was
    /// dealt with. `None`: it was not one.
    pub(super) fn remove(&mut self, name: &[u8], id: ProcessId) -> Option<&mut Group> {
        let group = self.groups.get_mut(name)?;
        if !group.remove(id) {
            return None;
        }
        forget(&mut self.counts, id);
        Some(group)
    }

    /// Removes all members for which `gone` says so. `each` gets every group that lost some, in order.
    pub(super) fn remove_all(
        &mut self,
        gone: impl Fn(&Group, ProcessId) -> bool,
        mut each: impl FnMut(&Group, &[ProcessId]),
    ) {
        for group in self.groups.values_mut() {
            let left: Vec<ProcessId> = group.members().filter(|&id| gone(group, id)).collect();
            if left.is_empty() {
                continue;
            }
            for &id in &left {
                group.remove(id);
                forget(&mut self.counts, id);
            }
            each(group, &left);
        }
        self.groups.retain(|_, group| !group.members.is_empty());
    }

    /// Forgets the group if nobody is in it.
    pub(super) fn prune(&mut self, name: &[u8]) {
        if self.groups.get(name).is_some_and(|group| group.members.is_empty()) {
            self.groups.remove(name);
        }
    }
}

fn forget(counts: &mut BTreeMap<NodeId, usize>, id: ProcessId) {
    if let Entry::Occupied(mut count) = counts.entry(id.node) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u32, pid: u32) -> ProcessId {
        ProcessId { node: NodeId::new(node).expect("not zero"), pid }
    }

    #[test]
    fn members_are_ordered_by_node_and_then_process() {
        let mut groups = Groups::default();
        for process in [id(2, 1), id(1, 9), id(2, 0), id(1, 10)] {
            assert!(groups.insert(b"g", process).is_some());
        }
        assert!(groups.insert(b"g", id(2, 1)).is_none(), "it is a member already");
        let group = groups.group(b"g").expect("it has members");
        assert_eq!(group.members().collect::<Vec<_>>(), [id(1, 9), id(1, 10), id(2, 0), id(2, 1)]);
    }

    #[test]
    fn names_that_differ_in_their_length_are_different_groups() {
        let mut groups = Groups::default();
        for name in [&b""[..], b"crmd", b"crmd\0"] {
            assert!(groups.insert(name, id(1, 1)).is_some());
        }
        assert_eq!(groups.iter().count(), 3);
        assert_eq!(groups.memberships(id(1, 1).node), 3);
    }

    #[test]
    fn one_node_has_a_bounded_number_of_memberships() {
        let mut groups = Groups::default();
        for pid in 0..=u32::try_from(Groups::NODE_MEMBERSHIPS_MAX).expect("small") {
            groups.insert(b"g", id(1, pid));
        }
        assert_eq!(groups.memberships(id(1, 0).node), Groups::NODE_MEMBERSHIPS_MAX);
        assert!(groups.insert(b"g", id(2, 0)).is_some(), "another node has room");
        assert!(groups.remove(b"g", id(1, 0)).is_some());
        assert!(groups.insert(b"h", id(1, 0)).is_some(), "room was made");
    }

    #[test]
    fn a_group_without_members_is_forgotten() {
        let mut groups = Groups::default();
        groups.insert(b"g", id(1, 1));
        assert!(groups.remove(b"g", id(1, 1)).is_some());
        groups.prune(b"g");
        assert!(groups.group(b"g").is_none());
        assert_eq!(groups.memberships(id(1, 1).node), 0);
    }
}
