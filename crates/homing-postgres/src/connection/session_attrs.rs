//! [`SessionAttrs`], which servers of a connection string answer reads.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::position::role::Role;

/// The value of `target_session_attrs` in a connection string: which of its servers answer reads.
///
/// The values and their meanings are libpq's, which the driver knows in part only. They say nothing about writes: these go
/// to the server that is the primary.
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS>
///
/// Closed: these are libpq's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SessionAttrs {
    /// Any server.
    #[default]
    Any,

    /// A server that is not in recovery.
    Primary,

    /// A server whose sessions are read-only by default, or that is in recovery.
    ReadOnly,

    /// A server whose sessions may write by default.
    ReadWrite,

    /// A server in recovery.
    Standby,

    /// A server in recovery, or any server if there is none.
    PreferStandby,
}

/// Whether a server may answer reads.
///
/// Closed: there is nothing in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,

    /// Only if no other server can.
    Last,

    No,
}

impl SessionAttrs {
    /// Takes the setting out of a connection string. Returns the rest, for the driver. `variable` names the setting of the
    /// string, for messages.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the value is none of libpq's.
    pub(crate) fn take<'a>(url: &'a str, variable: &str) -> Result<(Cow<'a, str>, Self)> {
        let Some((rest, value)) = without_setting(url) else { return Ok((url.into(), Self::Any)) };
        match Self::of(&value) {
            Some(attrs) => Ok((rest.into(), attrs)),
            None => Err(Error::configuration(format!(
                "{variable} has an unknown value of {NAME}: write any, read-write, read-only, primary, standby or \
                 prefer-standby"
            ))),
        }
    }

    /// Returns whether a server may answer reads. `is_read_only` tells whether its sessions are read-only by default.
    pub(crate) fn admission(self, role: Option<Role>, is_read_only: bool) -> Admission {
        let Some(role) = role else { return Admission::Yes };
        let admits = match self {
            Self::Any => true,
            Self::Primary => role == Role::Primary,
            Self::ReadOnly => role == Role::Replica || is_read_only,
            Self::ReadWrite => role == Role::Primary && !is_read_only,
            Self::Standby | Self::PreferStandby => role == Role::Replica,
        };
        match (admits, self) {
            (true, _) => Admission::Yes,
            (false, Self::PreferStandby) => Admission::Last,
            (false, _) => Admission::No,
        }
    }

    fn of(value: &str) -> Option<Self> {
        Some(match value {
            "any" => Self::Any,
            "primary" => Self::Primary,
            "read-only" => Self::ReadOnly,
            "read-write" => Self::ReadWrite,
            "standby" => Self::Standby,
            "prefer-standby" => Self::PreferStandby,
            _ => return None,
        })
    }
}

/// Returns the connection string without the setting, and its value. Of several values the last one counts, as in libpq.
fn without_setting(url: &str) -> Option<(String, String)> {
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => without_parameter(url),
        _ => without_pair(url),
    }
}

/// Takes the setting out of the parameters of a URL.
fn without_parameter(url: &str) -> Option<(String, String)> {
    // The driver takes what is before the first @ for user and password.
    let credentials = url.find('@').map_or(0, |at| at + 1);
    let query = credentials + url[credentials..].find('?')? + 1;
    let is_ours = |parameter: &&str| parameter.split_once('=').is_some_and(|(name, _)| name == NAME);
    let value = url[query..].split('&').rfind(is_ours)?.split_once('=')?.1;
    let others: Vec<_> = url[query..].split('&').filter(|parameter| !is_ours(parameter)).collect();
    let rest = format!("{}{}", &url[..query], others.join("&"));
    Some((rest.trim_end_matches('?').to_owned(), value.to_owned()))
}

/// Takes the setting out of pairs `name = value`. A value may be quoted.
fn without_pair(text: &str) -> Option<(String, String)> {
    let (mut rest, mut found, mut at) = (String::new(), None, 0);
    while let Some((name, value, end)) = pair(&text[at..]) {
        match name == NAME {
            true => found = Some(value),
            false => rest.push_str(&text[at..at + end]),
        }
        at += end;
    }
    rest.push_str(&text[at..]);
    Some((rest, found?))
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

const NAME: &str = "target_session_attrs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_is_taken_out() {
        use SessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        for (url, rest, attrs) in [
            ("postgres://a,b/db", "postgres://a,b/db", Any),
            ("postgres://a,b/db?target_session_attrs=read-write", "postgres://a,b/db", ReadWrite),
            (
                "postgres://u:?target_session_attrs=x@a?target_session_attrs=any",
                "postgres://u:?target_session_attrs=x@a",
                Any,
            ),
            ("postgresql://a?x=1&target_session_attrs=primary&y=2", "postgresql://a?x=1&y=2", Primary),
            ("postgres://a?target_session_attrs=any&target_session_attrs=standby", "postgres://a", Standby),
            ("host=a,b target_session_attrs=prefer-standby dbname=db", "host=a,b dbname=db", PreferStandby),
            (
                "password='it\\'s = target_session_attrs=any' host=a",
                "password='it\\'s = target_session_attrs=any' host=a",
                Any,
            ),
            ("host=a target_session_attrs = 'read-only'", "host=a", ReadOnly),
        ] {
            let (left, found) = SessionAttrs::take(url, "DATABASE_URL").unwrap();
            assert_eq!((&*left, found), (rest, attrs), "{url}");
        }
    }

    #[test]
    fn unknown_value_names_the_variable() {
        for url in ["postgres://u:geheim@a?target_session_attrs=geheim", "host=a target_session_attrs=geheim"] {
            let error = SessionAttrs::take(url, "DATABASE_URL").unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains("DATABASE_URL has an unknown"), "{error}");
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
    }

    /// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS>
    #[test]
    fn values_mean_what_libpq_says() {
        use Admission::{Last, No, Yes};
        let [primary, frozen, replica] = [(Role::Primary, false), (Role::Primary, true), (Role::Replica, true)];
        for (attrs, expected) in [
            (SessionAttrs::Any, [Yes, Yes, Yes]),
            (SessionAttrs::Primary, [Yes, Yes, No]),
            (SessionAttrs::ReadOnly, [No, Yes, Yes]),
            (SessionAttrs::ReadWrite, [Yes, No, No]),
            (SessionAttrs::Standby, [No, No, Yes]),
            (SessionAttrs::PreferStandby, [Last, Last, Yes]),
        ] {
            let admissions = [primary, frozen, replica].map(|(role, frozen)| attrs.admission(Some(role), frozen));
            assert_eq!(admissions, expected, "{attrs:?}");
        }
    }
}
