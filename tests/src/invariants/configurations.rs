//! Configurations: a node is a member of every ring it reports, the lowest member represents it, and its
//! rings follow each other in the order of their names; what is delivered comes from members (Moser et
//! al. 1994, section 3, delivery of configuration changes; Amir et al. 1995, section 5).

use super::excerpt;
use crate::history::{ClientHistory, History, RingName, What};

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    history.clients.values().try_for_each(check_client)
}

fn check_client(client: &ClientHistory) -> Result<(), String> {
    let mut current: Option<(RingName, &Vec<u32>)> = None;
    for (index, seen) in client.seen.iter().enumerate() {
        let problem = match &seen.what {
            What::Totem { ring, members } => {
                let problem = judge(client.process.node, current, *ring, members);
                current = Some((*ring, members));
                problem
            }
            What::Delivered { from, .. } => current
                .filter(|(_, members)| !members.contains(&from.node))
                .map(|(ring, _)| format!("node {} is no member of ring {ring}", from.node)),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(problem + &excerpt(client, index));
        }
    }
    Ok(())
}

fn judge(
    node: u32,
    before: Option<(RingName, &Vec<u32>)>,
    ring: RingName,
    members: &[u32],
) -> Option<String> {
    if !members.contains(&node) {
        return Some(format!("node {node} reports ring {ring} without being its member"));
    }
    if !members.is_sorted_by(|a, b| a < b) {
        return Some(format!("the members {members:?} of ring {ring} are not ascending"));
    }
    if members.first() != Some(&ring.rep) {
        return Some(format!("ring {ring} is not named after the lowest of its members {members:?}"));
    }
    let (earlier, _) = before?;
    // A joiner is told of the current ring once more.
    (earlier != ring && earlier.seq >= ring.seq).then(|| format!("ring {ring} follows ring {earlier}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::Story;

    #[test]
    fn a_ring_without_its_reporter_is_noticed() {
        let mut story = Story::new(2);
        story.ring(1, 4, &[0]);
        assert!(check(&story.history).unwrap_err().contains("without being"));
    }

    #[test]
    fn a_step_back_is_noticed() {
        let mut story = Story::new(2);
        story.ring(0, 8, &[0, 1]);
        story.ring(0, 8, &[0, 1]);
        assert_eq!(check(&story.history), Ok(()));
        story.ring(0, 4, &[0]);
        assert!(check(&story.history).unwrap_err().contains("follows"));
    }

    #[test]
    fn a_message_from_outside_the_ring_is_noticed() {
        let mut story = Story::new(2);
        story.ring(0, 8, &[0]);
        story.submits(1, 100);
        story.delivers(0, 1, 0);
        assert!(check(&story.history).unwrap_err().contains("no member"));
    }
}
