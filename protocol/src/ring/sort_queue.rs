//! The frames of one ring by their place, from the oldest that somebody may still lack.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::{Held, RegularHead, Seq};

/// Most places between the oldest frame kept and the newest. What lies beyond is dropped, and senders
/// stop well before it.
pub(crate) const PLACES_MAX: u64 = Held::PLACES_MAX;

/// A frame in its place.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) head: RegularHead,
    pub(crate) frame: Bytes,
}

/// Frames by place, with gaps.
#[derive(Debug, Default)]
pub(crate) struct SortQueue {
    /// Freed up to here; `slots[0]` is the place after it.
    released: Seq,
    aru: Seq,
    slots: VecDeque<Option<Slot>>,
}

impl SortQueue {
    /// All held, or held and freed, up to here.
    pub(crate) fn aru(&self) -> Seq {
        self.aru
    }

    /// Freed up to here.
    pub(crate) fn released(&self) -> Seq {
        self.released
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        let offset = seq.0.checked_sub(self.released.0)?.checked_sub(1)?;
        usize::try_from(offset).ok().filter(|_| offset < PLACES_MAX)
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Slot> {
        self.slots.get(self.index(seq)?)?.as_ref()
    }

    /// Whether the frame at `seq` is here or was freed.
    pub(crate) fn has(&self, seq: Seq) -> bool {
        seq <= self.aru || self.get(seq).is_some()
    }

    /// Whether a frame at `seq` would be new and fit.
    pub(crate) fn wants(&self, seq: Seq) -> bool {
        self.index(seq).is_some() && !self.has(seq)
    }

    /// Puts a frame into its place; `false` if it was there, was freed or is too far ahead.
    pub(crate) fn insert(&mut self, head: RegularHead, frame: Bytes) -> bool {
        if !self.wants(head.seq) {
            return false;
        }
        let Some(index) = self.index(head.seq) else { return false };
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(Slot { head, frame });
        }
        while self.get(self.aru.next()).is_some() {
            self.aru = self.aru.next();
        }
        true
    }

    /// Frees everything up to `seq`, which everybody holds.
    pub(crate) fn release(&mut self, seq: Seq) {
        let seq = seq.min(self.aru);
        while self.released < seq {
            self.slots.pop_front();
            self.released = self.released.next();
        }
    }

    /// Which places above aru are here.
    pub(crate) fn held(&self) -> Held {
        let mut held = Held::default();
        let first = self.index(self.aru.next()).unwrap_or(self.slots.len());
        for (offset, slot) in (0..).zip(self.slots.iter().skip(first)) {
            if slot.is_some() {
                held.insert(offset);
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node::NodeId,
        ring::Guarantee,
        ring_id::{RingId, RingSeq},
    };

    fn put(queue: &mut SortQueue, seq: u64) -> bool {
        let rep = NodeId::new(1).unwrap();
        let ring = RingId { seq: RingSeq(4), rep, nonce: 0 };
        let head = RegularHead { guarantee: Guarantee::Agreed, count: 1, sender: rep, ring, seq: Seq(seq) };
        queue.insert(head, Bytes::new())
    }

    #[test]
    fn aru_stops_at_the_first_gap_and_jumps_when_it_closes() {
        let mut queue = SortQueue::default();
        assert!(put(&mut queue, 1) && put(&mut queue, 3) && put(&mut queue, 4));
        assert_eq!(queue.aru(), Seq(1));
        assert!((0..4).map(|offset| queue.held().contains(offset)).eq([false, true, true, false]));
        assert!(put(&mut queue, 2));
        assert_eq!(queue.aru(), Seq(4));
    }

    #[test]
    fn a_full_queue_holds_nothing_above_aru() {
        let mut queue = SortQueue::default();
        assert!((1..=PLACES_MAX).all(|seq| put(&mut queue, seq)));
        assert_eq!((queue.aru(), queue.held()), (Seq(PLACES_MAX), Held::default()));
    }

    #[test]
    fn what_was_freed_or_is_there_is_not_taken_again() {
        let mut queue = SortQueue::default();
        for seq in 1..=5 {
            put(&mut queue, seq);
        }
        queue.release(Seq(9));
        assert_eq!(queue.released(), Seq(5), "nothing above aru is freed");
        assert!(!put(&mut queue, 5));
        assert!(put(&mut queue, 6) && !put(&mut queue, 6));
    }

    #[test]
    fn a_frame_too_far_ahead_takes_no_memory() {
        let mut queue = SortQueue::default();
        assert!(!put(&mut queue, PLACES_MAX + 1));
        assert!(!put(&mut queue, u64::MAX));
        assert!(queue.slots.is_empty());
        assert!(put(&mut queue, PLACES_MAX));
    }
}
