//! A client's events cut at the rings it was told of.

use std::ops::Range;

use crate::history::{ClientHistory, Fate, History, RingName, What};
use ipc::message::cpg::Reason;

/// What a client saw in one ring: everything after it was told of the ring, up to the changes that the
/// next one brought.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Whose name.
    pub(super) ring: RingName,
    /// The ring that follows. None if the client's life or the run ended here.
    pub(super) next: Option<RingName>,
    /// Indices of the events, without the changes that the next ring brought.
    pub(super) events: Range<usize>,
    /// Nodes that went or came with the next ring, as this client saw it.
    pub(super) apart: Vec<u32>,
}

/// The segments of a client. What it saw before it was first told of a ring is part of the first: a
/// joiner is told of the ring right after its own join.
pub(super) fn segments(client: &ClientHistory) -> Vec<Segment> {
    let mut rings: Vec<(usize, RingName)> = client
        .seen
        .iter()
        .enumerate()
        .filter_map(|(index, seen)| match &seen.what {
            What::Totem { ring, .. } => Some((index, *ring)),
            _ => None,
        })
        .collect();
    // A client that connected in a ring's synchronisation is told of it a second time when it joins.
    rings.dedup_by_key(|(_, ring)| *ring);
    let mut segments = Vec::new();
    for (position, &(start, ring)) in rings.iter().enumerate() {
        let start = if position == 0 { 0 } else { start + 1 };
        let next = rings.get(position + 1);
        let end = next.map_or(client.seen.len(), |(index, _)| *index);
        let last = (start..end).rev().find(|&index| !came_with_ring(&client.seen[index].what));
        let last = if next.is_some() { last.map_or(start, |index| index + 1) } else { end };
        let apart = client.seen[last..end].iter().flat_map(|seen| apart(&seen.what)).collect();
        segments.push(Segment { ring, next: next.map(|(_, ring)| *ring), events: start..last, apart });
    }
    segments
}

/// Whether the client saw the end of this ring, or the run ended quietly in it.
pub(super) fn is_closed(history: &History, client: &ClientHistory, segment: &Segment) -> bool {
    segment.next.is_some() || history.settled && client.fate == Fate::Alive
}

/// Whether this is a change that a new ring brings. A process that ended while its node was away counts
/// too; one that ends in the last moment of a ring looks the same and is put on the same side for all.
fn came_with_ring(what: &What) -> bool {
    match what {
        What::View { joined, left, .. } => {
            let ring_made = |reason: &Reason| matches!(reason, Reason::NodeDown | Reason::NodeUp);
            joined.iter().chain(left).any(|(_, reason)| ring_made(reason))
                || joined.is_empty() && left.iter().all(|(_, reason)| *reason == Reason::ProcDown)
        }
        // What a client does is in no order with what it is told.
        What::Submitted(_) | What::LeaveAsked | What::JoinAccepted => true,
        What::Totem { .. } | What::Delivered { .. } => false,
    }
}

fn apart(what: &What) -> Vec<u32> {
    match what {
        What::View { joined, left, .. } => joined
            .iter()
            .chain(left)
            .filter(|(_, reason)| matches!(reason, Reason::NodeDown | Reason::NodeUp))
            .map(|(process, _)| process.node)
            .collect(),
        _ => Vec::new(),
    }
}
