//! What a line looks like.

use std::fmt;

use config::Timestamp;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// `2026-11-20T12:03:18.123Z  INFO ring: entering GATHER ring.seq=4`, or for those who keep time
/// themselves, `<6>ring: entering GATHER ring.seq=4`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) stamp: Stamp,
}

/// How a line begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stamp {
    /// Time and level.
    Time(Timestamp),
    /// The level alone, as a priority in angle brackets (sd-daemon(3)).
    Priority,
    /// Facility and priority in angle brackets, name and process (RFC 3164, section 4.1).
    Syslog,
}

/// syslog's number for daemons, in the place where it is added to the priority.
const FACILITY_DAEMON: u8 = 3 << 3;

impl Stamp {
    /// How a warning begins that is made outside of tracing.
    pub(super) fn warn(self) -> String {
        let mut line = String::new();
        // A String takes everything.
        let _ = self.write(Level::WARN, &mut Writer::new(&mut line));
        line
    }

    fn write(self, level: Level, line: &mut Writer<'_>) -> fmt::Result {
        match self {
            Self::Time(timestamp) => {
                write_time(timestamp, line)?;
                write!(line, "{level:>5} ")
            }
            Self::Priority => write!(line, "<{}>", priority(level)),
            Self::Syslog => {
                write!(line, "<{}>corosync[{}]: ", FACILITY_DAEMON | priority(level), std::process::id())
            }
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        self.stamp.write(*meta.level(), &mut line)?;
        write!(line, "{}: ", area(meta.target()))?;
        let mut fields = String::new();
        ctx.format_fields(Writer::new(&mut fields), event)?;
        escape(&fields, &mut line)?;
        writeln!(line)
    }
}

/// UTC, cut to what the settings ask for.
fn write_time(timestamp: Timestamp, line: &mut Writer<'_>) -> fmt::Result {
    let chars = match timestamp {
        Timestamp::Off => return Ok(()),
        Timestamp::On => "2026-11-20T12:03:18".len(),
        Timestamp::Hires => "2026-11-20T12:03:18.123".len(),
    };
    let mut micros = String::new();
    SystemTime.format_time(&mut Writer::new(&mut micros))?;
    write!(line, "{}Z ", micros.get(..chars).unwrap_or(&micros))
}

/// The part of the program that speaks: the module, without what encloses it.
fn area(target: &str) -> &str {
    target.rsplit("::").next().unwrap_or(target)
}

/// syslog's priority.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Names come from clients and peers. None of them may begin a line of its own or steer a terminal.
fn escape(text: &str, line: &mut Writer<'_>) -> fmt::Result {
    for part in text.split_inclusive(char::is_control) {
        match part.char_indices().next_back() {
            Some((end, control)) if control.is_control() => {
                write!(line, "{}{}", part.get(..end).unwrap_or_default(), control.escape_default())?;
            }
            _ => line.write_str(part)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::Layer, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(stamp: Stamp, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let made = lines.clone();
        let layer = Layer::new().event_format(Line { stamp }).with_writer(move || lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        String::from_utf8(made.0.lock().expect("no panic while locked").clone()).expect("text")
    }

    #[test]
    fn lines_for_the_journal_carry_a_priority_and_no_time() {
        let lines = logged(Stamp::Priority, || {
            tracing::error!("one");
            tracing::warn!(node = 2, "two");
            tracing::info!(ring.seq = 4, "three");
            tracing::debug!("four");
        });
        assert_eq!(
            lines,
            "<3>tests: one\n<4>tests: two node=2\n<6>tests: three ring.seq=4\n<7>tests: four\n"
        );
    }

    #[test]
    fn lines_for_people_begin_with_the_time() {
        for (timestamp, len) in [(Timestamp::Off, 0), (Timestamp::On, 21), (Timestamp::Hires, 25)] {
            let line = logged(Stamp::Time(timestamp), || tracing::info!("up"));
            let (time, rest) = line.split_at(len);
            assert!(time.is_empty() || time.starts_with("20") && time.ends_with("Z "), "{line}");
            assert_eq!(rest, " INFO tests: up\n");
        }
    }

    #[test]
    fn lines_for_syslog_name_the_program() {
        let line = logged(Stamp::Syslog, || tracing::info!("up"));
        assert_eq!(line, format!("<30>corosync[{}]: tests: up\n", std::process::id()));
    }

    #[test]
    fn nothing_that_a_client_says_can_forge_a_line() {
        let name = "a\n<0>forged\u{1b}[2J\r\u{7f}";
        let line = logged(Stamp::Priority, || tracing::info!(group = %name, "joined"));
        assert_eq!(line, "<6>tests: joined group=a\\n<0>forged\\u{1b}[2J\\r\\u{7f}\n");
    }
}
