//! What is wrong with a configuration, and where.

use std::{collections::BTreeSet, fmt, sync::Arc};

/// A place in a file. Lines and columns count from one; columns count characters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but somebody should look at it.
    Warning,
}

/// One problem at one place. Prints as `file:line:column: message`, one line.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What, in lower case and without a full stop. Holds no control characters.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.place, self.message)
    }
}

/// Everything that is wrong with a configuration, sorted by place: at least one error, and the
/// warnings that came up beside it. Prints one line each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    /// The problems, sorted by place.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many problems there were beyond those that are listed.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            let end_of_line = if index == 0 { "" } else { "\n" };
            write!(f, "{end_of_line}{diagnostic}")?;
        }
        if let (Some(last), 1..) = (self.list.last(), self.left_out) {
            write!(f, "\n{}: and {} more problems", last.place, self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects problems while a configuration is read and checked.
#[derive(Debug, Default)]
pub(crate) struct Report {
    list: Vec<Diagnostic>,
    broken_lines: BTreeSet<(Arc<str>, usize)>,
    errors: usize,
    left_out: usize,
}

impl Report {
    /// Problems kept. A large file can hold tens of thousands; nobody reads them.
    pub(crate) const LEN_MAX: usize = 100;

    /// Notes an error. Ignored on a line whose syntax is broken: it would follow from that.
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.errors += 1;
        if !self.broken_lines.contains(&(place.file.clone(), place.line)) {
            self.push(place, Severity::Error, message.into());
        }
    }

    /// Notes a syntax error: the first of its line only, the others mostly follow from it. The
    /// message is asked for only if it is kept.
    pub(crate) fn syntax_error(&mut self, place: &Place, message: impl FnOnce() -> String) {
        self.errors += 1;
        if !self.broken_lines.insert((place.file.clone(), place.line)) {
            return;
        }
        let message = if self.is_full() { String::new() } else { message() };
        self.push(place, Severity::Error, message);
    }

    /// Notes something that does not keep the configuration from being used.
    pub(crate) fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.push(place, Severity::Warning, message.into());
    }

    /// Whether further problems are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= Self::LEN_MAX
    }

    /// Whether there was an error so far.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// What was noted, sorted by place; meant for a report without errors.
    pub(crate) fn warnings(mut self) -> Vec<Diagnostic> {
        self.list.sort();
        self.list
    }

    fn push(&mut self, place: &Place, severity: Severity, message: String) {
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        self.list.push(Diagnostic { place: place.clone(), severity, message: printable(&message) });
    }
}

impl From<Report> for Diagnostics {
    fn from(mut report: Report) -> Self {
        report.list.sort();
        Self { list: report.list, left_out: report.left_out }
    }
}

/// The message without control characters, which a file could smuggle to a terminal.
fn printable(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for character in message.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// A value from the file as a message quotes it: in full if it is short.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    if text.chars().nth(CHARS_MAX).is_none() {
        return format!("\"{text}\"");
    }
    format!("\"{}…\"", text.chars().take(CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, column: usize) -> Place {
        Place { file: "f".into(), line, column }
    }

    #[test]
    fn problems_come_out_sorted_by_place_one_a_line() {
        let mut report = Report::default();
        report.error(&place(3, 1), "c");
        report.warning(&place(2, 7), "b");
        report.error(&place(2, 5), "a\n\x1b[31m");
        let printed = Diagnostics::from(report).to_string();
        assert_eq!(printed, "f:2:5: a\\n\\u{1b}[31m\nf:2:7: warning: b\nf:3:1: c");
    }

    #[test]
    fn a_broken_line_is_reported_once() {
        let mut report = Report::default();
        report.syntax_error(&place(1, 3), || "broken".to_owned());
        report.syntax_error(&place(1, 9), || unreachable!("not asked for"));
        report.error(&place(1, 3), "of the wrong type");
        assert_eq!(Diagnostics::from(report).to_string(), "f:1:3: broken");
    }

    #[test]
    fn warnings_alone_are_no_failure() {
        let mut report = Report::default();
        report.warning(&place(1, 1), "look");
        assert!(!report.has_errors());
        assert_eq!(report.warnings().len(), 1);
    }

    #[test]
    fn more_problems_than_the_limit_are_counted() {
        let mut report = Report::default();
        for line in 0..Report::LEN_MAX + 5 {
            report.error(&place(line, 1), "x");
        }
        let problems = Diagnostics::from(report);
        assert_eq!(problems.iter().count(), Report::LEN_MAX);
        assert_eq!(problems.left_out(), 5);
        assert!(problems.to_string().ends_with("and 5 more problems"));
    }
}
