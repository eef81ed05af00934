//! Log lines that others can cause: one a second for each kind, with the number left out.

use std::time::Duration;

use protocol::Instant;

/// Decides which of them are written.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    /// As many as there are kinds of `K`, which is small.
    kinds: Vec<Kind<K>>,
}

#[derive(Debug)]
struct Kind<K> {
    kind: K,
    next: Instant,
    suppressed: u64,
}

/// Least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(1);

impl<K: PartialEq> Throttle<K> {
    /// One that has seen nothing.
    pub(crate) fn new() -> Self {
        Self { kinds: Vec::new() }
    }

    /// Something of this kind happened. `Some`: write it, and how many before it were not.
    pub(crate) fn admit(&mut self, now: Instant, kind: K) -> Option<u64> {
        let Some(known) = self.kinds.iter_mut().find(|known| known.kind == kind) else {
            self.kinds.push(Kind { kind, next: now + INTERVAL, suppressed: 0 });
            return Some(0);
        };
        if now < known.next {
            known.suppressed += 1;
            return None;
        }
        known.next = now + INTERVAL;
        Some(std::mem::take(&mut known.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_of_each_kind_and_the_number_left_out() {
        let mut throttle = Throttle::new();
        let at = |ms: u64| Instant::ZERO + Duration::from_millis(ms);
        assert_eq!(throttle.admit(at(0), 'a'), Some(0));
        assert_eq!(throttle.admit(at(1), 'a'), None);
        assert_eq!(throttle.admit(at(2), 'b'), Some(0));
        assert_eq!(throttle.admit(at(999), 'a'), None);
        assert_eq!(throttle.admit(at(1_000), 'a'), Some(2));
        assert_eq!(throttle.admit(at(5_000), 'a'), Some(0));
    }
}
