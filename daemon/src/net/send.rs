//! Datagrams out: equal ones in a row travel to a peer in one call, and the kernel cuts them.

use std::{io, net::SocketAddr, time::Instant};

use protocol::links::{Recipients, Transmit, TransmitBatch};
use tracing::warn;

use super::Socket;
use crate::log::Limiter;

/// Octets that one call may carry: what fits into one IP packet before it is cut (IPv6 header, UDP header).
const RUN_BYTES_MAX: usize = 65_535 - 40 - 8;

/// Why datagrams did not leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    /// EAGAIN, ENOBUFS, ENOMEM: more at once than the machine can send.
    #[error("the send queue is full")]
    QueueFull,
    /// EPERM, EACCES: a packet filter.
    #[error("a packet filter refuses it")]
    Filtered,
    /// ENETUNREACH, EHOSTUNREACH, ENETDOWN: no way there.
    #[error("there is no route")]
    Unreachable,
    /// EMSGSIZE: above the MTU.
    #[error("it is larger than the MTU allows")]
    TooLarge,
    /// EINVAL, EADDRNOTAVAIL: the address that the socket is bound to is gone.
    #[error("this node's address is gone")]
    NoAddress,
    /// Anything else.
    #[error("the system refuses it")]
    Other,
}

/// Counts what did not leave, and tells about it once a second.
#[derive(Debug, Default)]
pub(super) struct SendLog {
    lost: [u64; Failure::COUNT],
    limiters: [Limiter; Failure::COUNT],
}

/// Datagrams in a row with the same recipients, of one length but for the last, which may be shorter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Run {
    /// Where its octets begin in the batch.
    start: usize,
    /// Its octets.
    len: usize,
    /// The length of each datagram but perhaps the last.
    segment: usize,
    /// How many datagrams.
    count: usize,
}

impl Socket {
    /// Sends what a batch holds.
    pub(crate) fn send_batch(&mut self, batch: &TransmitBatch) {
        self.send(batch.bytes(), batch.transmits(), batch.peers());
    }

    /// Sends `transmits`, which are pieces of `octets`, in their order. What cannot be sent is lost. Never
    /// waits.
    pub(super) fn send(&mut self, octets: &[u8], transmits: &[Transmit], peers: &[SocketAddr]) {
        let mut rest = transmits;
        while let Some(run) = Run::first(rest, self.segments_max()) {
            let to = rest.first().map(|transmit| transmit.to);
            let piece = octets.get(run.start..run.start + run.len).unwrap_or_default();
            match to {
                Some(Recipients::All) => peers.iter().for_each(|&peer| self.send_run(peer, piece, run)),
                Some(Recipients::One(peer)) => self.send_run(peer, piece, run),
                None => {}
            }
            rest = rest.get(run.count..).unwrap_or_default();
        }
    }

    fn send_run(&mut self, to: SocketAddr, octets: &[u8], run: Run) {
        if run.count > 1 {
            match self.transmit(to, octets, Some(run.segment)) {
                Ok(()) => return,
                // The datagrams themselves may be fine, but not in one piece: once more, one by one.
                Err(error)
                    if matches!(
                        Failure::of(&error),
                        Failure::TooLarge | Failure::NoAddress | Failure::Other
                    ) => {}
                Err(error) => return self.log.lost(to, &error, run.count),
            }
        }
        for datagram in octets.chunks(run.segment.max(1)) {
            if let Err(error) = self.transmit(to, datagram, None) {
                self.log.lost(to, &error, 1);
            }
        }
    }

    /// How many datagrams could not be sent since the start.
    #[cfg(test)]
    pub(super) fn lost(&self, failure: Failure) -> u64 {
        self.log.lost[failure as usize]
    }
}

impl Run {
    /// The longest run at the beginning of `transmits`.
    fn first(transmits: &[Transmit], count_max: usize) -> Option<Self> {
        let (first, rest) = transmits.split_first()?;
        let mut run = Self { start: first.start, len: first.len, segment: first.len, count: 1 };
        for next in rest {
            let follows = next.to == first.to && next.start == run.start + run.len;
            let fits =
                next.len <= run.segment && run.len + next.len <= RUN_BYTES_MAX && run.count < count_max;
            if !follows || !fits {
                break;
            }
            run.len += next.len;
            run.count += 1;
            if next.len < run.segment {
                break;
            }
        }
        Some(run)
    }
}

impl Failure {
    const COUNT: usize = 6;

    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::QueueFull,
            Some(libc::EPERM | libc::EACCES) => Self::Filtered,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => Self::Unreachable,
            Some(libc::EMSGSIZE) => Self::TooLarge,
            Some(libc::EINVAL | libc::EADDRNOTAVAIL) => Self::NoAddress,
            _ => Self::Other,
        }
    }
}

impl SendLog {
    fn lost(&mut self, to: SocketAddr, error: &io::Error, count: usize) {
        let failure = Failure::of(error);
        let lost = &mut self.lost[failure as usize];
        *lost = lost.saturating_add(count as u64);
        if let Some(suppressed) = self.limiters[failure as usize].admit(Instant::now()) {
            warn!(peer = %to, cause = %failure, %error, lost = *lost, suppressed, "datagrams cannot be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transmits(lens: &[usize]) -> Vec<Transmit> {
        let mut start = 0;
        lens.iter()
            .map(|&len| {
                start += len;
                Transmit { to: Recipients::All, start: start - len, len }
            })
            .collect()
    }

    /// The counts of the runs that a batch is sent in.
    fn runs(transmits: &[Transmit], count_max: usize) -> Vec<usize> {
        let mut rest = transmits;
        let mut counts = Vec::new();
        while let Some(run) = Run::first(rest, count_max) {
            counts.push(run.count);
            rest = &rest[run.count..];
        }
        counts
    }

    #[test]
    fn equal_datagrams_in_a_row_and_one_shorter_make_a_run() {
        assert_eq!(runs(&transmits(&[1400, 1400, 1400, 200, 1400, 1400]), 64), [4, 2]);
        assert_eq!(runs(&transmits(&[100, 1400, 1400]), 64), [1, 2]);
        assert_eq!(runs(&[], 64), []);
    }

    #[test]
    fn a_run_ends_at_the_limits_of_the_kernel() {
        assert_eq!(runs(&transmits(&[1400; 100]), 64), [46, 46, 8]);
        assert_eq!(runs(&transmits(&[100; 100]), 64), [64, 36]);
        assert_eq!(runs(&transmits(&[100; 3]), 1), [1, 1, 1]);
    }

    #[test]
    fn datagrams_for_others_or_from_another_place_are_not_part_of_a_run() {
        let mut batch = transmits(&[100; 6]);
        let one = Recipients::One("127.0.0.1:1".parse().expect("an address"));
        batch[2].to = one;
        batch[3].to = one;
        assert_eq!(runs(&batch, 64), [2, 2, 2]);
        batch[5].start += 1;
        assert_eq!(runs(&batch, 64), [2, 2, 1, 1]);
    }
}
