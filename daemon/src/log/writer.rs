//! The thread that writes lines, and the bounded way to it.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Takes finished lines. Never waits.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

/// Writes out what is left when it is dropped, for [`FLUSH_MAX`] at the most.
#[derive(Debug)]
pub(crate) struct Flush {
    orders: SyncSender<Order>,
}

#[derive(Debug)]
enum Order {
    Line(Box<[u8]>),
    /// Say so when everything before this is written.
    Flush(SyncSender<()>),
}

/// Lines that may wait.
const LINES_MAX: usize = 4096;

/// How long the end of the daemon may be held up by a stream that nobody reads.
const FLUSH_MAX: Duration = Duration::from_millis(500);

impl Writer {
    /// A thread that writes to `stream`. `warn` begins the line that tells how many lines were dropped.
    pub(super) fn start(stream: impl Write + Send + 'static, warn: String) -> io::Result<(Self, Flush)> {
        let (orders, queue) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(stream, &queue, &counter, &warn))?;
        Ok((Self { orders: orders.clone(), lost }, Flush { orders }))
    }
}

fn write_lines(mut stream: impl Write, queue: &Receiver<Order>, lost: &AtomicU64, warn: &str) {
    for order in queue {
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(stream, "{warn}log: lines were dropped because nobody took them lost={count}");
        }
        match order {
            Order::Line(line) => {
                // Who else could be told that the log cannot be written?
                let _ = stream.write_all(&line);
            }
            Order::Flush(done) => {
                let _ = stream.flush();
                let _ = done.try_send(());
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// What tracing-subscriber writes a line into: it does so in one piece.
#[derive(Debug)]
pub(super) struct LineWriter<'a>(&'a Writer);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.orders.try_send(Order::Line(line.into())).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, finished) = sync_channel(1);
        let mut order = Order::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.orders.try_send(order) {
            if Instant::now() >= deadline {
                return;
            }
            order = refused;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = finished.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// A stream that takes what it is allowed to take, and passes it on.
    struct Gate {
        open: Receiver<()>,
        taken: std::sync::mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            // Once nobody holds the other end, everything passes.
            let _ = self.open.recv();
            let _ = self.taken.send(String::from_utf8_lossy(octets).into_owned());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_stream_costs_lines_but_never_time_of_the_caller() {
        let (release, open) = channel();
        let (taken, lines) = channel();
        let (writer, flush) = Writer::start(Gate { open, taken }, "<4>".to_owned()).expect("a thread");
        // Nobody takes anything: this loop ends only if no write waits.
        for number in 0..2 * LINES_MAX {
            let line = format!("{number}\n");
            writer.make_writer().write_all(line.as_bytes()).expect("never refused");
        }
        drop(release);
        // As a flush does, but without its limit of time.
        let (done, finished) = sync_channel(1);
        flush.orders.send(Order::Flush(done)).expect("the thread runs");
        finished.recv().expect("the thread runs");
        let lines: String = lines.try_iter().collect();
        assert!(lines.lines().any(|line| line == "0"), "the first lines are kept");
        let lost = lines.lines().filter_map(|line| line.split_once("lost=")?.1.parse::<usize>().ok());
        // One line may be in the hands of the thread while the queue fills up.
        let lost: usize = lost.sum();
        assert!((LINES_MAX - 1..=LINES_MAX).contains(&lost), "{lost}");
    }
}
