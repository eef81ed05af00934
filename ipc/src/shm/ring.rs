//! One ring: chunks in, chunks out, one writer and one reader in different processes.
//!
//! The peer may write anything anywhere at any time. Each side therefore keeps the index that it
//! owns and the size of the ring to itself, reads each of the peer's numbers once, checks it, and
//! copies a chunk out before anybody looks at it. Nonsense costs the peer its connection.

use std::sync::atomic::{Ordering, fence};

use bytes::{Bytes, BytesMut};

use super::{
    layout::{
        CHUNK_HEADER_WORDS, CHUNK_MARGIN_BYTES, MAGIC_COMMITTED, MAGIC_CONSUMED, MAGIC_RESERVED, READ_INDEX,
        WORDS, WRITE_INDEX,
    },
    map::Area,
    semaphore::{Semaphore, Wait},
};
use crate::message::{Encode, MESSAGE_BYTES_MAX, Sink};

/// What is wrong with a ring: the peer's doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RingError {
    /// Its files were cut.
    #[error("the ring's files were cut")]
    Truncated,
    /// An index outside the ring.
    #[error("index {index} in a ring of {words} words")]
    Index {
        /// The index.
        index: u32,
        /// The ring's size.
        words: u32,
    },
    /// A chunk that was counted but is not committed.
    #[error("chunk with magic {magic:#010x}")]
    Magic {
        /// What stands there.
        magic: u32,
    },
    /// A chunk that is longer than what was written, or than a message can be.
    #[error("chunk of {bytes} octets where {max} can be")]
    Length {
        /// What the chunk says.
        bytes: u32,
        /// What is possible.
        max: usize,
    },
}

/// Why nothing was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WriteError {
    /// No room; the peer has not read enough yet.
    Full,
    /// The ring is broken.
    Broken(RingError),
}

/// The end that takes chunks out.
#[derive(Debug)]
pub(super) struct Reader {
    header: Area,
    data: Area,
    next: u32,
}

impl Reader {
    /// The reading end of a fresh ring.
    pub(super) fn new(header: Area, data: Area) -> Self {
        Self { header, data, next: 0 }
    }

    /// Takes the oldest chunk out, if there is one, copying it once, to the end of `pool`.
    pub(super) fn read(&mut self, pool: &mut BytesMut) -> Result<Option<Bytes>, RingError> {
        if Semaphore::of(&self.header).try_take() {
            self.take(pool).map(Some)
        } else if self.header.is_broken() {
            Err(RingError::Truncated)
        } else {
            Ok(None)
        }
    }

    /// As [`Self::read`], but waits for a chunk.
    pub(super) fn wait(
        &mut self,
        pool: &mut BytesMut,
        timeout: std::time::Duration,
    ) -> Result<Option<Bytes>, RingError> {
        match Semaphore::of(&self.header).take(timeout) {
            Wait::Taken => self.take(pool).map(Some),
            Wait::TimedOut if self.header.is_broken() => Err(RingError::Truncated),
            Wait::TimedOut => Ok(None),
        }
    }

    fn take(&mut self, pool: &mut BytesMut) -> Result<Bytes, RingError> {
        let chunk = self.next;
        let length = word(&self.data, chunk);
        let state = word(&self.data, wrap(chunk + 1));
        let magic = state.load(Ordering::Acquire);
        let bytes = length.load(Ordering::Relaxed);
        let write = self.header.u32(WRITE_INDEX).load(Ordering::Acquire);
        if self.header.is_broken() {
            return Err(RingError::Truncated);
        }
        if magic != MAGIC_COMMITTED {
            return Err(RingError::Magic { magic });
        }
        let next = self.end_of_chunk(bytes, write)?;
        let payload = self.copy_out(wrap(chunk + CHUNK_HEADER_WORDS), bytes as usize, pool);
        // Cleared before the writer may use the words again.
        length.store(0, Ordering::Relaxed);
        state.store(MAGIC_CONSUMED, Ordering::Release);
        self.header.u32(READ_INDEX).store(next, Ordering::Release);
        self.next = next;
        if self.header.is_broken() { Err(RingError::Truncated) } else { Ok(payload) }
    }

