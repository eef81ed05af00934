//! The ring's timers: an enum and a small table.

use super::Timer;
use crate::time::Instant;

const TIMERS: [Timer; 7] = [
    Timer::TokenLoss,
    Timer::TokenRetransmit,
    Timer::TokenHold,
    Timer::Join,
    Timer::Consensus,
    Timer::MergeDetect,
    Timer::Listen,
];

/// When each timer is due, if it is armed.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: [Option<Instant>; TIMERS.len()],
}

impl Timers {
    fn slot(&mut self, timer: Timer) -> &mut Option<Instant> {
        let [token_loss, token_retransmit, token_hold, join, consensus, merge_detect, listen] = &mut self.due;
        match timer {
            Timer::TokenLoss => token_loss,
            Timer::TokenRetransmit => token_retransmit,
            Timer::TokenHold => token_hold,
            Timer::Join => join,
            Timer::Consensus => consensus,
            Timer::MergeDetect => merge_detect,
            Timer::Listen => listen,
        }
    }

    pub(crate) fn arm(&mut self, timer: Timer, due: Instant) {
        *self.slot(timer) = Some(due);
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    pub(crate) fn clear(&mut self) {
        self.due = Default::default();
    }

    /// The earliest timer armed.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let armed = self.due.iter().zip(TIMERS).filter_map(|(due, timer)| due.map(|due| (due, timer)));
        armed.min()
    }

    /// Disarms and gives the earliest timer that is due.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = self.next().filter(|&(due, _)| due <= now)?;
        self.disarm(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_timer_comes_first_and_once() {
        let mut timers = Timers::default();
        let at = Instant::from_nanos;
        timers.arm(Timer::Consensus, at(30));
        timers.arm(Timer::Join, at(20));
        assert_eq!(timers.next(), Some((at(20), Timer::Join)));
        assert_eq!(timers.expire(at(19)), None);
        assert_eq!(timers.expire(at(40)), Some(Timer::Join));
        assert_eq!(timers.expire(at(40)), Some(Timer::Consensus));
        assert_eq!(timers.expire(at(40)), None);
    }
}
