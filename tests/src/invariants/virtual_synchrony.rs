//! Virtual synchrony: processes that go from one ring to the next together have delivered the same
//! messages, and seen the same changes of the group, in the first, in the same places (Moser et al. 1994,
//! section 3, failure atomicity; Chockler, Keidar and Vitenberg 2001, property "Virtual Synchrony").
//!
//! Two nodes went together if neither told its clients that processes of the other went or came with the
//! new ring. At the quiet end of a run, all in one ring count as having gone together.

use std::collections::{BTreeMap, BTreeSet};

use ipc::message::cpg::Reason;

use super::{
    excerpt,
    segments::{Segment, is_closed, segments},
};
use crate::history::{ClientHistory, Content, History, MessageId, Process, RingName, What};

/// From one ring to another, or to the end of the run.
type Passage = (RingName, Option<RingName>);

/// One client in one ring.
type Stay<'a> = (&'a ClientHistory, Segment);

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    let mut apart: BTreeMap<(Passage, u32), BTreeSet<u32>> = BTreeMap::new();
    let mut cohorts: BTreeMap<(Passage, &[u8]), Vec<Stay<'_>>> = BTreeMap::new();
    for client in history.clients.values() {
        for segment in segments(client).into_iter().filter(|segment| is_closed(history, client, segment)) {
            let passage = (segment.ring, segment.next);
            apart.entry((passage, client.process.node)).or_default().extend(&segment.apart);
            // Connected, but not in the group yet: nothing can be expected of it.
            if !was_member(client, segment.events.end) {
                continue;
            }
            cohorts.entry((passage, client.group.as_bytes())).or_default().push((client, segment));
        }
    }
    let straddled = straddled(history);
    for ((passage, _), cohort) in &cohorts {
        for (index, (client, segment)) in cohort.iter().enumerate() {
            let parted = |one: u32, other: u32| {
                apart.get(&(*passage, one)).is_some_and(|nodes| nodes.contains(&other))
            };
            let (one, together) = (client.process.node, cohort.iter().skip(index + 1));
            let companion = together
                .clone()
                .find(|(other, _)| !parted(one, other.process.node) && !parted(other.process.node, one));
            // Being alike is transitive as long as nobody joined within the ring, so the next one will
            // do; joiners are compared with everybody.
            let joined_here =
                items(client, segment, &straddled).iter().any(|item| item.joins(client.process));
            let companions: Vec<_> =
                if joined_here { together.collect() } else { companion.into_iter().collect() };
            for (other, theirs) in companions {
                if !parted(one, other.process.node) && !parted(other.process.node, one) {
                    compare((client, segment), (other, theirs), &straddled)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether the client had joined before the event at `end`.
fn was_member(client: &ClientHistory, end: usize) -> bool {
    client.seen[..end].iter().any(|seen| matches!(seen.what, What::View { .. }))
}

/// What has to be alike.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Item {
    Message(MessageId),
    Change { joined: Vec<Process>, left: Vec<Process> },
}

impl Item {
    fn joins(&self, process: Process) -> bool {
        matches!(self, Self::Change { joined, .. } if joined.contains(&process))
    }
}

fn compare(
    (one, ours): (&ClientHistory, &Segment),
    (other, theirs): (&ClientHistory, &Segment),
    straddled: &BTreeSet<MessageId>,
) -> Result<(), String> {
    let (a, b) = (items(one, ours, straddled), items(other, theirs, straddled));
    // Whoever joined later within this ring sets the start.
    let join = |items: &[Item], process| items.iter().position(|item| item.joins(process));
    let starts = match (join(&a, one.process), join(&b, other.process)) {
        (None, None) => Some((0, 0)),
        (Some(start), None) => join(&b, one.process).map(|there| (start, there)),
        (None, Some(start)) => join(&a, other.process).map(|there| (there, start)),
        (Some(ours), Some(theirs)) => {
            let there = join(&b, one.process).map(|there| (ours, there));
            there.or_else(|| join(&a, other.process).map(|there| (there, theirs)))
        }
    };
    let Some((a_start, b_start)) = starts else {
        let story = format!("one of c{} and c{} did not see the other join", one.id.0, other.id.0);
        return Err(story + &excerpt(one, ours.events.start) + &excerpt(other, theirs.events.start));
    };
    let (a, b) = (&a[a_start..], &b[b_start..]);
    if a == b {
        return Ok(());
    }
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let next = ours.next.map_or("the end".to_owned(), |next| next.to_string());
    Err(format!(
        "c{} ({}) and c{} ({}) went together from ring {} to {next}, but after {at} equal events one saw {:?} \
         ({} in all), the other {:?} ({} in all){}{}",
        one.id.0,
        one.process,
        other.id.0,
        other.process,
        ours.ring,
        a.get(at),
        a.len(),
        b.get(at),
        b.len(),
        excerpt(one, ours.events.end),
        excerpt(other, theirs.events.end),
    ))
}

fn items(client: &ClientHistory, segment: &Segment, straddled: &BTreeSet<MessageId>) -> Vec<Item> {
    let events = client.seen[segment.events.clone()].iter();
    events
        .filter_map(|seen| match &seen.what {
            What::Delivered { content: Content::Sent(message), .. } => {
                (!straddled.contains(message)).then_some(Item::Message(*message))
            }
            What::View { joined, left, .. } => {
                let processes = |list: &[(Process, Reason)]| list.iter().map(|entry| entry.0).collect();
                Some(Item::Change { joined: processes(joined), left: processes(left) })
            }
            _ => None,
        })
        .collect()
}

/// Messages whose fragments lie on both sides of some change of the group: who came in between cannot
/// have them.
fn straddled(history: &History) -> BTreeSet<MessageId> {
    let events = history.clients.values().flat_map(|client| &client.seen);
    events
        .filter_map(|seen| match seen.what {
            What::Delivered { content: Content::Sent(message), straddled: true, .. } => Some(message),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::Story;

    /// Three clients in one ring; the first sends twice, the second and third deliver as told.
    fn story(second: &[u64], third: &[u64]) -> Story {
        let mut story = Story::new(3);
        let joined = [0, 1, 2].map(|client| (client, Reason::Join));
        (0..3).for_each(|client| story.view(client, &[0, 1, 2], &joined, &[]));
        story.ring_all(4, &[0, 1, 2]);
        story.submits(0, 100);
        story.submits(0, 100);
        story.delivers_all(0, &[(0, 0), (0, 1)]);
        second.iter().for_each(|number| story.delivers(1, 0, *number));
        third.iter().for_each(|number| story.delivers(2, 0, *number));
        story
    }

    #[test]
    fn companions_must_have_the_same_messages() {
        let mut story = story(&[0, 1], &[0]);
        for client in 1..3 {
            story.view(client, &[1, 2], &[], &[(0, Reason::NodeDown)]);
            story.ring(client, 8, &[1, 2]);
        }
        assert!(check(&story.history).unwrap_err().contains("went together"));
    }

    #[test]
    fn those_who_part_may_differ() {
        let mut story = story(&[0, 1], &[0]);
        story.view(1, &[1], &[], &[(0, Reason::NodeDown), (2, Reason::NodeDown)]);
        story.ring(1, 8, &[1]);
        story.view(2, &[2], &[], &[(0, Reason::NodeDown), (1, Reason::NodeDown)]);
        story.ring(2, 12, &[2]);
        assert_eq!(check(&story.history), Ok(()));
    }

    #[test]
    fn those_who_part_and_meet_again_in_the_next_ring_may_differ() {
        let mut story = story(&[0, 1], &[0]);
        for (client, other) in [(1, 2), (2, 1)] {
            story.view(client, &[client], &[], &[(0, Reason::NodeDown), (other, Reason::NodeDown)]);
            story.view(client, &[1, 2], &[(other, Reason::NodeUp)], &[]);
            story.ring(client, 12, &[1, 2]);
        }
        assert_eq!(check(&story.history), Ok(()));
    }

    #[test]
    fn the_quiet_end_joins_everybody() {
        let mut story = story(&[0, 1], &[0]);
        assert_eq!(check(&story.history), Ok(()));
        story.history.settled = true;
        assert!(check(&story.history).is_err());
    }

    #[test]
    fn a_joiner_owes_nothing_from_before() {
        let mut story = Story::new(2);
        story.ring_all(4, &[0, 1]);
        story.submits(0, 100);
        story.delivers(0, 0, 0);
        story.view(0, &[0, 1], &[(1, Reason::Join)], &[]);
        story.view(1, &[0, 1], &[(1, Reason::Join)], &[]);
        story.submits(0, 100);
        story.delivers(0, 0, 1);
        story.delivers(1, 0, 1);
        story.history.settled = true;
        assert_eq!(check(&story.history), Ok(()));
    }
}
