//! Log lines: to the standard error stream, to the journal or to syslog, without ever waiting for
//! whoever reads them.
//!
//! Lines are made where the event happens and written by a thread of their own. Between the two stands
//! a bounded queue: when the terminal, the pipe or the journal does not take more, lines are dropped
//! and counted, and the cluster goes on.

mod format;
mod limit;
mod writer;

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixDatagram},
};

use config::{LogLevel, LoggingSettings};
use tracing_subscriber::{EnvFilter, fmt::Layer, layer::SubscriberExt, util::SubscriberInitExt};

use self::{
    format::{Line, Stamp},
    writer::Writer,
};
pub(crate) use self::{limit::Limiter, writer::Flush};

/// Overrides the configured level; directives as in `RUST_LOG`, for example `debug` or
/// `info,protocol::ring=trace`.
const LOG_ENV: &str = "COROSYNC_LOG";

/// Where syslog listens (syslog(3)).
const SYSLOG_SOCKET: &str = "/dev/log";

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The thread that writes the lines cannot be started.
    #[error("the log cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// A second log in one process.
    #[error("the log cannot be started: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging. What is returned writes out what is left when it is dropped.
///
/// # Errors
///
/// If a thread cannot be started, or logging was started before.
pub(crate) fn start(settings: &LoggingSettings) -> Result<Vec<Flush>, LogError> {
    let (mut layers, mut flushes) = (Vec::new(), Vec::new());
    let mut open = |stream: Box<dyn Write + Send>, stamp: Stamp| -> io::Result<()> {
        let (writer, flush) = Writer::start(stream, stamp.warn())?;
        layers.push(Layer::new().event_format(Line { stamp }).with_writer(writer));
        flushes.push(flush);
        Ok(())
    };
    let mut lost = false;
    if is_journal(io::stderr()) {
        if settings.to_stderr || settings.to_syslog {
            open(Box::new(io::stderr()), Stamp::Priority)?;
        }
    } else {
        if settings.to_stderr {
            open(Box::new(io::stderr()), Stamp::Time(settings.timestamp))?;
        }
        if settings.to_syslog {
            match syslog() {
                Ok(syslog) => open(Box::new(syslog), Stamp::Syslog)?,
                Err(_) => lost = true,
            }
        }
    }
    tracing_subscriber::registry().with(filter(settings.level)).with(layers).try_init()?;
    if lost {
        tracing::warn!(socket = SYSLOG_SOCKET, "nothing is logged to syslog: it does not listen");
    }
    Ok(flushes)
}

fn filter(level: LogLevel) -> EnvFilter {
    let overriding = std::env::var(LOG_ENV).ok().filter(|directives| !directives.is_empty());
    EnvFilter::builder().parse_lossy(overriding.as_deref().unwrap_or(match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }))
}

/// Whether `stream` goes to the journal: systemd names it by device and inode (systemd.exec(5)).
fn is_journal(stream: impl AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn syslog() -> io::Result<Syslog> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG_SOCKET)?;
    Ok(Syslog(socket))
}

/// A datagram for each line.
#[derive(Debug)]
struct Syslog(UnixDatagram);

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.send(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
