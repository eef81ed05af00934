//! Both ends of a ring in one process, through two mappings of the same files.

use std::{
    os::unix::process::ExitStatusExt,
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::{
    layout::{MAGIC_COMMITTED, READ_INDEX, SEMAPHORE, WRITE_INDEX},
    *,
};
use crate::message::MESSAGE_BYTES_MAX;

struct Files {
    header: OwnedFd,
    data: OwnedFd,
}

impl Files {
    fn new() -> Self {
        let file = |bytes: usize| {
            let file = memfd_create("ring", MemfdFlags::CLOEXEC).expect("memory");
            ftruncate(&file, bytes as u64).expect("memory");
            file
        };
        let files = Self { header: file(HEADER_FILE_BYTES), data: file(DATA_FILE_BYTES) };
        Semaphore::of(&files.map()[0]).initialize();
        files
    }

    fn map(&self) -> [Area; 2] {
        Area::map([(self.header.as_fd(), HEADER_FILE_BYTES), (self.data.as_fd(), DATA_FILE_BYTES)])
            .expect("mapped")
    }
}

fn ends() -> (Files, Writer, Reader) {
    let files = Files::new();
    let (writer, reader) = (writer(files.map()), reader(files.map()));
    (files, writer, reader)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place * 7 + bytes) as u8).collect()
}

#[test]
fn chunks_of_all_sizes_go_round_the_ring_many_times() {
    let (_files, mut writer, mut reader) = ends();
    let mut pool = BytesMut::new();
    // Sizes that are no divisors of the ring, so that every field of a chunk crosses the end sometimes.
    for round in 0..2000_usize {
        let bytes = (round * round * 37) % 20_011;
        writer.write(&pattern(bytes)[..]).expect("room");
        let chunk = reader.read(&mut pool).expect("whole").expect("there");
        assert!(chunk[..] == pattern(bytes)[..], "{bytes} octets in round {round}");
        assert_eq!(reader.read(&mut pool), Ok(None));
    }
}

#[test]
fn chunk_headers_may_lie_across_the_end() {
    let (files, mut writer, mut reader) = ends();
    let [header, data] = files.map();
    let mut pool = BytesMut::new();
    // Leaves one word at the end, so that the next chunk's length and magic are apart.
    let mut left = WORDS - 1;
    while left > 0 {
        let words = left.min(200_000);
        writer.write(&vec![1; (words - 2) as usize * 4][..]).expect("room");
        reader.read(&mut pool).expect("whole").expect("there");
        left -= words;
    }
    assert_eq!(header.u32(WRITE_INDEX).load(Ordering::Relaxed), WORDS - 1);
    writer.write(&pattern(10)[..]).expect("room");
    assert_eq!(data.u32((WORDS as usize - 1) * 4).load(Ordering::Relaxed), 10);
    assert_eq!(data.u32(0).load(Ordering::Relaxed), MAGIC_COMMITTED);
    assert_eq!(header.u32(WRITE_INDEX).load(Ordering::Relaxed), 4);
    assert_eq!(reader.read(&mut pool).expect("whole").expect("there"), pattern(10));
}

#[test]
fn a_full_ring_takes_nothing_more_and_keeps_what_it_has() {
    let (_files, mut writer, mut reader) = ends();
    let mut pool = BytesMut::new();
    writer.write(&pattern(MESSAGE_BYTES_MAX)[..]).expect("one of the largest fits");
    assert_eq!(writer.write(&pattern(MESSAGE_BYTES_MAX)[..]), Err(WriteError::Full));
    assert!(reader.read(&mut pool).expect("whole").expect("there") == pattern(MESSAGE_BYTES_MAX));

    let mut written = 0_u32;
    while writer.write(&written.to_le_bytes()[..]).is_ok() {
        written += 1;
    }
    // Three words each; the last one needs four free, and one word is never used.
    assert_eq!(written, (WORDS - 5) / 3 + 1);
    for number in 0..written {
        assert_eq!(reader.read(&mut pool).expect("whole").expect("there"), number.to_le_bytes()[..]);
    }
    assert_eq!(reader.read(&mut pool), Ok(None));
}

#[test]
fn a_waiting_reader_is_woken_and_counts_stay_right() {
    let (files, mut writer, mut reader) = ends();
    const MESSAGES: u32 = 20_000;
    let sender = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            let mut message = pattern(4 + (number as usize * 13) % 3000);
            message[..4].copy_from_slice(&number.to_le_bytes());
            while writer.write(&message[..]) == Err(WriteError::Full) {
                std::thread::yield_now();
            }
        }
    });
    let mut pool = BytesMut::new();
    for number in 0..MESSAGES {
        let chunk = reader.wait(&mut pool, Duration::from_secs(10)).expect("whole").expect("there");
        assert_eq!(chunk.len(), 4 + (number as usize * 13) % 3000);
        assert_eq!(chunk[..4], number.to_le_bytes());
    }
    sender.join().expect("it ends");
    // Nobody waits and nothing is counted any more.
    assert_eq!(files.map()[0].u64(SEMAPHORE).load(Ordering::Relaxed), 0);
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let (files, _writer, mut reader) = ends();
    let start = Instant::now();
    assert_eq!(reader.wait(&mut BytesMut::new(), Duration::from_millis(20)), Ok(None));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(files.map()[0].u64(SEMAPHORE).load(Ordering::Relaxed), 0, "no waiter is left");
}

