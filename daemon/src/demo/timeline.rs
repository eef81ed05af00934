//! What people see: one line for each thing that happens, with its time.

use std::{
    fmt::{Arguments, Display},
    io::{IsTerminal, Write},
    time::Instant,
};

/// A clock that was started with the demonstration, and a place to print.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    start: Instant,
    colours: bool,
}

#[derive(Clone, Copy)]
enum Colour {
    Dim,
    Bold,
    Green,
    Red,
}

impl Timeline {
    pub(super) fn start() -> Self {
        let colours = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { start: Instant::now(), colours }
    }

    /// The first line, without a time.
    pub(super) fn title(&self, text: &str) {
        self.print(format_args!("{}\n", self.paint(Colour::Bold, text)));
    }

    /// Something begins or happens.
    pub(super) fn event(&self, what: &str, text: impl Display) {
        let time = format!("{:>6} ms", thousands(self.start.elapsed().as_millis()));
        let what = format!("{what:<8}");
        self.print(format_args!(
            "{}  {} {text}",
            self.paint(Colour::Dim, &time),
            self.paint(Colour::Bold, &what)
        ));
    }

    /// More about the last event.
    pub(super) fn detail(&self, text: impl Display) {
        self.print(format_args!("{:20}{text}", ""));
    }

    /// Something was checked and is as it should be; ends a chapter.
    pub(super) fn checked(&self, text: impl Display) {
        self.print(format_args!("{:11}{} {text}\n", "", self.paint(Colour::Green, "ok      ")));
    }

    pub(super) fn failed(&self, text: &str) {
        self.print(format_args!("\n{:11}{} {text}", "", self.paint(Colour::Red, "FAILED  ")));
    }

    /// What the daemon of a node said.
    pub(super) fn log(&self, node: u32, lines: &[String]) {
        self.print(format_args!("\nlog of node {node}:"));
        lines.iter().for_each(|line| self.print(format_args!("  {}", self.paint(Colour::Dim, line))));
    }

    pub(super) fn end(&self) {
        let text = format!("Done in {:.1} s, and nothing of it is left.", self.start.elapsed().as_secs_f64());
        self.print(format_args!("{}", self.paint(Colour::Bold, &text)));
    }

    /// Whoever closes our output early does not want to see the rest.
    #[expect(clippy::unused_self, reason = "everything that is printed goes through a timeline")]
    fn print(&self, line: Arguments<'_>) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            _ if !self.colours => return text.to_owned(),
            Colour::Dim => "2",
            Colour::Bold => "1",
            Colour::Green => "32",
            Colour::Red => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
