//! What the file says about a key, or what holds where it says nothing.

use std::{collections::BTreeMap, fmt};

use crate::{
    diagnostic::Place,
    keys::{Fallback, Key, Kind, Section, Unit},
    value::{Account, Value},
};

/// One occurrence of a section in a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where its header is; the start of the file for a section that is not there.
    pub(crate) place: Place,
    section: &'static Section,
    entries: BTreeMap<&'static str, Entry>,
}

/// What the file says about one key.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A value, and where it is.
    Valid { place: Place, value: Value },
    /// Something wrong, which was reported.
    Invalid,
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
    /// The section at this place, without keys yet.
    pub(crate) fn new(place: Place, section: &'static Section) -> Self {
        Self { place, section, entries: BTreeMap::new() }
    }

    /// Notes what the file says about a key.
    pub(crate) fn insert(&mut self, key: &'static Key, entry: Entry) {
        self.entries.insert(key.name, entry);
    }

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
