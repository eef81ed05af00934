//! What clients do by themselves: how often they send, how much, and how long they stay.

use std::{ops::Range, time::Duration};

use ipc::message::cpg::ATOMIC_MESSAGE_BYTES_MAX;
use protocol::ring::Guarantee;

use crate::rng::Rng;

/// How large messages are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sizes {
    /// 1 to 64 octets.
    Tiny,
    /// Mostly below a frame, some at its limit, few of many frames.
    Mixed,
    /// As mixed, with some around the largest atomic message and above.
    Huge,
}

impl Sizes {
    /// A size in octets.
    pub fn draw(self, rng: &mut Rng, frame_bytes: usize) -> usize {
        let below = |rng: &mut Rng, end: usize| 1 + rng.index(end);
        let kind = match self {
            Self::Tiny => 0,
            Self::Mixed => rng.below(995),
            Self::Huge => rng.below(1000),
        };
        match kind {
            0..500 => below(rng, 64),
            500..800 => below(rng, 1000),
            800..900 => (frame_bytes - frame_bytes.min(120)).max(1) + rng.index(128),
            900..980 => below(rng, 8 * frame_bytes),
            980..995 => below(rng, 64 * 1024),
            995..998 => ATOMIC_MESSAGE_BYTES_MAX - rng.index(3),
            _ => ATOMIC_MESSAGE_BYTES_MAX + below(rng, 1 << 20),
        }
    }
}

/// One client's habits.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Time between two messages.
    pub every: Range<Duration>,
    /// How large they are.
    pub sizes: Sizes,
    /// How many of 1,000 are sent as safe.
    pub safe: u32,
    /// After each message, it leaves in this many of 1,000 cases, and a new one takes its place.
    pub leaves: u32,
    /// The same, but its process just ends.
    pub dies: u32,
}

impl Workload {
    /// What is asked for.
    pub fn guarantee(&self, rng: &mut Rng) -> Guarantee {
        if rng.chance(self.safe) { Guarantee::Safe } else { Guarantee::Agreed }
    }
}
