//! The token's retransmission request list.

use super::{common::Common, sort_queue::PLACES_MAX};
use crate::{
    links::Destination,
    ring_id::RingId,
    wire::{RTR_MAX, RetransmitRange, Seq, Token},
};

/// Sends again what is asked for in `ring`'s numbers and held here, at most one visit's worth, and takes
/// it off the list. What is not held stays for the next holder. Gives the number of frames.
pub(super) fn serve(common: &mut Common, token: &mut Token, ring: RingId) -> u32 {
    if token.rtr.is_empty() {
        return 0;
    }
    let mut served = 0;
    let asked = std::mem::take(&mut token.rtr);
    for range in asked {
        if range.ring != ring {
            if token.rtr.len() < RTR_MAX {
                token.rtr.push(range);
            }
            continue;
        }
        for seq in clipped(common, range) {
            let frame = match common.installed.queue.get(seq) {
                Some(slot) if served < common.settings.max_messages => Some(slot.frame.clone()),
                _ => None,
            };
            match frame {
                Some(frame) => {
                    served += 1;
                    // Its sender's datagrams may be larger than this node's.
                    common.send_large(Destination::All, frame);
                }
                None => ask(token, ring, seq),
            }
        }
    }
    served
}

/// The places of a request that this node could know anything about.
fn clipped(common: &Common, range: RetransmitRange) -> impl Iterator<Item = Seq> + use<> {
    let queue = &common.installed.queue;
    let first = range.first.0.max(queue.released().0.saturating_add(1));
    let last = range.first.0.saturating_add(u64::from(range.count)).saturating_sub(1);
    let last = last.min(queue.released().0.saturating_add(PLACES_MAX));
    (first..=last).map(Seq)
}

/// Asks for what is missing here. Only places that had been given out when this node last passed the
/// token on: younger frames may still be on their way.
pub(super) fn add(common: &Common, token: &mut Token, limit: Seq) {
    let queue = &common.installed.queue;
    let last = limit.min(token.seq).0.min(queue.released().0.saturating_add(PLACES_MAX));
    let missing = (queue.aru().0 + 1..=last).map(Seq).filter(|&seq| queue.get(seq).is_none());
    add_all(token, common.installed.ring, missing);
}

/// Asks for all of `missing`, ascending, as far as the list has room.
pub(super) fn add_all(token: &mut Token, ring: RingId, missing: impl Iterator<Item = Seq>) {
    let others = token.rtr.clone();
    let asked = |seq: Seq| {
        others.iter().any(|range| {
            range.ring == ring && seq >= range.first && seq.since(range.first) < u64::from(range.count)
        })
    };
    for seq in missing {
        if token.rtr.len() == RTR_MAX && !extends_last(token, ring, seq) {
            return;
        }
        if others.is_empty() || !asked(seq) {
            ask(token, ring, seq);
        }
    }
}

fn extends_last(token: &Token, ring: RingId, seq: Seq) -> bool {
    token.rtr.last().is_some_and(|last| {
        last.ring == ring && last.count < u16::MAX && seq.0 == last.first.0 + u64::from(last.count)
    })
}

fn ask(token: &mut Token, ring: RingId, seq: Seq) {
    if extends_last(token, ring, seq) {
        if let Some(last) = token.rtr.last_mut() {
            last.count += 1;
        }
    } else if token.rtr.len() < RTR_MAX {
        token.rtr.push(RetransmitRange { ring, first: seq, count: 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::NodeId, ring_id::RingSeq};

    fn ring() -> RingId {
        RingId { seq: RingSeq(4), rep: NodeId::new(1).unwrap(), nonce: 0 }
    }

    #[test]
    fn neighbouring_places_share_a_range_and_nothing_is_asked_for_twice() {
        let mut token = Token::first(ring());
        add_all(&mut token, ring(), [2, 3, 4, 9].map(Seq).into_iter());
        add_all(&mut token, ring(), [3, 4, 5, 9].map(Seq).into_iter());
        let ranges: Vec<_> = token.rtr.iter().map(|range| (range.first.0, range.count)).collect();
        assert_eq!(ranges, [(2, 3), (9, 1), (5, 1)]);
    }

    #[test]
    fn a_full_list_takes_no_more_ranges() {
        let mut token = Token::first(ring());
        add_all(&mut token, ring(), (1..1000).map(|i| Seq(i * 2)));
        assert_eq!(token.rtr.len(), RTR_MAX);
    }
}
