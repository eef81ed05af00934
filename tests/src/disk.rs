//! A node's stable storage: one number that survives crashes, and writes that take time.

use std::collections::VecDeque;

use protocol::RingSeq;

use crate::rng::Rng;

/// What survives a crash, and what is being written.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    durable: RingSeq,
    writing: VecDeque<RingSeq>,
}

impl Disk {
    /// What a starting node reads.
    pub fn ring_seq(&self) -> RingSeq {
        self.durable
    }

    /// A write begins.
    pub fn store(&mut self, seq: RingSeq) {
        self.writing.push_back(seq);
    }

    /// The oldest write is done; `None` if a crash came first.
    pub fn complete(&mut self) -> Option<RingSeq> {
        let seq = self.writing.pop_front()?;
        self.durable = seq;
        Some(seq)
    }

    /// Power is lost: each write that had begun, in order, may have reached the platter or not.
    pub fn crash(&mut self, rng: &mut Rng) {
        while let Some(seq) = self.writing.pop_front() {
            if rng.chance(500) {
                self.durable = seq;
            } else {
                self.writing.clear();
            }
        }
    }

    /// The disk comes back from a snapshot, or empty.
    pub fn roll_back(&mut self, seq: RingSeq) {
        self.durable = seq;
        self.writing.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_perhaps_what_was_under_way() {
        let mut seen = [false; 2];
        for seed in 0..32 {
            let mut disk = Disk::default();
            disk.store(RingSeq(4));
            assert_eq!(disk.complete(), Some(RingSeq(4)));
            disk.store(RingSeq(8));
            disk.crash(&mut Rng::new(seed));
            assert_eq!(disk.complete(), None);
            match disk.ring_seq() {
                RingSeq(4) => seen[0] = true,
                RingSeq(8) => seen[1] = true,
                other => panic!("{other:?} was never written"),
            }
        }
        assert_eq!(seen, [true, true]);
    }
}
