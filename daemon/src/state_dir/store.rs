//! Writes the ring sequence off the loop.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use protocol::RingSeq;
use tokio::sync::mpsc;

use super::{RESERVE, StateDir};

/// Answers "is this ring sequence on stable storage?" without ever waiting for the disk.
///
/// A failed write is repeated every [`RETRY`] until it succeeds. Until then no ring with a sequence
/// above the mark can form; a ring that stands is not touched.
#[derive(Debug)]
pub(crate) struct RingSeqStore {
    /// Everything up to here is on stable storage.
    mark: RingSeq,
    /// What the thread was last asked to make the mark.
    requested: RingSeq,
    /// Sequences above the mark that somebody waits for, in the order in which they were asked.
    waiting: Vec<RingSeq>,
    jobs: SyncSender<RingSeq>,
    outcomes: mpsc::Receiver<Result<RingSeq, io::Error>>,
}

/// A write failed; it will be repeated.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct StoreFailed(#[from] io::Error);

/// Time between two attempts to write.
const RETRY: Duration = Duration::from_secs(1);

/// How many sequences may wait. The ring asks for one at a time, so only what it gave up adds to that;
/// when there are more, the oldest is forgotten.
const WAITING_MAX: usize = 16;

impl RingSeqStore {
    /// Starts the thread and lets it reserve sequences above `stored`, which the disk holds.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start(directory: StateDir, stored: RingSeq) -> io::Result<Self> {
        let write = move |mark| directory.store(mark);
        Self::start_with(write, stored, RETRY)
    }

    fn start_with(
        write: impl Fn(RingSeq) -> io::Result<()> + Send + 'static,
        stored: RingSeq,
        retry: Duration,
    ) -> io::Result<Self> {
        let (jobs, orders) = sync_channel(WAITING_MAX);
        let (done, outcomes) = mpsc::channel(1);
        thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || write_marks(&write, &orders, &done, retry))?;
        let mut this = Self { mark: stored, requested: stored, waiting: Vec::new(), jobs, outcomes };
        this.reserve_above(stored);
        Ok(this)
    }

    /// Is `seq` on stable storage? If not, it will be; [`poll_stored`](Self::poll_stored) says when.
    #[must_use = "`false` means that the caller has to wait"]
    pub(crate) fn request(&mut self, seq: RingSeq) -> bool {
        if seq <= self.mark {
            return true;
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.remove(0);
        }
        self.waiting.push(seq);
        self.reserve_above(seq);
        false
    }

    /// What is waited for.
    pub(crate) fn waiting(&self) -> Option<RingSeq> {
        self.waiting.last().copied()
    }

    /// The sequences that were waited for and are stable now, or why they are not yet.
    pub(crate) fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<RingSeq>, StoreFailed>> {
        match self.outcomes.poll_recv(cx) {
            Poll::Ready(Some(Ok(mark))) => {
                self.mark = self.mark.max(mark);
                // A request that did not fit into the channel.
                if let Some(&unmet) = self.waiting.iter().max().filter(|&&seq| seq > self.mark) {
                    self.reserve_above(unmet);
                }
                Poll::Ready(Ok(self.waiting.extract_if(.., |seq| *seq <= self.mark).collect()))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(StoreFailed(error))),
            // The thread ends only after this value is dropped.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn reserve_above(&mut self, seq: RingSeq) {
        let mark = RingSeq(seq.0.saturating_add(RESERVE));
        if seq >= self.requested && self.jobs.try_send(mark).is_ok() {
            self.requested = mark;
        }
    }
}

/// The thread: writes the highest mark it was asked for, until it is written.
fn write_marks(
    write: &dyn Fn(RingSeq) -> io::Result<()>,
    orders: &Receiver<RingSeq>,
    done: &mpsc::Sender<Result<RingSeq, io::Error>>,
    retry: Duration,
) {
    while let Ok(mut mark) = orders.recv() {
        loop {
            mark = orders.try_iter().fold(mark, RingSeq::max);
            let outcome = write(mark).map(|()| mark);
            let written = outcome.is_ok();
            if done.blocking_send(outcome).is_err() {
                return;
            }
            if written {
                break;
            }
            match orders.recv_timeout(retry) {
                Ok(newer) => mark = mark.max(newer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
    };

    use super::*;

    /// A disk that can be full, and what it holds.
    #[derive(Debug, Default)]
    struct Disk {
        full: AtomicBool,
        mark: AtomicU64,
        writes: AtomicU64,
    }

    fn start(disk: &Arc<Disk>, stored: u64) -> RingSeqStore {
        let disk = Arc::clone(disk);
        let write = move |mark: RingSeq| {
            if disk.full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.writes.fetch_add(1, Ordering::SeqCst);
            disk.mark.store(mark.0, Ordering::SeqCst);
            Ok(())
        };
        RingSeqStore::start_with(write, RingSeq(stored), Duration::from_millis(1)).expect("a thread")
    }

    async fn stored(store: &mut RingSeqStore) -> Result<Vec<RingSeq>, StoreFailed> {
        poll_fn(|cx| store.poll_stored(cx)).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_block_is_reserved_at_the_start_and_used_without_the_disk() {
        let disk = Arc::new(Disk::default());
        let mut store = start(&disk, 100);
        assert_eq!(stored(&mut store).await.expect("written"), []);
        for seq in 101..=100 + RESERVE {
            assert!(store.request(RingSeq(seq)));
        }
        assert_eq!(disk.writes.load(Ordering::SeqCst), 1);
        assert!(!store.request(RingSeq(101 + RESERVE)), "above the mark");
        assert_eq!(stored(&mut store).await.expect("written"), [RingSeq(101 + RESERVE)]);
        assert_eq!(disk.mark.load(Ordering::SeqCst), 101 + 2 * RESERVE);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_sequence_waits_until_a_full_disk_has_room_again() {
        let disk = Arc::new(Disk::default());
        disk.full.store(true, Ordering::SeqCst);
        let mut store = start(&disk, 0);
        assert!(!store.request(RingSeq(4)));
        for _ in 0..3 {
            assert!(stored(&mut store).await.is_err());
        }
        assert_eq!(store.waiting(), Some(RingSeq(4)));
        disk.full.store(false, Ordering::SeqCst);
        let answer = loop {
            if let Ok(answer) = stored(&mut store).await {
                break answer;
            }
        };
        assert_eq!(answer, [RingSeq(4)]);
        assert!(disk.mark.load(Ordering::SeqCst) >= 4);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn sequences_the_ring_gave_up_do_not_pile_up() {
        let disk = Arc::new(Disk::default());
        disk.full.store(true, Ordering::SeqCst);
        let mut store = start(&disk, 0);
        for round in 1..1000 {
            assert!(!store.request(RingSeq(round * RESERVE * 2)));
        }
        assert_eq!(store.waiting.len(), WAITING_MAX);
        disk.full.store(false, Ordering::SeqCst);
        let mut answered = Vec::new();
        while answered.last() != Some(&RingSeq(999 * RESERVE * 2)) {
            answered.extend(stored(&mut store).await.unwrap_or_default());
        }
        assert!(disk.mark.load(Ordering::SeqCst) >= 999 * RESERVE * 2);
    }
}
