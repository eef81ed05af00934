//! Total order: there is one order of all messages that every process' deliveries follow, and a message
//! comes after everything that its sender had delivered or sent before it (Moser et al. 1994, section 3,
//! totally ordered and causal delivery; Amir et al. 1995, section 2, "agreed delivery").
//!
//! Being without a cycle over all clients together says more than that any two of them agree.

use std::collections::BTreeMap;

use crate::history::{Content, History, MessageId, What};

/// For each message, the ones known to come directly after it, and who says so.
type After = BTreeMap<MessageId, BTreeMap<MessageId, Witness>>;

/// Where an order between two messages was seen.
type Witness = (u64, usize);

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    let after = edges(history);
    match cycle(&after) {
        Some(cycle) => Err(tell(&after, &cycle)),
        None => Ok(()),
    }
}

fn edges(history: &History) -> After {
    let mut after = After::new();
    for client in history.clients.values() {
        let (mut delivered, mut sent) = (None, None);
        for (index, seen) in client.seen.iter().enumerate() {
            let witness = (client.id.0, index);
            match seen.what {
                What::Delivered { content: Content::Sent(message), .. } => {
                    edge(&mut after, delivered.replace(message), message, witness);
                }
                What::Submitted(number) => {
                    let message = MessageId { client: client.id, number };
                    edge(&mut after, delivered, message, witness);
                    edge(&mut after, sent.replace(message), message, witness);
                }
                _ => {}
            }
        }
    }
    after
}

fn edge(after: &mut After, earlier: Option<MessageId>, later: MessageId, witness: Witness) {
    after.entry(later).or_default();
    if let Some(earlier) = earlier
        && earlier != later
    {
        after.entry(earlier).or_default().entry(later).or_insert(witness);
    }
}

/// The shortest of the cycles through one message of what a topological sort leaves over.
fn cycle(after: &After) -> Option<Vec<MessageId>> {
    let mut before: BTreeMap<MessageId, usize> = after.keys().map(|message| (*message, 0)).collect();
    for later in after.values().flat_map(BTreeMap::keys) {
        *before.entry(*later).or_default() += 1;
    }
    let mut free: Vec<MessageId> =
        before.iter().filter(|(_, count)| **count == 0).map(|(message, _)| *message).collect();
    while let Some(message) = free.pop() {
        before.remove(&message);
        for later in after[&message].keys() {
            let count = before.get_mut(later).expect("still waits for this edge");
            *count -= 1;
            if *count == 0 {
                free.push(*later);
            }
        }
    }
    // What is left lies on a cycle or behind one.
    before.keys().filter_map(|start| shortest(after, &before, *start)).min_by_key(Vec::len)
}

/// The shortest way from `start` back to `start` through the messages of `left`.
fn shortest(after: &After, left: &BTreeMap<MessageId, usize>, start: MessageId) -> Option<Vec<MessageId>> {
    let mut from: BTreeMap<MessageId, MessageId> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(message) = queue.pop_front() {
        for later in after[&message].keys().filter(|later| left.contains_key(later)) {
            if *later == start {
                let mut path = vec![message];
                while let Some(earlier) = path.last().and_then(|last| from.get(last)) {
                    path.push(*earlier);
                }
                path.reverse();
                return Some(path);
            }
            if !from.contains_key(later) {
                from.insert(*later, message);
                queue.push_back(*later);
            }
        }
        if from.len() > SEARCH_MAX {
            return None;
        }
    }
    None
}

fn tell(after: &After, cycle: &[MessageId]) -> String {
    let mut story = String::from("no order fits all:");
    for (index, message) in cycle.iter().enumerate() {
        let next = cycle[(index + 1) % cycle.len()];
        let (client, event) = after[message][&next];
        story += &format!("\n  {message} before {next} says c{client} (event {event})");
    }
    story
}

/// Enough to find a short cycle, and an end to looking for one.
const SEARCH_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::Story;

    #[test]
    fn different_subsets_in_one_order_are_fine() {
        let mut story = Story::new(3);
        for client in 0..3 {
            story.submits(client, 100);
        }
        story.delivers_all(0, &[(0, 0), (1, 0), (2, 0)]);
        story.delivers_all(1, &[(0, 0), (2, 0)]);
        story.delivers_all(2, &[(1, 0), (2, 0)]);
        assert_eq!(check(&story.history), Ok(()));
    }

    #[test]
    fn two_orders_of_two_messages_are_noticed() {
        let mut story = Story::new(2);
        story.submits(0, 100);
        story.submits(1, 100);
        story.delivers_all(0, &[(0, 0), (1, 0)]);
        story.delivers_all(1, &[(1, 0), (0, 0)]);
        assert!(check(&story.history).unwrap_err().contains("c1#0 before c2#0"));
    }

    #[test]
    fn a_cycle_over_three_clients_is_noticed_though_every_pair_agrees() {
        let mut story = Story::new(3);
        for client in 0..3 {
            story.submits(client, 100);
        }
        story.delivers_all(0, &[(0, 0), (1, 0)]);
        story.delivers_all(1, &[(1, 0), (2, 0)]);
        story.delivers_all(2, &[(2, 0), (0, 0)]);
        assert!(check(&story.history).is_err());
    }

    #[test]
    fn an_answer_before_its_question_is_noticed() {
        let mut story = Story::new(3);
        story.submits(0, 100);
        story.delivers(1, 0, 0);
        story.submits(1, 100);
        story.delivers_all(2, &[(1, 0), (0, 0)]);
        assert!(check(&story.history).is_err());
    }
}
