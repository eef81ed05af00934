//! From text to placed values: syntax, names, types and ranges, straight from the table of keys.
//!
//! What ties several keys together, and what needs a look at the machine, is in [`crate::check`].

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use toml::de::{DeInteger, DeTable, DeValue};

use crate::{
    diagnostic::{Place, Report, quoted},
    keys::{self, Fallback, Key, Kind, Section, Shape, Support, Unit},
};

/// Largest file in octets. A list of 128 nodes needs some ten thousand; the worst nonsense of this size
/// is refused in some 90 ms.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 18;

/// A value from the file; of the kind that the table of keys asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// In the key's range.
    Integer(u64),
    /// As it is.
    Boolean(bool),
    /// A text, path or one of the choices.
    Text(String),
    /// A user or group.
    Account(Account),
}

/// A user or a group as the file names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Account {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// What the file says about one key.
#[derive(Clone, Debug)]
enum Entry {
    Valid { place: Place, value: Value },
    Invalid,
}

/// One occurrence of a section in a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where its header is; the start of the file for a section that is not there.
    pub(crate) place: Place,
    section: &'static Section,
    entries: BTreeMap<&'static str, Entry>,
}

/// Where a setting's value comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// From the file, here.
    File(Place),
    /// From the table of keys.
    Default,
    /// From other settings: how, in words, and the place of the first of them that is in the file.
    Derived(String, Option<Place>),
    /// From nowhere: the file's value is wrong and reported. No rule looks at it.
    Invalid,
}

/// A value that always is something, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) name: &'static str,
    pub(crate) value: T,
    pub(crate) source: Source,
    unit: Unit,
}

impl<T> Setting<T> {
    /// Where the file has it, or has what it was computed from.
    pub(crate) fn place(&self) -> Option<&Place> {
        match &self.source {
            Source::File(place) => Some(place),
            Source::Derived(_, place) => place.as_ref(),
            Source::Default | Source::Invalid => None,
        }
    }

    /// Whether the file has it, and it is right.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Whether the file's value was refused already.
    pub(crate) fn is_invalid(&self) -> bool {
        self.source == Source::Invalid
    }
}

impl Setting<u64> {
    /// The same with another value, computed from `inputs`.
    pub(crate) fn derived(&self, value: u64, how: String, inputs: &[&Self]) -> Self {
        let invalid = inputs.iter().any(|input| input.is_invalid());
        let place = inputs.iter().find_map(|input| input.place().cloned());
        let source = if invalid { Source::Invalid } else { Source::Derived(how, place) };
        Self { value, source, ..self.clone() }
    }

    /// Itself if the file has it, otherwise [`Self::derived`].
    pub(crate) fn or_derived(self, value: u64, how: String, inputs: &[&Self]) -> Self {
        if self.is_given() || self.is_invalid() { self } else { self.derived(value, how, inputs) }
    }

    /// `consensus is 40 ms`.
    pub(crate) fn statement(&self) -> String {
        let origin = match &self.source {
            Source::File(_) | Source::Invalid => String::new(),
            Source::Default => " by default".to_owned(),
            Source::Derived(how, _) => format!(" ({how})"),
        };
        format!("{} is {}{}{origin}", self.name, self.value, self.unit.suffix())
    }
}

/// `join (50 ms, line 13)`.
impl fmt::Display for Setting<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit.suffix();
        match &self.source {
            Source::File(place) => write!(f, "{} ({}{unit}, line {})", self.name, self.value, place.line),
            Source::Default | Source::Invalid => write!(f, "{} ({}{unit} by default)", self.name, self.value),
            Source::Derived(how, _) => write!(f, "{} ({}{unit}: {how})", self.name, self.value),
        }
    }
}