    /// Where the chunk of this length ends, if it lies in what was written.
    fn end_of_chunk(&self, bytes: u32, write: u32) -> Result<u32, RingError> {
        if write >= WORDS {
            return Err(RingError::Index { index: write, words: WORDS });
        }
        let written = match (write + WORDS - self.next) % WORDS {
            0 => WORDS,
            some => some,
        };
        let room = (written.saturating_sub(CHUNK_HEADER_WORDS) as usize * 4).min(MESSAGE_BYTES_MAX);
        if bytes as usize > room {
            return Err(RingError::Length { bytes, max: room });
        }
        Ok(wrap(self.next + CHUNK_HEADER_WORDS + bytes.div_ceil(4)))
    }

    fn copy_out(&self, start: u32, bytes: usize, pool: &mut BytesMut) -> Bytes {
        let start = start as usize * 4;
        let first = bytes.min(self.data.bytes() - start);
        pool.clear();
        if pool.capacity() < bytes {
            pool.reserve(bytes.max(POOL_BYTES));
        }
        let spare = pool.spare_capacity_mut();
        self.data.copy_out(start, &mut spare[..first]);
        self.data.copy_out(0, &mut spare[first..bytes]);
        // SAFETY: the pool was empty, and its first `bytes` octets were just filled in.
        unsafe { pool.set_len(bytes) };
        pool.split().freeze()
    }
}

/// The end that puts chunks in.
#[derive(Debug)]
pub(super) struct Writer {
    header: Area,
    data: Area,
    next: u32,
}

impl Writer {
    /// The writing end of a fresh ring.
    pub(super) fn new(header: Area, data: Area) -> Self {
        Self { header, data, next: 0 }
    }

    /// Writes a message as one chunk and posts the semaphore. Octets are copied once, into the ring.
    pub(super) fn write(&mut self, message: &(impl Encode + ?Sized)) -> Result<(), WriteError> {
        let bytes = message.encoded_bytes();
        assert!(bytes <= MESSAGE_BYTES_MAX, "callers check the size of what they send");
        if self.free_bytes().map_err(WriteError::Broken)? < bytes + CHUNK_MARGIN_BYTES {
            return Err(WriteError::Full);
        }
        let chunk = self.next;
        let length = word(&self.data, chunk);
        let state = word(&self.data, wrap(chunk + 1));
        length.store(0, Ordering::Relaxed);
        state.store(MAGIC_RESERVED, Ordering::Relaxed);
        let position = wrap(chunk + CHUNK_HEADER_WORDS) as usize * 4;
        let mut filling = Filling { data: &self.data, position, left: bytes };
        message.encode(&mut filling);
        assert_eq!(filling.left, 0, "a message is as long as it says");
        length.store(bytes as u32, Ordering::Relaxed);
        self.next = wrap(chunk + CHUNK_HEADER_WORDS + bytes.div_ceil(4) as u32);
        self.header.u32(WRITE_INDEX).store(self.next, Ordering::Release);
        fence(Ordering::Release);
        state.store(MAGIC_COMMITTED, Ordering::Release);
        Semaphore::of(&self.header).post();
        if self.header.is_broken() { Err(WriteError::Broken(RingError::Truncated)) } else { Ok(()) }
    }

    fn free_bytes(&self) -> Result<usize, RingError> {
        let read = self.header.u32(READ_INDEX).load(Ordering::Acquire);
        if self.header.is_broken() {
            return Err(RingError::Truncated);
        }
        if read >= WORDS {
            return Err(RingError::Index { index: read, words: WORDS });
        }
        let words = match (read + WORDS - self.next) % WORDS {
            0 if Semaphore::of(&self.header).count() == 0 => WORDS,
            // The reader has counted its last chunk down, but not yet moved on.
            0 => 0,
            some => some - 1,
        };
        Ok(words as usize * 4)
    }
}

/// A chunk that is being written.
struct Filling<'a> {
    data: &'a Area,
    position: usize,
    left: usize,
}

impl Sink for Filling<'_> {
    fn put(&mut self, octets: &[u8]) {
        assert!(octets.len() <= self.left, "a message is as long as it says");
        self.left -= octets.len();
        let (first, second) = octets.split_at(octets.len().min(self.data.bytes() - self.position));
        self.data.copy_in(self.position, first);
        self.data.copy_in(0, second);
        self.position = (self.position + octets.len()) % self.data.bytes();
    }
}

fn word(data: &Area, index: u32) -> &std::sync::atomic::AtomicU32 {
    data.u32(index as usize * 4)
}

fn wrap(index: u32) -> u32 {
    index % WORDS
}

/// How much memory for small requests is taken at a time. Slices of it live as long as the messages.
const POOL_BYTES: usize = 256 * 1024;
