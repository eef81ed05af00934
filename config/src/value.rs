//! A single value of the file: of the kind, and in the range, that the table of keys asks for.

use toml::de::{DeInteger, DeValue};

use crate::{
    diagnostic::quoted,
    keys::{Key, Kind, Unit},
};

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

/// The value as the key wants it, or what is wrong with it.
pub(crate) fn convert(key: &Key, value: &DeValue<'_>) -> Result<Value, String> {
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
