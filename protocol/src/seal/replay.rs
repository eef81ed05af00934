//! Which packet numbers of a session were seen.
//!
//! A ring of words in the manner of RFC 6479: moving ahead clears whole words and shifts nothing.

/// The last [`WINDOW`](Self::WINDOW) numbers up to the highest one seen.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    highest: u64,
    /// Numbers up to this one count as seen.
    floor: u64,
    words: Box<[u64]>,
}

/// Why a number is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// It was here already.
    #[error("packet {number} was here already")]
    Seen {
        /// The number.
        number: u64,
    },
    /// It lies before the window, where nobody can tell.
    #[error("packet {number} is older than the window below {highest}")]
    TooOld {
        /// The number.
        number: u64,
        /// The highest seen.
        highest: u64,
    },
    /// It lies so far ahead that it cannot be honest.
    #[error("packet {number} is too far ahead of {highest}")]
    FarAhead {
        /// The number.
        number: u64,
        /// The highest seen.
        highest: u64,
    },
}

impl ReplayWindow {
    /// How many numbers are remembered.
    pub const WINDOW: u64 = 65_536;
    /// How far ahead of the highest a number may lie. More than this cannot be lost on a link that is
    /// up: at a million datagrams a second it is a second.
    pub const AHEAD_MAX: u64 = 1 << 20;

    /// One word more than the window fills, because its two ends may share a word.
    const WORDS: usize = Self::WINDOW as usize / 64 + 1;

    /// A window in which `number` and all before it count as seen.
    pub fn after(number: u64) -> Self {
        Self { highest: number, floor: number, words: vec![0; Self::WORDS].into_boxed_slice() }
    }

    /// Whether `number` may be opened. Changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, number: u64) -> Result<(), ReplayError> {
        let highest = self.highest;
        if number > highest {
            if number - highest > Self::AHEAD_MAX {
                return Err(ReplayError::FarAhead { number, highest });
            }
        } else if number <= self.floor || highest - number >= Self::WINDOW {
            return Err(ReplayError::TooOld { number, highest });
        } else if self.words[Self::word(number)] & Self::bit(number) != 0 {
            return Err(ReplayError::Seen { number });
        }
        Ok(())
    }

    /// Remembers `number`, which passed [`check`](Self::check) and whose datagram is genuine.
    pub fn mark(&mut self, number: u64) {
        if number > self.highest {
            let words_ahead = (number / 64 - self.highest / 64).min(Self::WORDS as u64);
            for ahead in 0..words_ahead {
                self.words[Self::word(number - ahead * 64)] = 0;
            }
            self.highest = number;
        }
        self.words[Self::word(number)] |= Self::bit(number);
    }

    /// The highest number seen.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    const fn word(number: u64) -> usize {
        (number / 64 % Self::WORDS as u64) as usize
    }

    const fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    fn take(window: &mut ReplayWindow, number: u64) -> bool {
        let fresh = window.check(number).is_ok();
        if fresh {
            window.mark(number);
        }
        fresh
    }

    #[test]
    fn edges_of_the_window() {
        let mut window = ReplayWindow::after(0);
        assert_eq!(window.check(0), Err(ReplayError::TooOld { number: 0, highest: 0 }));
        assert!(take(&mut window, 70_000));
        let oldest = 70_000 - ReplayWindow::WINDOW + 1;
        let old = oldest - 1;
        assert_eq!(window.check(old), Err(ReplayError::TooOld { number: old, highest: 70_000 }));
        assert!(take(&mut window, oldest));
        assert_eq!(window.check(oldest), Err(ReplayError::Seen { number: oldest }));
        let last = 70_000 + ReplayWindow::AHEAD_MAX;
        assert_eq!(window.check(last + 1), Err(ReplayError::FarAhead { number: last + 1, highest: 70_000 }));
        assert!(take(&mut window, last));
        assert_eq!(window.highest(), last);
    }

    #[test]
    fn the_last_numbers_of_all() {
        let mut window = ReplayWindow::after(u64::MAX - 2);
        assert!(take(&mut window, u64::MAX));
        assert!(take(&mut window, u64::MAX - 1));
        assert!(!take(&mut window, u64::MAX));
        assert!(ReplayWindow::after(u64::MAX).check(u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_of_all_numbers(
            start in 0..200u64,
            steps in proptest::collection::vec((0..4u8, 0..70_000u64), 1..400),
        ) {
            let mut window = ReplayWindow::after(start);
            let mut seen = BTreeSet::new();
            let mut highest = start;
            for (kind, step) in steps {
                let number = match kind {
                    0 => highest + step,            // far ahead
                    1 => highest + step % 70,       // just ahead
                    2 => highest.saturating_sub(step % 140),
                    _ => highest.saturating_sub(step),
                };
                let fresh = number > start
                    && highest.saturating_sub(number) < ReplayWindow::WINDOW
                    && !seen.contains(&number);
                prop_assert_eq!(take(&mut window, number), fresh, "number {} highest {}", number, highest);
                if fresh {
                    seen.insert(number);
                    highest = highest.max(number);
                }
            }
        }
    }
}
