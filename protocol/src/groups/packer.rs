//! The messages that wait for the token, and how they become entries of frames.
//!
//! Packing happens when the token is here and takes all that waits: nothing is ever delayed to fill a
//! frame. A message that fits a frame is never split. A message that does not is split over as many as
//! it needs; it counts as sent when its last piece has been numbered. If the configuration ends before
//! that, the whole message starts again in the next one, so a message always belongs to exactly one
//! configuration.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    ring::{Class, Guarantee, QueueFull},
    wire::{Entry, FRAGMENT_HEAD_BYTES, Fragment, WHOLE_HEAD_BYTES},
};

/// A piece smaller than this is not worth an entry: the message starts in the next frame.
const PIECE_BYTES_MIN: usize = 256;

/// A bounded queue of messages of two classes.
#[derive(Debug)]
pub struct Packer {
    sync: VecDeque<Queued>,
    client: VecDeque<Queued>,
    /// Client messages wait for the sync barrier.
    held: bool,
    /// Of the message being split: which queue it heads, and how much of it is numbered.
    partial: Option<(Class, usize)>,
    /// The number of the message being split.
    message: u32,
    queued_bytes: usize,
    queue_bytes_max: usize,
    message_bytes_max: usize,
}

#[derive(Clone, Debug)]
struct Queued {
    head: Bytes,
    body: Bytes,
    guarantee: Guarantee,
}

impl Queued {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Appends the octets `offset..offset + len`.
    fn copy(&self, offset: usize, len: usize, out: &mut BytesMut) {
        let mut octets = self.head.as_ref().chain(self.body.as_ref());
        octets.advance(offset);
        let mut octets = octets.take(len);
        while octets.has_remaining() {
            let chunk = octets.chunk();
            out.extend_from_slice(chunk);
            octets.advance(chunk.len());
        }
    }
}

/// What went into one frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packed {
    /// Entries, at least one.
    pub count: u16,
    /// The strongest guarantee among them.
    pub guarantee: Guarantee,
}

impl Packer {
    /// An empty queue for at most `queue_bytes_max` octets, of messages of at most
    /// `message_bytes_max`.
    pub fn new(queue_bytes_max: usize, message_bytes_max: usize) -> Self {
        Self {
            sync: VecDeque::new(),
            client: VecDeque::new(),
            held: false,
            partial: None,
            message: 0,
            queued_bytes: 0,
            queue_bytes_max,
            message_bytes_max,
        }
    }

    /// Queues a message. `head` and `body` are joined; neither is copied yet.
    ///
    /// # Errors
    /// [`QueueFull`] if it does not fit; nothing was queued then. Sync messages are bounded by the
    /// barrier itself and are always taken.
    pub fn push(
        &mut self,
        class: Class,
        guarantee: Guarantee,
        head: Bytes,
        body: Bytes,
    ) -> Result<(), QueueFull> {
        let message = Queued { head, body, guarantee };
        let bytes = message.len();
        let full = class == Class::Client && self.queued_bytes + bytes > self.queue_bytes_max;
        if full || bytes > self.message_bytes_max {
            return Err(QueueFull { bytes, queued: self.queued_bytes, max: self.queue_bytes_max });
        }
        self.queued_bytes += bytes;
        match class {
            Class::Sync => self.sync.push_back(message),
            Class::Client => self.client.push_back(message),
        }
        Ok(())
    }

    /// Octets that wait, of both classes.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether [`Self::fill`] would put something into a frame.
    pub fn has_sendable(&self) -> bool {
        !self.sync.is_empty() || (!self.held && !self.client.is_empty())
    }

    /// A new configuration is installed: client messages wait, and a message that was being split
    /// starts again as a whole.
    pub fn hold(&mut self) {
        self.held = true;
        self.partial = None;
    }

