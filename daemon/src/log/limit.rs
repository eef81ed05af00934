//! At most one line a second of each kind, with the number of those left out.

use std::time::{Duration, Instant};

/// Decides which of many equal events is logged: one in a second, and while they go on, ever fewer, down
/// to one in about a minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limiter {
    last: Option<Instant>,
    interval: Duration,
    suppressed: u64,
}

const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(64);

impl Limiter {
    /// Whether the event at `now` is logged: then with how many were left out since the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        let quiet = self.last.map(|last| now.saturating_duration_since(last));
        if quiet.is_some_and(|quiet| quiet < self.interval) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        // Nothing left out in all that time: it had ended, and begins anew.
        let goes_on = quiet.is_some_and(|quiet| self.suppressed > 0 && quiet < 2 * self.interval);
        self.interval = if goes_on { (2 * self.interval).min(INTERVAL_MAX) } else { INTERVAL_MIN };
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The milliseconds at which a line is logged, with how many were left out, of events at each
    /// millisecond from `from` to `to`.
    fn logged(limiter: &mut Limiter, start: Instant, from: u64, to: u64) -> Vec<(u64, u64)> {
        let events = from..to;
        events.filter_map(|at| Some((at, limiter.admit(start + Duration::from_millis(at))?))).collect()
    }

    #[test]
    fn what_goes_on_is_logged_ever_less_often_and_nothing_is_left_uncounted() {
        let start = Instant::now();
        let lines = logged(&mut Limiter::default(), start, 0, 300_000);
        let at: Vec<_> = lines.iter().map(|(at, _)| at / 1000).collect();
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]);
        let events: u64 = lines.iter().map(|(_, suppressed)| suppressed + 1).sum();
        assert_eq!(events, 255_001);
    }

    #[test]
    fn what_comes_back_after_a_pause_is_logged_at_once() {
        let start = Instant::now();
        let mut limiter = Limiter::default();
        logged(&mut limiter, start, 0, 10_000);
        let again = logged(&mut limiter, start, 60_000, 62_000);
        assert_eq!(again.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [60_000, 61_000]);
    }
}
