//! At most one log line a second of each kind that a client can cause.

use std::time::{Duration, Instant};

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Suppress {
    last: Option<Instant>,
    suppressed: u64,
}

impl Suppress {
    /// Whether the line may be written, and how many were left out since the last one.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PERIOD) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        let start = Instant::now();
        let mut gate = Suppress::default();
        assert_eq!(gate.pass(start), Some(0));
        assert_eq!(gate.pass(start + PERIOD / 2), None);
        assert_eq!(gate.pass(start + PERIOD / 2), None);
        assert_eq!(gate.pass(start + PERIOD), Some(2));
        assert_eq!(gate.pass(start + PERIOD * 2), Some(0));
    }
}
