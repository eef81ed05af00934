//! What must hold in every run, one published property a file.
//!
//! Each takes a [`History`] and either agrees or tells the story of the first violation it meets.

use std::fmt;

use crate::history::{ClientHistory, History};

pub mod configurations;
pub mod group_views;
pub mod integrity;
pub mod no_duplicate;
pub mod no_gap;
pub mod ring_ids;
pub mod safe_delivery;
pub mod self_delivery;
pub mod total_order;
pub mod virtual_synchrony;

mod segments;
#[cfg(test)]
mod testing;

/// A property does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// What happened.
    pub story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.story)
    }
}

/// A property of runs.
type Property = fn(&History) -> Result<(), String>;

/// All properties.
const PROPERTIES: [(&str, Property); 10] = [
    ("integrity", integrity::check),
    ("no duplicate", no_duplicate::check),
    ("total order", total_order::check),
    ("no gap", no_gap::check),
    ("self-delivery", self_delivery::check),
    ("virtual synchrony", virtual_synchrony::check),
    ("safe delivery", safe_delivery::check),
    ("configurations", configurations::check),
    ("ring ids", ring_ids::check),
    ("group views", group_views::check),
];

/// Every property that does not hold, each with the first story found.
pub fn check(history: &History) -> Vec<Violation> {
    PROPERTIES
        .iter()
        .filter_map(|&(property, check)| Some(Violation { property, story: check(history).err()? }))
        .collect()
}

/// What a client saw around one of its events, for a story.
fn excerpt(client: &ClientHistory, index: usize) -> String {
    let start = index.saturating_sub(EXCERPT_BEFORE);
    let mut text = format!("\n  {client}:");
    for (at, seen) in client.seen.iter().enumerate().skip(start).take(EXCERPT_BEFORE + EXCERPT_AFTER) {
        let mark = if at == index { ">" } else { " " };
        text += &format!("\n  {mark} {at:5} {} step {} {}", seen.at, seen.step, seen.what);
    }
    text
}

/// Events shown before the one in question.
const EXCERPT_BEFORE: usize = 8;
/// Events shown from the one in question on.
const EXCERPT_AFTER: usize = 4;
