//! From text to placed values: syntax, names, types and ranges, straight from the table of keys.
//!
//! What ties several keys together, and what needs a look at the machine, is in [`crate::check`].

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

use crate::{
    diagnostic::{Place, Report, quoted},
    keys::{self, Fallback, Key, Section, Shape, Support},
    lines::Lines,
    setting::{Entry, Found},
    value::convert,
};

/// Largest file in octets. A list of 128 nodes needs some ten thousand; the worst nonsense of this size
/// is refused in some 90 ms.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 18;

/// A file's values, each of the right kind and in its range.
#[derive(Debug)]
pub(crate) struct Document {
    /// The first place of the file.
    pub(crate) start: Place,
    sections: BTreeMap<&'static str, Vec<Found>>,
    /// Whether the text was TOML to its end. Otherwise something may be missing that is there.
    pub(crate) complete: bool,
}

impl Document {
    /// Reads `text`, whose sections are those of `root`.
    pub(crate) fn read(text: &str, file: &str, root: &'static Section, report: &mut Report) -> Self {
        let lines = Lines::new(text, file);
        let mut document = Self { start: lines.place(0), sections: BTreeMap::new(), complete: true };
        let (table, problems) = DeTable::parse_recoverable(text);
        document.complete = problems.is_empty();
        report_syntax(&lines, &problems, report);
        let mut reader = Reader { lines: &lines, document: &mut document, report };
        reader.section(table.get_ref(), root, 0..0);
        document
    }

    /// The section that can be there once; an empty one at the start of the file if it is not there.
    pub(crate) fn once(&self, path: &str) -> Found {
        let section = keys::ROOT.all().into_iter().find(|section| section.path == path);
        let section = section.expect("the table of keys has every section that is asked for");
        self.repeated(path).first().cloned().unwrap_or_else(|| Found::new(self.start.clone(), section))
    }

    /// All occurrences of a section, in the order of the file.
    pub(crate) fn repeated(&self, path: &str) -> &[Found] {
        self.sections.get(path).map_or(&[], Vec::as_slice)
    }
}

/// Turns syntax errors into diagnostics.
fn report_syntax(lines: &Lines<'_>, problems: &[toml::de::Error], report: &mut Report) {
    for problem in problems {
        let span = problem.span().unwrap_or(0..0);
        report.syntax_error(&lines.place(span.start), || {
            let start = lines.place(span.start);
            let excerpt = lines.text.get(span.clone()).map(str::trim).filter(|text| !text.is_empty());
            match (excerpt, problem.message()) {
                _ if looks_like_corosync_conf(lines.line(start.line)) => {
                    "this is the syntax of corosync.conf; here it is `[section]` and `key = value`".to_owned()
                }
                (Some(key), "duplicate key") => format!("`{key}` is already there above"),
                (_, message) => message.to_owned(),
            }
        });
    }
}

/// `totem {`, `}` or `key: value`.
fn looks_like_corosync_conf(line: &str) -> bool {
    let line = line.trim();
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    line == "}"
        || line.strip_suffix('{').is_some_and(|name| word(name.trim()))
        || line.split_once(':').is_some_and(|(name, _)| word(name.trim()))
}

