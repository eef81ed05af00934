//! `corosync.toml.example`, made from the table of keys.

use std::fmt::Write;

use crate::keys::{Fallback, Key, Kind, ROOT, Section, Shape, Support};

/// Columns of the text.
const WIDTH: usize = 100;

/// The example file: a cluster of three nodes; every key with its default in a comment.
pub fn example() -> String {
    let mut out = String::new();
    comment(
        &mut out,
        "corosync.toml: the configuration of a node. See corosync.toml(5). What is commented out shows the default \
         or, for keys without one, an example. The node checks the whole file before it uses any of it; \
         `corosync -t` does the same and stops. Times are in milliseconds.",
    );
    comment(&mut out, "Made from config/src/keys.rs; its tests compare the two.");
    for section in ROOT.all() {
        if section.support == Support::Now && !section.keys.is_empty() {
            write_section(&mut out, section);
        }
    }
    out
}

fn write_section(out: &mut String, section: &Section) {
    out.push('\n');
    comment(out, section.doc);
    let required = section.keys.iter().any(|key| matches!(key.fallback, Fallback::Required(_)));
    let off = if section.shape == Shape::Repeated && !required { "#" } else { "" };
    line(out, &format!("{off}{}", section.header()));
    for key in section.keys.iter().filter(|key| key.support == Support::Now) {
        out.push('\n');
        comment(out, &format!("{} {}", key.doc, facts(key)));
        let off = if matches!(key.fallback, Fallback::Required(_)) { "" } else { "#" };
        line(out, &format!("{off}{} = {}", key.name, key.example()));
    }
    if required {
        for number in 2..=3 {
            line(out, &format!("\n{}", section.header()));
            line(out, &format!("nodeid = {number}\nring0_addr = \"192.0.2.{number}\""));
        }
    }
}

/// The values that a key takes and what holds without it, in a few words.
pub(crate) fn facts(key: &Key) -> String {
    let values = match key.kind {
        Kind::Integer { min, max, .. } if min == max => format!("Always {min}."),
        Kind::Integer { min, max, unit } => format!("From {min} to {max}{}.", unit.suffix()),
        Kind::Boolean => "True or false.".to_owned(),
        Kind::Choice(choices) => {
            let list: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            format!("One of {}.", list.join(", "))
        }
        Kind::Text { bytes_max } => format!("A string of at most {bytes_max} octets."),
        Kind::Path => "A file name; a relative one starts at this file's directory.".to_owned(),
        Kind::Account => "A name or a number.".to_owned(),
    };
    let fallback = match key.fallback {
        Fallback::Required(_) => "Required.".to_owned(),
        Fallback::Default(value) => format!("Default: {value}."),
        Fallback::Derived(how, _) => format!("Default: {how}."),
        Fallback::Absent(meaning, _) => format!("Without it: {meaning}."),
    };
    format!("{values} {fallback}")
}

/// Appends `text` as comment lines.
fn comment(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push('\n');
            column = 0;
        }
        let before = if column == 0 { "# " } else { " " };
        out.push_str(before);
        out.push_str(word);
        column += before.len() + word.len();
    }
    out.push('\n');
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}
