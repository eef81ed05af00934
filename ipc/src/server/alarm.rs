//! The server's timer: a descriptor in its own epoll set, so that nobody outside needs to know
//! its deadlines.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// When the descriptor becomes readable, and stays so until it is set to something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Setting {
    /// Never.
    Off,
    /// At once: work is left over.
    Now,
    /// At this time.
    At(Instant),
}

#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    setting: Setting,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { timer: timerfd_create(TimerfdClockId::Monotonic, flags)?, setting: Setting::Off })
    }

    /// Sets it; no system call if nothing changes.
    pub(super) fn set(&mut self, setting: Setting, now: Instant) {
        if setting == self.setting {
            return;
        }
        let delay = match setting {
            Setting::Off => Duration::ZERO,
            Setting::Now => SHORTEST,
            Setting::At(time) => time.saturating_duration_since(now).max(SHORTEST),
        };
        let value = Timespec { tv_sec: delay.as_secs().cast_signed(), tv_nsec: delay.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Fails only for values that are no times.
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).is_ok() {
            self.setting = setting;
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Zero would switch the timer off.
const SHORTEST: Duration = Duration::from_nanos(1);
