//! No gap: while a sender stays in a receiver's view, the receiver misses none of its messages between
//! two that it delivers, and none before the first if it saw the sender join (Moser et al. 1994,
//! section 3: agreed delivery has no gaps within a configuration, and members that stay together carry
//! on together).

use std::collections::BTreeMap;

use ipc::message::{ClientId, cpg::Reason};

use super::excerpt;
use crate::history::{Content, History, MessageId, What};

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    for client in history.clients.values() {
        // The number that must come next, for senders known without a break.
        let mut next: BTreeMap<ClientId, u64> = BTreeMap::new();
        for (index, seen) in client.seen.iter().enumerate() {
            match &seen.what {
                What::View { joined, left, .. } => {
                    for (process, _) in left {
                        history.client_of(*process).map(|gone| next.remove(&gone.id));
                    }
                    for (process, reason) in joined {
                        if *reason == Reason::Join
                            && let Some(sender) = history.client_of(*process)
                        {
                            next.insert(sender.id, 0);
                        }
                    }
                }
                What::Delivered { content: Content::Sent(message), .. } => {
                    let expected = next.insert(message.client, message.number + 1);
                    let missing = (expected.unwrap_or(message.number)..message.number)
                        .map(|number| MessageId { number, ..*message })
                        .find(|missed| history.accepted(*missed).is_some());
                    if let Some(missed) = missing {
                        let story = format!("{message} came, but {missed} before it did not");
                        return Err(story + &excerpt(client, index));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::Story;

    #[test]
    fn a_missing_message_is_noticed() {
        let mut story = Story::new(2);
        story.joins(0);
        (0..3).for_each(|_| story.submits(0, 100));
        story.delivers_all(0, &[(0, 0), (0, 1), (0, 2)]);
        story.delivers_all(1, &[(0, 0), (0, 2)]);
        assert!(check(&story.history).unwrap_err().contains("c1#1"));
    }

    #[test]
    fn the_first_message_may_not_be_missing_for_those_who_saw_the_join() {
        let mut story = Story::new(2);
        story.view(1, &[0, 1], &[(0, Reason::Join)], &[]);
        story.submits(0, 100);
        story.submits(0, 100);
        story.delivers(1, 0, 1);
        assert!(check(&story.history).unwrap_err().contains("c1#0"));
    }

    #[test]
    fn what_was_sent_while_the_sender_was_away_may_be_missing() {
        let mut story = Story::new(2);
        (0..3).for_each(|_| story.submits(0, 100));
        story.delivers(1, 0, 0);
        story.view(1, &[1], &[], &[(0, Reason::NodeDown)]);
        story.view(1, &[0, 1], &[(0, Reason::NodeUp)], &[]);
        story.delivers(1, 0, 2);
        assert_eq!(check(&story.history), Ok(()));
    }
}
