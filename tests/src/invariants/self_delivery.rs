//! Self-delivery: a process delivers its own messages unless it fails (Moser et al. 1994, section 3).
//!
//! A client that left delivers what it sent before it asked to. Where the sending process died but its
//! node lives, the other members on that node deliver.

use std::collections::BTreeSet;

use super::excerpt;
use crate::history::{ClientHistory, Content, Fate, History, MessageId, What};

/// Judges a run. Only a settled one says that nothing is on its way any more.
pub fn check(history: &History) -> Result<(), String> {
    for sender in history.clients.values() {
        for receiver in receivers(history, sender) {
            let delivered: BTreeSet<MessageId> = receiver.seen.iter().filter_map(message).collect();
            let joined = joined_step(receiver);
            for (index, seen) in sender.seen.iter().enumerate() {
                let What::Submitted(number) = seen.what else { continue };
                let message = MessageId { client: sender.id, number };
                let owed = sender.id == receiver.id || joined.is_some_and(|step| step < seen.step);
                if owed && !delivered.contains(&message) {
                    let story = format!("c{} never got {message}", receiver.id.0);
                    return Err(story + &excerpt(sender, index) + &excerpt(receiver, receiver.seen.len()));
                }
            }
        }
    }
    Ok(())
}

/// Those on the sender's node who must have got all that it sent.
fn receivers<'a>(history: &'a History, sender: &'a ClientHistory) -> Vec<&'a ClientHistory> {
    match sender.fate {
        Fate::Left => vec![sender],
        Fate::NodeEnded => Vec::new(),
        Fate::Alive | Fate::Died if !history.settled => Vec::new(),
        Fate::Alive | Fate::Died => {
            let place = |client: &ClientHistory| (client.node, client.life, client.group);
            let alive = |client: &&ClientHistory| client.fate == Fate::Alive;
            history.clients.values().filter(alive).filter(|client| place(client) == place(sender)).collect()
        }
    }
}

/// When a client saw itself join.
fn joined_step(client: &ClientHistory) -> Option<u64> {
    client.seen.iter().find_map(|seen| match &seen.what {
        What::View { joined, .. } => {
            joined.iter().any(|(process, _)| *process == client.process).then_some(seen.step)
        }
        _ => None,
    })
}

fn message(seen: &crate::history::Seen) -> Option<MessageId> {
    match seen.what {
        What::Delivered { content: Content::Sent(message), .. } => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::Story;

    #[test]
    fn an_own_message_that_never_comes_is_noticed_once_the_run_has_settled() {
        let mut story = Story::new(2);
        story.joins(0);
        story.submits(0, 100);
        story.delivers(1, 0, 0);
        assert_eq!(check(&story.history), Ok(()));
        story.history.settled = true;
        assert!(check(&story.history).unwrap_err().contains("c1 never got c1#0"));
    }

    #[test]
    fn a_dead_process_owes_nothing_to_itself() {
        let mut story = Story::new(2);
        story.submits(0, 100);
        story.history.disconnected(ipc::message::ClientId(1), Fate::Died);
        story.history.settled = true;
        assert_eq!(check(&story.history), Ok(()));
    }
}
