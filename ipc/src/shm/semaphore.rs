//! The counting semaphore in a ring's header file: glibc's `sem_t`, process-shared.
//!
//! One 64-bit word holds the count (low half) and the number of waiters (high half); the word behind
//! it says that waiters sleep on a shared futex. Waiters sleep on the low half while it is zero.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    thread::futex::{self, Flags, Timespec},
};

use super::{layout::SEMAPHORE, map::Area};

/// How a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// The count was decremented.
    Taken,
    /// It was zero for all the time.
    TimedOut,
}

/// The semaphore of one ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Semaphore<'a> {
    word: &'a AtomicU64,
    /// Only its address is used, by the kernel.
    count: &'a AtomicU32,
    shared: &'a AtomicU32,
}

impl<'a> Semaphore<'a> {
    pub(super) fn of(header: &'a Area) -> Self {
        Self { word: header.u64(SEMAPHORE), count: header.u32(SEMAPHORE), shared: header.u32(SEMAPHORE + 8) }
    }

    /// Makes it one: count 0, nobody waits, shared between processes.
    pub(super) fn initialize(self) {
        self.word.store(0, Ordering::Relaxed);
        self.shared.store(PROCESS_SHARED, Ordering::Release);
    }

    /// Counts one up and wakes one waiter, if there is one.
    pub(super) fn post(self) {
        let before = self.word.fetch_add(1, Ordering::Release);
        if before >= WAITER {
            // Fails only where the peer has cut the file.
            let _ = futex::wake(self.count, Flags::empty(), 1);
        }
    }

    /// Counts one down if the count is not zero.
    pub(super) fn try_take(self) -> bool {
        let down = |word: u64| if word & COUNT == 0 { None } else { Some(word - 1) };
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, down).is_ok()
    }

    /// How many chunks wait, as far as the peer tells the truth.
    pub(super) fn count(self) -> u32 {
        (self.word.load(Ordering::Acquire) & COUNT) as u32
    }

    /// Waits at most this long for the count to be above zero, and counts one down.
    pub(super) fn take(self, timeout: Duration) -> Wait {
        if self.try_take() {
            return Wait::Taken;
        }
        let deadline = Instant::now() + timeout;
        self.word.fetch_add(WAITER, Ordering::Relaxed);
        let taken = loop {
            // One down, and one waiter less, in one step.
            let down = |word: u64| if word & COUNT == 0 { None } else { Some(word.wrapping_sub(WAITER + 1)) };
            if self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, down).is_ok() {
                return Wait::Taken;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.sleep(left).is_err() {
                break self.try_take();
            }
        };
        self.word.fetch_sub(WAITER, Ordering::Relaxed);
        if taken { Wait::Taken } else { Wait::TimedOut }
    }

    /// Sleeps while the count is zero. Woken early now and then.
    fn sleep(self, timeout: Duration) -> Result<(), Errno> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: timeout.subsec_nanos().into() };
        match futex::wait(self.count, Flags::empty(), 0, Some(&timeout)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

const COUNT: u64 = 0xFFFF_FFFF;
const WAITER: u64 = 1 << 32;
/// glibc's mark of a semaphore whose waiters sleep on a shared futex.
const PROCESS_SHARED: u32 = 128;
