//! Files mapped into memory that somebody else may write to and cut at any time.
//!
//! [`Area`] is the only way to that memory, and it is safe: it checks bounds against its own
//! numbers, hands out atomics, and copies. It never makes a reference to plain octets there.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
};

use rustix::mm::{MapFlags, ProtFlags};

use super::fault::Listed;

/// One mapped file, or the part of it that we use.
#[derive(Clone, Debug)]
pub(super) struct Area {
    map: Arc<Map>,
    offset: usize,
    bytes: usize,
}

impl Area {
    /// Maps these files, each with this many octets, next to each other; a fault in one of them
    /// breaks all.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub(super) fn map<const N: usize>(files: [(BorrowedFd<'_>, usize); N]) -> io::Result<[Self; N]> {
        let mut end = 0;
        let places = files.map(|(_, bytes)| {
            let offset = end;
            end += bytes.next_multiple_of(rustix::param::page_size());
            (offset, bytes)
        });
        let map = Arc::new(Map::reserve(end)?);
        for ((file, _), (offset, bytes)) in files.iter().zip(places) {
            map.place(*file, offset, bytes)?;
        }
        Ok(places.map(|(offset, bytes)| Self { map: Arc::clone(&map), offset, bytes }))
    }

    /// Whether a file was cut since it was mapped; whatever was read is worth nothing then.
    pub(super) fn is_broken(&self) -> bool {
        self.map.listed.is_broken()
    }

    /// The word at this octet offset.
    pub(super) fn u32(&self, offset: usize) -> &AtomicU32 {
        let word = self.at(offset, 4).cast::<u32>();
        assert!(word.is_aligned(), "words are aligned");
        // SAFETY: `at` checked that the word lies in the mapping, which lives as long as `self`; it
        // is aligned. The peer may write at any time, hence an atomic.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }

    /// The double word at this octet offset.
    pub(super) fn u64(&self, offset: usize) -> &AtomicU64 {
        let word = self.at(offset, 8).cast::<u64>();
        assert!(word.is_aligned(), "double words are aligned");
        // SAFETY: as in `u32`. Nobody here uses its halves as atomics of their own; the kernel may.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }

    /// Copies `into.len()` octets out. What they are is the peer's choice, even while we copy.
    // Not inlined: the compiler must not see that the copy could be skipped and the shared memory
    // be read again.
    #[inline(never)]
    pub(super) fn copy_out(&self, offset: usize, into: &mut [MaybeUninit<u8>]) {
        let len = into.len();
        let from = self.at(offset, len);
        // SAFETY: `at` checked the source; the destination is ours alone and as long. A peer that
        // writes meanwhile can only change the values of octets, and every value is valid.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(into).cast(), len) };
    }

    /// Copies these octets in.
    #[inline(never)]
    pub(super) fn copy_in(&self, offset: usize, from: &[u8]) {
        let into = self.at(offset, from.len());
        // SAFETY: `at` checked the destination, to which there are no references; the source is
        // ours and no part of the mapping.
        unsafe { into.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
    }

    /// Octets that may be used.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where `len` octets at this offset lie. Offsets come from our own indexes, never unchecked
    /// from the peer.
    fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.bytes),
            "{len} octets at {offset} of {}",
            self.bytes
        );
        // SAFETY: the sum lies within the mapping: just checked against the area, and areas lie
        // within their map.
        unsafe { self.map.base.add(self.offset + offset) }
    }
}

/// A stretch of address space that files are mapped into.
#[derive(Debug)]
struct Map {
    base: NonNull<u8>,
    bytes: usize,
    listed: Listed,
}

// SAFETY: the memory is reached through atomics and copies only, which any thread may do; it is
// unmapped by the last owner.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn reserve(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses touches nothing of ours.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let start = base.as_ptr().expose_provenance();
        match Listed::new(start, start + bytes) {
            Ok(listed) => Ok(Self { base, bytes, listed }),
            Err(error) => {
                // SAFETY: mapped above, and nobody knows of it yet.
                let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), bytes) };
                Err(error)
            }
        }
    }

    fn place(&self, file: BorrowedFd<'_>, offset: usize, bytes: usize) -> io::Result<()> {
        assert!(offset + bytes <= self.bytes, "the file's place was reserved");
        // SAFETY: the place lies in what `reserve` mapped for this, and there are no areas yet.
        unsafe {
            rustix::mm::mmap(
                self.base.as_ptr().add(offset).cast(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::FIXED,
                file,
                0,
            )
        }?;
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // First, or a fault of somebody who gets the same addresses next would be taken for ours.
        self.listed.retire();
        // SAFETY: mapped by `reserve`; no area is left, so nobody uses it.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