impl Found {
    /// The integer of this key.
    ///
    /// # Panics
    /// This and its relatives panic if the table of keys has no such key of that kind. The file's
    /// content cannot bring that about; every name is asked for at every load.
    pub(crate) fn integer(&self, name: &'static str) -> Setting<u64> {
        let Kind::Integer { min, unit, .. } = self.key(name).kind else {
            panic!("{name} is an integer in the table of keys")
        };
        let fallback = |text: &str| text.parse().unwrap_or(min);
        let mut setting = self.setting(name, min, fallback, |value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        });
        setting.unit = unit;
        setting
    }

    /// The truth value of this key.
    pub(crate) fn boolean(&self, name: &'static str) -> Setting<bool> {
        self.setting(
            name,
            false,
            |text| text == "true",
            |value| match value {
                Value::Boolean(truth) => Some(*truth),
                _ => None,
            },
        )
    }

    /// The text, path or choice of this key; empty if there is none.
    pub(crate) fn text(&self, name: &'static str) -> Setting<String> {
        let fallback = |text: &str| text.trim_matches('"').to_owned();
        self.setting(name, String::new(), fallback, |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// The account of this key.
    pub(crate) fn account(&self, name: &'static str) -> Setting<Option<Account>> {
        let none = |_: &str| None;
        self.setting(name, None, none, |value| match value {
            Value::Account(account) => Some(Some(account.clone())),
            _ => None,
        })
    }

    /// Whether the file has this key, right or wrong.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section.key(name).expect("the table of keys has every key that is asked for")
    }

    fn setting<T>(
        &self,
        name: &'static str,
        zero: T,
        fallback: impl Fn(&str) -> T,
        take: impl Fn(&Value) -> Option<T>,
    ) -> Setting<T> {
        let key = self.key(name);
        let (value, source) = match self.entries.get(name) {
            Some(Entry::Valid { place, value }) => {
                let value = take(value).expect("a value is of the kind that the table of keys names");
                (value, Source::File(place.clone()))
            }
            Some(Entry::Invalid) => (zero, Source::Invalid),
            None => match key.fallback {
                Fallback::Default(text) => (fallback(text), Source::Default),
                Fallback::Derived(..) | Fallback::Absent(..) => (zero, Source::Default),
                Fallback::Required(_) => (zero, Source::Invalid),
            },
        };
        Setting { name, value, source, unit: Unit::None }
    }
}

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
        self.repeated(path).first().cloned().unwrap_or_else(|| Found {
            place: self.start.clone(),
            section,
            entries: BTreeMap::new(),
        })
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
        let mut found = Found { place: self.lines.place(header.start), section, entries: BTreeMap::new() };
        for (name, value) in table.iter() {
            let name_place = self.lines.place(name.span().start);
            let name_text: &str = name.get_ref();
            if let Some(inner) = section.section(name_text) {
                self.inner_section(value.get_ref(), inner, name.span(), value.span());
            } else if let Some(key) = section.key(name_text) {
                let entry = self.entry(key, section, &name_place, value.get_ref(), value.span());
                found.entries.insert(key.name, entry);
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

/// The value as the key wants it, or what is wrong with it.
fn convert(key: &Key, value: &DeValue<'_>) -> Result<Value, String> {
    match (key.kind, value) {
        (Kind::Integer { min, max, unit }, DeValue::Integer(number)) => {
            integer(key, number, min, max, unit).map(Value::Integer)
        }
        (Kind::Boolean, DeValue::Boolean(truth)) => Ok(Value::Boolean(*truth)),
        (Kind::Choice(choices), DeValue::String(text)) => {
            if choices.contains(&text.as_ref()) {
                return Ok(Value::Text(text.to_string()));
            }
            Err(format!("{} is {}, but must be {}", key.name, quoted(text), alternatives(choices)))
        }
        (Kind::Text { bytes_max }, DeValue::String(text)) => plain(key, text, bytes_max).map(Value::Text),
        (Kind::Path, DeValue::String(text)) => plain(key, text, 4095).map(Value::Text),
        (Kind::Account, DeValue::Integer(number)) => {
            let id = integer(key, number, 0, ACCOUNT_MAX, Unit::None)?;
            u32::try_from(id).map(|id| Value::Account(Account::Number(id))).map_err(|error| error.to_string())
        }
        (Kind::Account, DeValue::String(text)) => account(key, text).map(Value::Account),
        _ => Err(mistyped(key, value)),
    }
}

/// The highest number of a user or group; the one above stands for "none" in system calls.
const ACCOUNT_MAX: u64 = u32::MAX as u64 - 1;

fn integer(key: &Key, number: &DeInteger<'_>, min: u64, max: u64, unit: Unit) -> Result<u64, String> {
    let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
    if let Some(value) = value.and_then(|value| u64::try_from(value).ok()).filter(|v| (min..=max).contains(v))
    {
        return Ok(value);
    }
    let given = value.map_or_else(|| "too large a number".to_owned(), |value| value.to_string());
    let unit = unit.suffix();
    if min == max {
        return Err(format!("{} is {given}, but must be {min}", key.name));
    }
    Err(format!("{} is {given}, but must be between {min} and {max}{unit}", key.name))
}

/// A text that is neither empty nor too long and can be printed.
fn plain(key: &Key, text: &str, bytes_max: usize) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("{} must not be empty", key.name));
    }
    if text.len() > bytes_max {
        return Err(format!(
            "{} has {} octets, but must not have more than {bytes_max}",
            key.name,
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{} must not hold control characters", key.name));
    }
    Ok(text.to_owned())
}

/// A user or group. An empty name is nobody; taken for 0 it would let root's number in.
fn account(key: &Key, text: &str) -> Result<Account, String> {
    let name = plain(key, text, 255)?;
    if !name.bytes().all(|octet| octet.is_ascii_digit()) {
        return Ok(Account::Name(name));
    }
    let number = name.parse().ok().filter(|number| u64::from(*number) <= ACCOUNT_MAX);
    number
        .map(Account::Number)
        .ok_or_else(|| format!("{} is {name}, but must be between 0 and {ACCOUNT_MAX}", key.name))
}

fn mistyped(key: &Key, value: &DeValue<'_>) -> String {
    let wanted = match key.kind {
        Kind::Integer { unit: Unit::Milliseconds, .. } => "a whole number of milliseconds".to_owned(),
        Kind::Integer { unit: Unit::Octets, .. } => "a whole number of octets".to_owned(),
        Kind::Integer { .. } => "a whole number".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Choice(choices) => alternatives(choices),
        Kind::Text { .. } | Kind::Path => "a string".to_owned(),
        Kind::Account => "a name or a number".to_owned(),
    };
    let given = match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(_) => "a number".to_owned(),
        DeValue::Float(_) => "a number with a fraction".to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    };
    format!("{} must be {wanted}, not {given}", key.name)
}

fn alternatives(choices: &[&str]) -> String {
    let list: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
    list.join(" or ")
}

/// Finds lines and columns of offsets.
#[derive(Debug)]
struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str, file: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(offset, _)| offset + 1)).collect();
        Self { file: file.into(), text, starts }
    }

    /// The place of the character at this offset; the end of the text for one beyond it.
    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        // Where a single line is a megabyte, counting its characters for each place would take seconds.
        let column = if before.len() > 4096 { before.len() } else { before.chars().count() };
        Place { file: self.file.clone(), line, column: column + 1 }
    }

    /// A line without its end.
    fn line(&self, line: usize) -> &'t str {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\r', '\n'])
    }
}
