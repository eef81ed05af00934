//! Ring ids: one name means one list of members, everywhere and for all time; a node never goes back
//! behind a ring it was in, not even in a later life, and has a ring's sequence on its disk before it is
//! a member (Amir et al. 1995, section 5: the ring sequence number is kept on stable storage; Moser et al.
//! 1994, section 3: unique configuration identifiers).

use std::collections::BTreeMap;

use super::excerpt;
use crate::history::{ClientHistory, History, NodeHistory, RingName, What};

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    let mut names: BTreeMap<RingName, (&[u32], &ClientHistory, usize)> = BTreeMap::new();
    // Highest ring of each node, and in which life.
    let mut highest: BTreeMap<usize, (usize, u64)> = BTreeMap::new();
    let mut clients: Vec<&ClientHistory> = history.clients.values().collect();
    clients.sort_by_key(|client| (client.node, client.life));
    for client in clients {
        let earlier = highest.get(&client.node).filter(|(life, _)| *life < client.life).copied();
        for (index, seen) in client.seen.iter().enumerate() {
            let What::Totem { ring, members } = &seen.what else { continue };
            let (first, teller, there) = *names.entry(*ring).or_insert((members, client, index));
            if first != members {
                let story = format!("ring {ring} is {first:?} here and {members:?} there");
                return Err(story + &excerpt(teller, there) + &excerpt(client, index));
            }
            if let Some((life, seq)) = earlier.filter(|(_, seq)| *seq >= ring.seq) {
                let story = format!("ring {ring} after sequence {seq:x} was reached in life {life}");
                return Err(story + &excerpt(client, index));
            }
            let durable = durable(&history.nodes[client.node], client.life, seen.step);
            if durable < ring.seq {
                let story = format!("member of ring {ring} with only {durable:x} on the disk");
                return Err(story + &excerpt(client, index));
            }
            let high = highest.entry(client.node).or_insert((client.life, ring.seq));
            *high =
                if high.0 < client.life { (client.life, ring.seq) } else { (high.0, high.1.max(ring.seq)) };
        }
    }
    Ok(())
}

/// What was on the disk in `step`.
fn durable(node: &NodeHistory, life: usize, step: u64) -> u64 {
    let Some(life) = node.lives.get(life) else { return 0 };
    let stored = life.stored.iter().filter(|(at, _)| *at <= step).map(|(_, seq)| seq.0);
    stored.max().unwrap_or_default().max(life.loaded.0)
}

#[cfg(test)]
mod tests {
    use protocol::{BootId, RingSeq};

    use super::*;
    use crate::invariants::testing::Story;

    #[test]
    fn one_name_for_two_rings_is_noticed() {
        let mut story = Story::new(3);
        story.ring(0, 4, &[0, 1]);
        story.ring(1, 4, &[0, 1]);
        assert_eq!(check(&story.history), Ok(()));
        story.ring(2, 4, &[0, 2]);
        assert!(check(&story.history).unwrap_err().contains("here"));
    }

    #[test]
    fn a_sequence_repeated_after_a_restart_is_noticed() {
        let mut story = Story::new(2);
        story.ring(0, 8, &[0, 1]);
        story.history.node_started(0, BootId(99), RingSeq(8));
        let client = story.connects(0);
        story.ring(client, 8, &[0, 1]);
        assert!(check(&story.history).unwrap_err().contains("life"));
    }

    #[test]
    fn a_ring_that_is_not_on_the_disk_is_noticed() {
        let mut story = Story::new(2);
        story.ring_unstored(0, 8, &[0, 1]);
        assert!(check(&story.history).unwrap_err().contains("disk"));
    }
}
