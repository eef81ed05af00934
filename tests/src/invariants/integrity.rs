//! Integrity: a delivered message is one that its sender handed in, octet for octet, and not before it
//! did (Moser et al. 1994, "Extended Virtual Synchrony", section 3, basic delivery: every delivery has
//! its send; Chockler, Keidar and Vitenberg 2001, property "Delivery Integrity").

use super::excerpt;
use crate::history::{Content, History, MessageId, What};

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    let mut submitted = std::collections::BTreeMap::new();
    for client in history.clients.values() {
        for seen in &client.seen {
            if let What::Submitted(number) = seen.what {
                submitted.insert(MessageId { client: client.id, number }, seen.step);
            }
        }
    }
    for client in history.clients.values() {
        for (index, seen) in client.seen.iter().enumerate() {
            let What::Delivered { from, content, .. } = &seen.what else { continue };
            match content {
                Content::Foreign { len, digest } => {
                    let story = format!("{from} never sent these {len} octets (digest {digest:016x})");
                    return Err(story + &excerpt(client, index));
                }
                Content::Sent(message) if submitted.get(message).is_none_or(|step| *step > seen.step) => {
                    let story = format!("{message} was delivered before its node had taken it");
                    return Err(story + &excerpt(client, index));
                }
                Content::Sent(_) => {}
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
    fn what_was_sent_may_be_delivered() {
        let mut story = Story::new(2);
        story.joins(0);
        story.submits(0, 100);
        story.delivers(0, 0, 0);
        story.delivers(1, 0, 0);
        assert_eq!(check(&story.history), Ok(()));
    }

    #[test]
    fn a_changed_octet_is_noticed() {
        let mut story = Story::new(2);
        story.submits(0, 100);
        let mut octets = story.payload(0, 0);
        octets[50] ^= 1;
        story.delivers_octets(1, 0, &octets);
        assert!(check(&story.history).unwrap_err().contains("never sent"));
    }

    #[test]
    fn a_delivery_before_the_send_is_noticed() {
        let mut story = Story::new(2);
        story.makes(0, 100);
        story.delivers(1, 0, 0);
        assert!(check(&story.history).unwrap_err().contains("before"));
    }
}