#[test]
fn nonsense_in_shared_memory_is_an_error() {
    type Spoil = fn(&Area, &Area);
    let cases: [(Spoil, RingError); 5] = [
        (|_, data| data.u32(0).store(9, Ordering::Relaxed), RingError::Length { bytes: 9, max: 8 }),
        (
            |_, data| data.u32(0).store(u32::MAX, Ordering::Relaxed),
            RingError::Length { bytes: u32::MAX, max: 8 },
        ),
        (|_, data| data.u32(4).store(7, Ordering::Relaxed), RingError::Magic { magic: 7 }),
        (
            |header, _| header.u32(WRITE_INDEX).store(WORDS, Ordering::Relaxed),
            RingError::Index { index: WORDS, words: WORDS },
        ),
        (
            |header, _| header.u32(WRITE_INDEX).store(u32::MAX, Ordering::Relaxed),
            RingError::Index { index: u32::MAX, words: WORDS },
        ),
    ];
    for (spoil, expected) in cases {
        let (files, mut writer, mut reader) = ends();
        writer.write(&[1; 8][..]).expect("room");
        let [header, data] = files.map();
        spoil(&header, &data);
        assert_eq!(reader.read(&mut BytesMut::new()), Err(expected));
    }

    // More counted than written.
    let (files, _writer, mut reader) = ends();
    files.map()[0].u64(SEMAPHORE).store(u64::MAX, Ordering::Relaxed);
    assert_eq!(reader.read(&mut BytesMut::new()), Err(RingError::Magic { magic: 0 }));

    // The reader's index as the writer sees it.
    let (files, mut writer, _reader) = ends();
    files.map()[0].u32(READ_INDEX).store(WORDS + 5, Ordering::Relaxed);
    let error = RingError::Index { index: WORDS + 5, words: WORDS };
    assert_eq!(writer.write(&[1; 8][..]), Err(WriteError::Broken(error)));
}

#[test]
fn our_own_indexes_are_not_read_back() {
    let (files, mut writer, mut reader) = ends();
    let mut pool = BytesMut::new();
    for number in 0..100_u32 {
        writer.write(&number.to_le_bytes()[..]).expect("room");
        assert_eq!(reader.read(&mut pool).expect("whole").expect("there"), number.to_le_bytes()[..]);
        // What the peers would spoil: the reader's index for the reader, the size of the ring for both.
        files.map()[0].u32(WORD_COUNT).store(1, Ordering::Relaxed);
    }
}

#[test]
fn a_file_that_is_cut_breaks_its_ring_and_nothing_else() {
    for (cut_header, bytes) in [(true, 0), (true, 4096), (false, 0), (false, 4096)] {
        let (files, mut writer, mut reader) = ends();
        let (_other_files, mut other_writer, mut other_reader) = ends();
        let large = vec![1; 100_000];
        writer.write(&large[..]).expect("room");
        let file = if cut_header { &files.header } else { &files.data };
        ftruncate(file, bytes).expect("cut");
        let mut pool = BytesMut::new();
        assert_eq!(reader.read(&mut pool), Err(RingError::Truncated));
        assert_eq!(reader.read(&mut pool), Err(RingError::Truncated), "for good");
        // What is left of the other file may still be written to, until the cut is noticed.
        let broken =
            (0..20).any(|_| writer.write(&large[..]) == Err(WriteError::Broken(RingError::Truncated)));
        assert!(broken, "the writer notices as well");
        other_writer.write(&large[..]).expect("room");
        assert!(other_reader.read(&mut pool).expect("whole").expect("there") == large);
    }
}

#[test]
fn a_fault_that_is_not_ours_still_kills() {
    const INSIDE: &str = "IPC_TEST_FAULT";
    if std::env::var_os(INSIDE).is_some() {
        // The handler is in force from the first mapping on.
        let _ends = ends();
        let file = memfd_create("other", MemfdFlags::CLOEXEC).expect("memory");
        // SAFETY: a new mapping at a place that the kernel chooses.
        let place = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                4096,
                rustix::mm::ProtFlags::READ,
                rustix::mm::MapFlags::SHARED,
                &file,
                0,
            )
        };
        // SAFETY: mapped just now; the fault is what the test is about.
        let _ = unsafe { place.expect("mapped").cast::<u8>().read_volatile() };
        return;
    }
    let program = std::env::current_exe().expect("a path");
    let status = Command::new(program)
        .args(["--exact", "shm::tests::a_fault_that_is_not_ours_still_kills"])
        .env(INSIDE, "1")
        .stdout(std::process::Stdio::null())
        .status()
        .expect("it runs");
    assert_eq!(status.signal(), Some(libc::SIGBUS));
}
