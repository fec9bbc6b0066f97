//! [`Taken`], the settings of a connection string that the driver does not know.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A connection string without some of its settings, and these settings.
pub(super) struct Taken<'a> {
    /// The connection string for the driver.
    pub(super) rest: Cow<'a, str>,
    values: Vec<(&'static str, String)>,
}

impl<'a> Taken<'a> {
    /// Takes the settings with these names out of a connection string.
    pub(super) fn new(text: &'a str, names: &[&'static str]) -> Self {
        let (rest, values) = match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => from_url(text, names),
            _ => from_pairs(text, names),
        };
        let rest = if values.is_empty() { text.into() } else { rest.into() };
        Self { rest, values }
    }

    /// Returns the value of a setting. Of several values the last one counts, as in libpq.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a setting, if it is not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.value(name).filter(|value| !value.is_empty())
    }
}

type Values = Vec<(&'static str, String)>;

/// Takes settings out of the parameters of a URL.
fn from_url(url: &str, names: &[&'static str]) -> (String, Values) {
    // The driver takes what is before the first @ for user and password.
    let credentials = url.find('@').map_or(0, |at| at + 1);
    let Some(query) = url[credentials..].find('?').map(|at| credentials + at + 1) else { return Default::default() };
    let (mut others, mut values) = (Vec::new(), Vec::new());
    for parameter in url[query..].split('&') {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        let (name, value) = parameter.split_once('=').map_or_else(Default::default, |(name, value)| {
            // libpq knows this pair of JDBC in a URL.
            if (name, value) == ("ssl", "true") {
                ("sslmode".into(), "require".into())
            } else {
                (decoded(name), decoded(value))
            }
        });
        match names.iter().find(|known| **known == name) {
            Some(name) => values.push((*name, value.into_owned())),
            None => others.push(parameter),
        }
    }
    let rest = format!("{}{}", &url[..query], others.join("&"));
    (rest.trim_end_matches('?').to_owned(), values)
}

/// Takes settings out of pairs `name = value`. A value may be quoted.
fn from_pairs(text: &str, names: &[&'static str]) -> (String, Values) {
    let (mut rest, mut values, mut at) = (String::new(), Vec::new(), 0);
    while let Some((name, value, end)) = pair(&text[at..]) {
        match names.iter().find(|known| **known == name) {
            Some(name) => values.push((*name, value)),
            None => rest.push_str(&text[at..at + end]),
        }
        at += end;
    }
    rest.push_str(&text[at..]);
    (rest, values)
}

/// Reads a pair `name = value` at the start of a text. Returns its name, its value, and where it ends. `None` if the text
/// does not begin with a pair, about which the driver complains.
fn pair(text: &str) -> Option<(&str, String, usize)> {
    let equals = text.find('=')?;
    let name = text[..equals].trim();
    let begin = equals + 1 + (text[equals + 1..].len() - text[equals + 1..].trim_start().len());
    let is_quoted = text[begin..].starts_with('\'');
    let (mut value, mut is_escaped) = (String::new(), false);
    let from = begin + usize::from(is_quoted);
    for (at, char) in text[from..].char_indices() {
        match char {
            _ if is_escaped => {
                value.push(char);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '\'' if is_quoted => return Some((name, value, from + at + 1)),
            char if !is_quoted && char.is_whitespace() => return Some((name, value, from + at)),
            char => value.push(char),
        }
    }
    (!is_quoted).then_some((name, value, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_out() {
        const NAMES: [&str; 2] = ["sslmode", "sslrootcert"];
        for (text, rest, values) in [
            ("postgres://a,b/db", "postgres://a,b/db", [None, None]),
            ("postgres://a,b/db?sslmode=allow", "postgres://a,b/db", [Some("allow"), None]),
            ("postgres://u:?sslmode=x@a?sslmode=disable", "postgres://u:?sslmode=x@a", [Some("disable"), None]),
            ("postgresql://a?x=1&sslmode=prefer&y=2", "postgresql://a?x=1&y=2", [Some("prefer"), None]),
            ("postgres://a?sslmode=allow&sslmode=require", "postgres://a", [Some("require"), None]),
            ("postgres://a?ssl=true", "postgres://a", [Some("require"), None]),
            ("postgres://a?ssl=1", "postgres://a?ssl=1", [None, None]),
            ("postgres://a?%73slmode=all%6Fw&sslrootcert=%2Fmy%20ca", "postgres://a", [Some("allow"), Some("/my ca")]),
            ("host=a,b sslmode=verify-ca dbname=db", "host=a,b dbname=db", [Some("verify-ca"), None]),
            ("host=a sslrootcert='/it\\'s a=b'sslmode=allow", "host=a", [Some("allow"), Some("/it's a=b")]),
            ("password='it\\'s = sslmode=allow' host=a", "password='it\\'s = sslmode=allow' host=a", [None, None]),
            ("host=a sslmode = 'disable'", "host=a", [Some("disable"), None]),
            ("sslmode='' host=a", " host=a", [Some(""), None]),
            ("sslmode", "sslmode", [None, None]),
        ] {
            let taken = Taken::new(text, &NAMES);
            assert_eq!((&*taken.rest, NAMES.map(|name| taken.value(name))), (rest, values), "{text}");
        }
    }
}
