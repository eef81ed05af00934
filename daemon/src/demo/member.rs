//! A client on one of the nodes, and what it has seen.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use ipc::{
    client::{ClientError, cpg::Client},
    message::{
        RingId,
        cpg::{Event, GroupName, JOIN_INITIAL_TOTEM_CONF, Reason},
    },
};

use super::Failed;

/// A process in the group of the demonstration.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: u32,
    pub(super) client: Client,
    /// The nodes with a member in the group.
    pub(super) group: BTreeSet<u32>,
    /// The last ring that it was told of, and its nodes.
    pub(super) ring: Option<(RingId, Vec<u32>)>,
    /// Who has left the group, and why.
    pub(super) left: Vec<(u32, Reason)>,
    /// Its messages, as far as they were counted.
    pub(super) seen: Seen,
}

/// What was delivered, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) messages: usize,
    pub(super) octets: usize,
    /// How many messages of which node came in a row, from the first message on.
    turns: Vec<(u32, usize)>,
    order: DefaultHasher,
}

/// Turns that are shown.
const TURNS: usize = 6;

/// Events taken at a time, so that others have their turn.
const LOOK_MAX: usize = 256;

impl Member {
    /// Joins the group on a node.
    pub(super) fn join(node: u32, mut client: Client) -> Result<Self, Failed> {
        let group = GroupName::new(b"demo").ok_or_else(|| Failed::Wrong("no such group name".to_owned()))?;
        client.join_with(group, JOIN_INITIAL_TOTEM_CONF).map_err(|error| Failed::Client { node, error })?;
        let (group, seen) = (BTreeSet::new(), Seen::default());
        Ok(Self { node, client, group, ring: None, left: Vec::new(), seen })
    }

    /// Takes what has been delivered so far.
    pub(super) fn look(&mut self) -> Result<(), Failed> {
        for _ in 0..LOOK_MAX {
            match self.client.dispatch(Some(Duration::ZERO)) {
                Ok(Some(event)) => self.take(event),
                Ok(None) => return Ok(()),
                Err(error) => return Err(Failed::Client { node: self.node, error }),
            }
        }
        Ok(())
    }

    /// Sends to the group. `false`: not now.
    pub(super) fn send(&mut self, guarantee: u32, message: &[u8]) -> Result<bool, Failed> {
        match self.client.try_multicast(guarantee, message) {
            Ok(()) => Ok(true),
            Err(ClientError::WouldBlock) => Ok(false),
            Err(error) => Err(Failed::Client { node: self.node, error }),
        }
    }

    /// Whether its last ring has these nodes, and no others.
    pub(super) fn is_in_ring_of(&self, nodes: &[u32]) -> bool {
        self.ring.as_ref().is_some_and(|(_, members)| members == nodes)
    }

    /// Whether the group has a member on each of these nodes, and on no others.
    pub(super) fn sees_group_of(&self, nodes: &[u32]) -> bool {
        self.group.iter().eq(nodes)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Deliver { nodeid, message, .. } => self.seen.take(nodeid, &message),
            Event::ConfigurationChange { members, left, .. } => {
                self.group = members.iter().map(|member| member.nodeid).collect();
                self.left.extend(left.iter().map(|gone| (gone.nodeid, gone.reason)));
            }
            Event::TotemConfigurationChange { ring, members } => self.ring = Some((ring, members)),
            // The client puts large messages together.
            Event::PartialDeliver { .. } => {}
        }
    }
}

impl Seen {
    fn take(&mut self, node: u32, message: &[u8]) {
        self.messages += 1;
        self.octets += message.len();
        (node, message).hash(&mut self.order);
        // One turn more than is shown, so that the last one shown is whole.
        let full = self.turns.len() > TURNS;
        match self.turns.last_mut() {
            Some((sender, count)) if *sender == node => *count += 1,
            _ if full => {}
            _ => self.turns.push((node, 1)),
        }
    }

    /// Whose messages came first, and how many in a row.
    pub(super) fn turns(&self) -> String {
        let turns = self.turns.iter().take(TURNS).map(|(node, count)| format!("{count} of {node}"));
        turns.collect::<Vec<_>>().join(", ")
    }

    /// Equal for those, and practically only for those, who have seen the same messages in one order.
    pub(super) fn order(&self) -> u64 {
        self.order.finish()
    }
}
