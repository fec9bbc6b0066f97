//! The values of variables: numbers and times.

use std::path::PathBuf;
use std::time::Duration;

use homing_postgres::{Error, Result};

/// Returns the value of a variable.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A day: beyond it a time is not a limit, and clocks overflow.
pub(super) const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Stands for the name of a region in a connection string.
pub(super) const REGION: &str = "{region}";

/// Reads a text, or the path of a file that has it. The variable of the path is that of the text, with `_FILE`.
///
/// # Errors
///
/// `is_configuration` if both are set.
pub(super) fn text_or_file(lookup: &Lookup<'_>, variable: &str) -> Result<(Option<String>, Option<PathBuf>)> {
    let file = file_variable(variable);
    match (lookup(variable), lookup(&file)) {
        (Some(_), Some(_)) => {
            Err(Error::configuration(format!("{variable} and {file} are both set: unset one of them")))
        }
        (text, path) => Ok((text, path.map(PathBuf::from))),
    }
}

/// Returns the variable with the path of a file that has the value of another variable.
pub(crate) fn file_variable(variable: &str) -> String {
    format!("{variable}_FILE")
}

/// Reads a number that is at least one.
pub(super) fn count(lookup: &Lookup<'_>, variable: &str) -> Result<Option<usize>> {
    let Some(text) = lookup(variable) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => {
            Err(Error::configuration(format!("{variable} is {text:?}: write a number that is at least 1, such as 16")))
        }
    }
}

/// Reads `true` or `false`, which is the default.
pub(super) fn flag(lookup: &Lookup<'_>, variable: &str) -> Result<bool> {
    let Some(text) = lookup(variable) else { return Ok(false) };
    text.trim().parse().map_err(|_| Error::configuration(format!("{variable} is {text:?}: write true or false")))
}

/// Reads a time in seconds that is longer than zero, and at most a day.
pub(super) fn seconds(lookup: &Lookup<'_>, variable: &str) -> Result<Option<Duration>> {
    let Some(text) = lookup(variable) else { return Ok(None) };
    match parse_seconds(text.trim()) {
        Some(time) if !time.is_zero() && time <= MAX_TIME => Ok(Some(time)),
        _ => Err(Error::configuration(format!(
            "{variable} is {text:?}: write a number of seconds above 0, such as 2.5, and at most {}",
            MAX_TIME.as_secs()
        ))),
    }
}

/// Reads a time in seconds, or the word `none`.
pub(super) fn seconds_or_none(lookup: &Lookup<'_>, variable: &str) -> Result<Option<Option<Duration>>> {
    or_none(lookup, variable, "seconds: write for example 30, or none", parse_seconds)
}

/// Reads a number of bytes, or the word `none`.
pub(super) fn bytes_or_none(lookup: &Lookup<'_>, variable: &str) -> Result<Option<Option<u64>>> {
    or_none(lookup, variable, "bytes: write for example 16777216, or none", |text| text.parse().ok())
}

fn or_none<T>(
    lookup: &Lookup<'_>,
    variable: &str,
    unit: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<Option<T>>> {
    let Some(text) = lookup(variable) else { return Ok(None) };
    match text.trim() {
        "none" => Ok(Some(None)),
        number => match parse(number) {
            Some(number) => Ok(Some(Some(number))),
            None => Err(Error::configuration(format!("{variable} is {text:?}, which is not a number of {unit}"))),
        },
    }
}

fn parse_seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}