    /// The barrier is passed: client messages flow.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Appends entries to `out`, at most `room` octets of them. `None` if nothing may be sent.
    ///
    /// `room` must be that of an empty frame; it is large enough for a piece.
    pub fn fill(&mut self, out: &mut BytesMut, room: usize) -> Option<Packed> {
        let room_empty = room;
        let mut room = room;
        let mut packed: Option<Packed> = None;
        while let Some(class) = self.next_class() {
            let queue = match class {
                Class::Sync => &mut self.sync,
                Class::Client => &mut self.client,
            };
            let message = queue.front().expect("next_class names a queue that is not empty");
            let offset = self.partial.map_or(0, |(_, offset)| offset);
            let left = message.len() - offset;
            if offset == 0 && WHOLE_HEAD_BYTES + left <= room {
                Entry::encode_head(out, None, octets_u16(left));
                message.copy(0, left, out);
                room -= WHOLE_HEAD_BYTES + left;
                Packed::add(&mut packed, message.guarantee);
                self.queued_bytes -= left;
                queue.pop_front();
                continue;
            }
            let starts_later = offset == 0 && WHOLE_HEAD_BYTES + left <= room_empty;
            if starts_later || room < FRAGMENT_HEAD_BYTES + left.min(PIECE_BYTES_MIN) {
                break;
            }
            if offset == 0 {
                self.message = self.message.wrapping_add(1);
            }
            let piece = left.min(room - FRAGMENT_HEAD_BYTES);
            let total = octets_u32(message.len());
            let fragment = Fragment { message: self.message, offset: octets_u32(offset), total };
            Entry::encode_head(out, Some(fragment), octets_u16(piece));
            message.copy(offset, piece, out);
            room -= FRAGMENT_HEAD_BYTES + piece;
            Packed::add(&mut packed, message.guarantee);
            if piece == left {
                self.partial = None;
                self.queued_bytes -= message.len();
                queue.pop_front();
            } else {
                self.partial = Some((class, offset + piece));
            }
        }
        packed
    }

    /// A split message is finished first; then sync messages, then clients'.
    fn next_class(&self) -> Option<Class> {
        match self.partial {
            Some((class, _)) => Some(class),
            None if !self.sync.is_empty() => Some(Class::Sync),
            None if !self.held && !self.client.is_empty() => Some(Class::Client),
            None => None,
        }
    }
}

impl Packed {
    fn add(packed: &mut Option<Self>, guarantee: Guarantee) {
        match packed {
            Some(packed) => {
                packed.count += 1;
                packed.guarantee = packed.guarantee.max(guarantee);
            }
            None => *packed = Some(Self { count: 1, guarantee }),
        }
    }
}

fn octets_u16(len: usize) -> u16 {
    u16::try_from(len).expect("an entry is part of a frame, and frames are below 65,536 octets")
}

fn octets_u32(len: usize) -> u32 {
    u32::try_from(len).expect("messages are bounded by message_bytes_max, far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Bytes {
        Bytes::from((0..len).map(|i| (i % 251) as u8).collect::<Vec<_>>())
    }

    fn packer() -> Packer {
        Packer::new(1 << 20, 1 << 20)
    }

    #[test]
    fn small_messages_share_a_frame_until_it_is_full() {
        let mut packer = packer();
        for _ in 0..10 {
            packer.push(Class::Client, Guarantee::Agreed, message(96), Bytes::new()).unwrap();
        }
        let mut out = BytesMut::new();
        let packed = packer.fill(&mut out, 700).unwrap();
        assert_eq!((packed.count, out.len()), (7, 700));
        assert_eq!(packer.queued_bytes(), 3 * 96);
    }

    #[test]
    fn a_message_that_fits_a_frame_is_never_split() {
        let mut packer = packer();
        packer.push(Class::Client, Guarantee::Agreed, message(400), Bytes::new()).unwrap();
        packer.push(Class::Client, Guarantee::Safe, message(400), Bytes::new()).unwrap();
        let mut out = BytesMut::new();
        assert_eq!(packer.fill(&mut out, 700), Some(Packed { count: 1, guarantee: Guarantee::Agreed }));
        assert_eq!(packer.fill(&mut out, 700), Some(Packed { count: 1, guarantee: Guarantee::Safe }));
        assert_eq!(packer.fill(&mut out, 700), None);
    }

    #[test]
    fn a_split_message_starts_again_after_a_configuration_change() {
        let mut packer = packer();
        packer.push(Class::Client, Guarantee::Agreed, message(10), message(1990)).unwrap();
        let mut first = BytesMut::new();
        packer.fill(&mut first, 700).unwrap();
        packer.hold();
        assert_eq!(packer.fill(&mut first, 700), None, "clients wait for the barrier");
        packer.release();
        let mut again = BytesMut::new();
        packer.fill(&mut again, 700).unwrap();
        assert_eq!(again[8..], first[8..], "the same piece");
        assert_ne!(again[4..8], first[4..8], "under another number");
        assert_eq!(packer.queued_bytes(), 2000, "it counts until its last piece is numbered");
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let mut packer = Packer::new(1000, 600);
        packer.push(Class::Client, Guarantee::Agreed, message(600), Bytes::new()).unwrap();
        let refused = packer.push(Class::Client, Guarantee::Agreed, message(500), Bytes::new());
        assert_eq!(refused, Err(QueueFull { bytes: 500, queued: 600, max: 1000 }));
        packer.push(Class::Sync, Guarantee::Agreed, message(500), Bytes::new()).unwrap();
        assert_eq!(packer.queued_bytes(), 1100);
    }
}
