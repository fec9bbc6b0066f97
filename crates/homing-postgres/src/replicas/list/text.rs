//! The text of a list of replicas.

use std::fmt;
use std::sync::Arc;

use crate::connection::string::ConnectionString;
use crate::error::{Error, Result};

/// An entry of a list, as its text has it.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) place: Place,
    pub(super) url: String,
    pub(super) string: ConnectionString,
}

/// How an entry is found again in a text that has changed.
///
/// Closed: an entry has a name or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By its name.
    Named(Arc<str>),

    /// By its number, which begins with 0. It has no name.
    Number(usize),
}

impl Listed {
    /// Returns the name of the replica: its own, else its hosts.
    pub(super) fn name(&self) -> Arc<str> {
        match &self.place {
            Place::Named(name) => Arc::clone(name),
            Place::Number(_) => self.string.name().into(),
        }
    }
}

impl fmt::Debug for Listed {
    /// Leaves out the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listed").field(&self.place).finish()
    }
}

/// Parses connection strings, separated by commas, each with or without a name. `variable` names the setting of the text.
///
/// # Errors
///
/// `is_configuration` if an entry is not a valid connection string.
pub(super) fn parse(text: &str, variable: &str) -> Result<Vec<Listed>> {
    let entries = entries(text);
    let single = entries.len() == 1;
    let listed = entries.into_iter().enumerate().map(|(index, (name, url))| {
        let place = if single { variable.to_owned() } else { format!("{variable}, entry {},", index + 1) };
        if url.trim().is_empty() {
            return Err(Error::configuration(format!("{place} is empty: remove the extra comma")));
        }
        let string = ConnectionString::parse(url.trim(), &place)?;
        let place = name.map_or(Place::Number(index), |name| Place::Named(name.into()));
        Ok(Listed { place, url: url.trim().to_owned(), string })
    });
    listed.collect()
}

/// Splits a list into names and connection strings.
///
/// A list starts with a connection string that is a URL. Any other text, such as `host=… dbname=…`, is one connection
/// string, including its commas.
fn entries(text: &str) -> Vec<(Option<&str>, &str)> {
    let text = text.trim();
    if begins_entry(text).is_none() {
        return vec![(None, text)];
    }
    let mut entries = Vec::new();
    let mut rest = text;
    loop {
        let (entry, more) = first_entry(rest);
        entries.push(begins_entry(entry).unwrap_or((None, entry)));
        match more {
            Some(more) => rest = more,
            None => return entries,
        }
    }
}

/// Splits at the first comma that ends an entry. Within the hosts of a URL, that is a comma before another URL.
fn first_entry(text: &str) -> (&str, Option<&str>) {
    let authority = text.find(SCHEME_END).map_or(0, |at| at + SCHEME_END.len());
    let authority_end = text[authority..].find(['/', '?']).map_or(text.len(), |length| authority + length);
    for (at, _) in text.match_indices(',') {
        let after = &text[at + 1..];
        if at >= authority_end || begins_entry(after).is_some() {
            return (&text[..at], Some(after));
        }
    }
    (text, None)
}

/// Returns the name and the URL if the text starts with an entry.
fn begins_entry(text: &str) -> Option<(Option<&str>, &str)> {
    let text = text.trim_start();
    let is_url = |text: &str| SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    if is_url(text) {
        return Some((None, text));
    }
    let (name, url) = text.split_once('=')?;
    let is_name = !name.contains([',', '/', ' ', '@']);
    (is_name && is_url(url.trim_start())).then(|| (Some(name.trim()), url.trim_start()))
}

const SCHEME_END: &str = "://";
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
