//! The clock that the node sees.

use protocol::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started, sleep included: a node that was suspended knows that it was, and
/// nobody can set this clock.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
