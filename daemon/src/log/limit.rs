//! At most one line a second of each kind, with the number of those left out.

use std::time::{Duration, Instant};

/// Decides which of many equal events is logged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limiter {
    next: Option<Instant>,
    suppressed: u64,
}

const INTERVAL: Duration = Duration::from_secs(1);

impl Limiter {
    /// Whether the event at `now` is logged: then with how many were left out since the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.next = now.checked_add(INTERVAL);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_in_a_second_is_logged_and_tells_how_many_were_not() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(limiter.admit(start), Some(0));
        for millis in 1..1000 {
            assert_eq!(limiter.admit(start + Duration::from_millis(millis)), None);
        }
        assert_eq!(limiter.admit(start + INTERVAL), Some(999));
        assert_eq!(limiter.admit(start + 3 * INTERVAL), Some(0));
    }
}
