//! What outlives the ring's states.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use tracing::trace;

use super::{
    Boot, Configuration, Delivery, Guarantee, Output, RingSettings, installed::Installed, timers::Timers,
};
use crate::{
    groups::{Assembler, Packer},
    links::Destination,
    node::Member,
    ring_id::{RingId, RingSeq},
    time::Instant,
    wire::{Entries, PART_HEAD_BYTES, Part, REGULAR_HEAD_BYTES, Regular, RegularHead, Seq},
};

/// Frames are cut from chunks of this size, so that a frame costs no allocation of its own.
const CHUNK_BYTES: usize = 64 * 1024;

/// Shared by all states.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) settings: RingSettings,
    pub(super) me: Member,
    pub(super) now: Instant,
    pub(super) outputs: VecDeque<Output>,
    /// Frames from this node to itself: the tokens of a ring of one.
    pub(super) loopback: VecDeque<Bytes>,
    pub(super) timers: Timers,
    pub(super) packer: Packer,
    pub(super) assembler: Assembler,
    pub(super) installed: Installed,
    /// Whether `installed` was ever formed with the protocol, and not only made at the start.
    pub(super) formed: bool,
    /// The highest ring sequence known, own or heard of.
    pub(super) ring_seq: RingSeq,
    /// The highest ring sequence on stable storage.
    pub(super) durable: RingSeq,
    /// Peers with a proven session.
    pub(super) peers: BTreeSet<Member>,
    pool: BytesMut,
    random: u64,
    parts_sent: u32,
}

impl Common {
    pub(super) fn new(settings: RingSettings, boot: Boot, now: Instant) -> Self {
        let me = Member { node: settings.node, boot: boot.id };
        let mut random = boot.seed ^ boot.id.0;
        // The configuration of a node alone, before any ring. It is never reported to anybody above;
        // its id is this life's own, so nobody else can claim to come from it.
        let seq = RingSeq(boot.ring_seq.0.saturating_add(1));
        let ring = RingId { seq, rep: me.node, nonce: next_random(&mut random) };
        Self {
            packer: Packer::new(settings.send_queue_bytes_max, settings.message_bytes_max),
            assembler: Assembler::new(settings.message_bytes_max),
            settings,
            me,
            now,
            outputs: VecDeque::new(),
            loopback: VecDeque::new(),
            timers: Timers::default(),
            installed: Installed::new(ring, vec![me]),
            formed: false,
            ring_seq: seq,
            durable: boot.ring_seq,
            peers: BTreeSet::new(),
            pool: BytesMut::new(),
            random,
            parts_sent: 0,
        }
    }

    pub(super) fn random(&mut self) -> u32 {
        next_random(&mut self.random)
    }

    /// Builds a frame in pooled memory.
    pub(super) fn build(&mut self, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        self.reserve(self.settings.frame_bytes_max);
        write(&mut self.pool);
        self.pool.split().freeze()
    }

    /// Copies a received frame into pooled memory.
    pub(super) fn keep(&mut self, octets: &[u8]) -> Bytes {
        self.reserve(octets.len());
        self.pool.extend_from_slice(octets);
        self.pool.split().freeze()
    }

    /// Packs what waits into the frame for place `seq` of the installed ring. `None` if nothing may be
    /// sent.
    pub(super) fn next_frame(&mut self, seq: Seq) -> Option<(RegularHead, Bytes)> {
        let frame_bytes_max = self.settings.frame_bytes_max;
        self.reserve(frame_bytes_max);
        let (sender, ring) = (self.me.node, self.installed.ring);
        let mut head = RegularHead { guarantee: Guarantee::Agreed, count: 0, sender, ring, seq };
        head.encode(&mut self.pool);
        let Some(packed) = self.packer.fill(&mut self.pool, frame_bytes_max - REGULAR_HEAD_BYTES) else {
            self.pool.clear();
            return None;
        };
        (head.guarantee, head.count) = (packed.guarantee, packed.count);
        let mut frame = self.pool.split();
        head.rewrite(&mut frame);
        Some((head, frame.freeze()))
    }

    fn reserve(&mut self, bytes: usize) {
        if self.pool.capacity() < bytes {
            self.pool.reserve(CHUNK_BYTES.max(bytes));
        }
    }

    /// Sends a frame that fits a datagram.
    pub(super) fn send(&mut self, to: Destination, frame: Bytes) {
        if to == Destination::Node(self.me.node) {
            self.loopback.push_back(frame);
        } else {
            self.outputs.push_back(Output::Send { to, frame });
        }
    }

    /// Sends a frame of any size, in parts if need be.
    pub(super) fn send_large(&mut self, to: Destination, frame: Bytes) {
        let room = self.settings.frame_bytes_max - PART_HEAD_BYTES;
        if to == Destination::Node(self.me.node) || frame.len() <= self.settings.frame_bytes_max {
            return self.send(to, frame);
        }
        self.parts_sent = self.parts_sent.wrapping_add(1);
        let id = self.parts_sent;
        let Ok(count) = u8::try_from(frame.len().div_ceil(room)) else {
            // More than 255 datagrams of reports: not with 128 members and bounded bit maps unless the
            // path carries next to nothing. The commit token is lost and the ring is not formed.
            return trace!(octets = frame.len(), "a control frame is too large to be sent");
        };
        for (index, octets) in (0..count).zip(frame.chunks(room)) {
            let part = self.build(|out| Part { id, index, count, octets }.encode(out));
            self.send(to, part);
        }
    }

    /// Takes a frame of the installed ring, if it is a member's, new and not absurdly far ahead.
    pub(super) fn take_regular(&mut self, regular: &Regular<'_>) {
        if !self.installed.has_node(regular.head.sender) || !self.installed.queue.wants(regular.head.seq) {
            return;
        }
        self.installed.high_seen = self.installed.high_seen.max(regular.head.seq);
        let frame = self.keep(regular.octets);
        self.installed.queue.insert(regular.head, frame);
    }

    /// Hands up what is next in the order and allowed: agreed frames at once, safe ones when everybody
    /// holds them.
    pub(super) fn deliver_ready(&mut self) {
        loop {
            let seq = self.installed.delivered.next();
            let Some(slot) = self.installed.queue.get(seq) else { return };
            if slot.head.guarantee == Guarantee::Safe && seq > self.installed.stable {
                return;
            }
            self.deliver(seq);
        }
    }

    /// Hands up the frame at `seq`, if it is here.
    pub(super) fn deliver(&mut self, seq: Seq) {
        let Some(slot) = self.installed.queue.get(seq) else { return };
        let (sender, guarantee) = (slot.head.sender, slot.head.guarantee);
        for entry in Entries::new(&slot.head, &slot.frame) {
            let message = match entry.fragment {
                None => Some(slot.frame.slice_ref(entry.octets)),
                Some(fragment) => self.assembler.push(sender, fragment, entry.octets),
            };
            if let Some(message) = message {
                self.outputs.push_back(Output::Deliver(Delivery { sender, guarantee, message }));
            }
        }
        self.installed.delivered = seq;
    }

    /// Whether the frame at `seq` is here and asks to be everywhere before it is delivered.
    pub(super) fn is_safe(&self, seq: Seq) -> bool {
        self.installed.queue.get(seq).is_some_and(|slot| slot.head.guarantee == Guarantee::Safe)
    }

    pub(super) fn configure(&mut self, configuration: Configuration) {
        self.outputs.push_back(Output::Configure(configuration));
    }
}

/// splitmix64 (Steele et al. 2014), the upper half of each step.
fn next_random(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 32) as u32
}
