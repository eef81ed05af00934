//! A token bucket: so many at once, so many a second.

use std::time::Duration;

use crate::time::Instant;

/// Bounds how often something expensive is done for somebody who is not authenticated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Time in which one more becomes available.
    refill: Duration,
    burst: u32,
    left: u32,
    /// Up to when refills are counted.
    counted: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn new(refill: Duration, burst: u32, now: Instant) -> Self {
        Self { refill, burst, left: burst, counted: now }
    }

    /// Takes one, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let earned = now.since(self.counted).as_nanos() / self.refill.as_nanos().max(1);
        match u32::try_from(earned) {
            Ok(earned) if earned < self.burst - self.left => {
                self.left += earned;
                self.counted += self.refill * earned;
            }
            _ => {
                self.left = self.burst;
                self.counted = now;
            }
        }
        let any = self.left > 0;
        self.left -= u32::from(any);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut bucket = Bucket::new(Duration::from_millis(10), 3, at(0));
        let taken = |bucket: &mut Bucket, ms| (0..10).filter(|_| bucket.take(at(ms))).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 9), 0);
        assert_eq!(taken(&mut bucket, 10), 1);
        assert_eq!(taken(&mut bucket, 39), 2);
        assert_eq!(taken(&mut bucket, 40), 1);
        assert_eq!(taken(&mut bucket, 1_000_000), 3);
    }
}
