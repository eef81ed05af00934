//! Safe delivery: if a process delivers a safe message in a ring, every member of that ring delivers it
//! too, unless it fails (Moser et al. 1994, section 3, safe delivery; Amir et al. 1995, section 2).
//!
//! Clients are not told where the transitional configuration begins, and in it the promise covers fewer
//! nodes. All of its deliveries are made in one turn, so the last turn of a ring is left out here.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ring::Guarantee;

use super::{
    excerpt,
    segments::{Segment, is_closed, segments},
};
use crate::history::{ClientHistory, Content, History, MessageId, Process, RingName, What};

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    let mut got: BTreeMap<(Process, RingName), BTreeSet<MessageId>> = BTreeMap::new();
    for client in history.clients.values() {
        for segment in segments(client).iter().filter(|segment| is_closed(history, client, segment)) {
            let messages = got.entry((client.process, segment.ring)).or_default();
            messages.extend(deliveries(client, segment).map(|(_, message)| message));
        }
    }
    for client in history.clients.values() {
        for segment in segments(client) {
            let Some((last, _)) = deliveries(client, &segment).last() else { continue };
            for (index, message) in deliveries(client, &segment) {
                let regular = client.seen[index].step < client.seen[last].step;
                if regular && guarantee(history, message) == Some(Guarantee::Safe) {
                    held_by_all(history, client, index, message, |member| got.get(&(member, segment.ring)))?;
                }
            }
        }
    }
    Ok(())
}

/// Whether all in the view of `client` at `index`, as far as they saw the end of the ring, have it.
fn held_by_all<'a>(
    history: &History,
    client: &ClientHistory,
    index: usize,
    message: MessageId,
    got: impl Fn(Process) -> Option<&'a BTreeSet<MessageId>>,
) -> Result<(), String> {
    let straddled = matches!(client.seen[index].what, What::Delivered { straddled: true, .. });
    let view = client.seen[..index].iter().rev().find_map(|seen| match &seen.what {
        What::View { members, .. } => Some(members),
        _ => None,
    });
    for member in view.into_iter().flatten().filter(|_| !straddled) {
        if got(*member).is_some_and(|messages| !messages.contains(&message)) {
            let story = format!("{message} was delivered as safe, but {member} never delivered it");
            let other = history.client_of(*member);
            let other = other.map(|other| excerpt(other, other.seen.len())).unwrap_or_default();
            return Err(story + &excerpt(client, index) + &other);
        }
    }
    Ok(())
}

fn deliveries(client: &ClientHistory, segment: &Segment) -> impl Iterator<Item = (usize, MessageId)> {
    segment.events.clone().filter_map(|index| match client.seen[index].what {
        What::Delivered { content: Content::Sent(message), .. } => Some((index, message)),
        _ => None,
    })
}

fn guarantee(history: &History, message: MessageId) -> Option<Guarantee> {
    history.accepted(message).map(|sent| sent.guarantee)
}

#[cfg(test)]
mod tests {
    use ipc::message::cpg::Reason;

    use super::*;
    use crate::invariants::testing::Story;

    fn story(guarantee: Guarantee) -> Story {
        let mut story = Story::new(2);
        story.ring_all(4, &[0, 1]);
        story.view(0, &[0, 1], &[(1, Reason::Join)], &[]);
        story.view(1, &[0, 1], &[(1, Reason::Join)], &[]);
        story.submits_as(0, 100, guarantee);
        story.submits_as(0, 100, guarantee);
        story.delivers_all(0, &[(0, 0), (0, 1)]);
        // The other client parts without either message.
        story.view(1, &[1], &[], &[(0, Reason::NodeDown)]);
        story.ring(1, 8, &[1]);
        story
    }

    #[test]
    fn a_safe_message_that_a_survivor_lacks_is_noticed() {
        assert!(check(&story(Guarantee::Safe).history).unwrap_err().contains("c1#0"));
    }

    #[test]
    fn an_agreed_message_may_be_lacking() {
        assert_eq!(check(&story(Guarantee::Agreed).history), Ok(()));
    }
}
