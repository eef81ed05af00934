//! No duplicate: a process delivers a message at most once (Moser et al. 1994, section 3, basic
//! delivery; Chockler, Keidar and Vitenberg 2001, property "No Duplication").

use std::collections::BTreeMap;

use super::excerpt;
use crate::history::{Content, History, What};

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    for client in history.clients.values() {
        let mut first = BTreeMap::new();
        for (index, seen) in client.seen.iter().enumerate() {
            let What::Delivered { content: Content::Sent(message), .. } = seen.what else { continue };
            if let Some(before) = first.insert(message, index) {
                let story = format!("{message} came twice, first as event {before}");
                return Err(story + &excerpt(client, before) + &excerpt(client, index));
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
    fn a_second_delivery_is_noticed() {
        for len in [1, 100] {
            let mut story = Story::new(2);
            story.submits(0, len);
            story.delivers(1, 0, 0);
            assert_eq!(check(&story.history), Ok(()));
            story.delivers(1, 0, 0);
            assert!(check(&story.history).unwrap_err().contains("twice"));
        }
    }
}