/// Walks the parsed table along the table of keys.
struct Reader<'a> {
    lines: &'a Lines<'a>,
    document: &'a mut Document,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn section(&mut self, table: &DeTable<'_>, section: &'static Section, header: Range<usize>) {
        let mut found = Found::new(self.lines.place(header.start), section);
        for (name, value) in table.iter() {
            let name_place = self.lines.place(name.span().start);
            let name_text: &str = name.get_ref();
            if let Some(inner) = section.section(name_text) {
                self.inner_section(value.get_ref(), inner, name.span(), value.span());
            } else if let Some(key) = section.key(name_text) {
                let entry = self.entry(key, section, &name_place, value.get_ref(), value.span());
                found.insert(key, entry);
            } else {
                self.unknown(name_text, section, &name_place, value.get_ref());
            }
        }
        for key in section.keys {
            if matches!(key.fallback, Fallback::Required(_)) && !found.has(key.name) && self.document.complete
            {
                self.report.error(&found.place, format!("{} has no `{}`", section.header(), key.name));
            }
        }
        self.document.sections.entry(section.path).or_default().push(found);
    }

    fn inner_section(
        &mut self,
        value: &DeValue<'_>,
        section: &'static Section,
        name: Range<usize>,
        span: Range<usize>,
    ) {
        let place = self.lines.place(name.start);
        match section.support {
            Support::Now => {}
            Support::Later => {
                let message = format!("{} is not supported yet by this version", section.header());
                return self.report.error(&place, message);
            }
            Support::Never(reason) => {
                let message = format!("{} has no meaning here: {reason}", section.header());
                return self.report.error(&place, message);
            }
        }
        match (section.shape, value) {
            (Shape::Once, DeValue::Table(table)) => self.section(table, section, span),
            (Shape::Repeated, DeValue::Array(list)) => {
                for element in list.iter() {
                    match element.get_ref() {
                        DeValue::Table(table) => self.section(table, section, element.span()),
                        _ => self.misshaped(section, &self.lines.place(element.span().start)),
                    }
                }
            }
            _ => self.misshaped(section, &place),
        }
    }

    fn misshaped(&mut self, section: &Section, place: &Place) {
        let often = match section.shape {
            Shape::Once => "once",
            Shape::Repeated => "for each one",
        };
        self.report
            .error(place, format!("`{}` is a section: write {} {often}", section.name(), section.header()));
    }

    fn entry(
        &mut self,
        key: &'static Key,
        section: &Section,
        name_place: &Place,
        value: &DeValue<'_>,
        span: Range<usize>,
    ) -> Entry {
        if span.is_empty() {
            // The parser's stand-in for a value whose syntax is broken.
            return Entry::Invalid;
        }
        let place = self.lines.place(span.start);
        let problem = match key.support {
            Support::Later => {
                self.report.error(
                    name_place,
                    format!("`{}.{}` is not supported yet by this version", section.path, key.name),
                );
                return Entry::Invalid;
            }
            Support::Never(reason) => {
                let message = format!("`{}.{}` has no meaning here: {reason}", section.path, key.name);
                self.report.error(name_place, message);
                return Entry::Invalid;
            }
            Support::Now => match convert(key, value) {
                Ok(value) => return Entry::Valid { place, value },
                Err(problem) => problem,
            },
        };
        self.report.error(&place, problem);
        Entry::Invalid
    }

    fn unknown(&mut self, name: &str, section: &Section, place: &Place, value: &DeValue<'_>) {
        if self.report.is_full() {
            return self.report.error(place, "");
        }
        let what = match value {
            DeValue::Table(_) => "section",
            _ if self.lines.line(place.line).trim_start().starts_with('[') => "section",
            _ => "key",
        };
        let mut message = format!("unknown {what} `{}`", quoted(name).trim_matches('"'));
        let home = |home: &&Section| home.path != section.path && home.key(name).is_some();
        if let Some(similar) = similar(name, section) {
            message.push_str(&format!("; did you mean `{similar}`?"));
        } else if let Some(home) = keys::ROOT.all().into_iter().find(home) {
            message.push_str(&format!("; it belongs to {}", home.header()));
        }
        self.report.error(place, message);
    }
}

/// The name in the section that is nearest to `name`, if one is near.
fn similar(name: &str, section: &Section) -> Option<&'static str> {
    const BYTES_MAX: usize = 64;
    if name.len() > BYTES_MAX {
        return None;
    }
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let distance_max = (lower.chars().count() / 3).max(1);
    let keys = section.keys.iter().filter(|key| key.support == Support::Now).map(|key| key.name);
    let sections = section.sections.iter().filter(|inner| inner.support == Support::Now);
    keys.chain(sections.map(|inner| inner.name()))
        .map(|candidate| (strsim::osa_distance(&lower, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, candidate)| candidate)
}
