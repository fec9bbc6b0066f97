//! [`SessionAttrs`], which servers of a connection string answer reads.

use super::taken::Taken;
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
    /// The name of the setting, which [`Taken`] takes out of a connection string.
    pub(super) const NAME: &str = "target_session_attrs";

    /// Reads the setting. `variable` names the setting of the connection string, for messages.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the value is not one of libpq's.
    pub(super) fn read(taken: &Taken<'_>, variable: &str) -> Result<Self> {
        let Some(value) = taken.value(Self::NAME) else { return Ok(Self::Any) };
        Self::of(value).ok_or_else(|| {
            Error::configuration(format!(
                "{variable} has an unknown value of {}: write any, read-write, read-only, primary, standby or \
                 prefer-standby",
                Self::NAME
            ))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<SessionAttrs> {
        SessionAttrs::read(&Taken::new(url, &[SessionAttrs::NAME]), "DATABASE_URL")
    }

    #[test]
    fn values_are_those_of_libpq() {
        use SessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        for (value, attrs) in [
            ("any", Any),
            ("primary", Primary),
            ("read-only", ReadOnly),
            ("read-write", ReadWrite),
            ("standby", Standby),
            ("prefer-standby", PreferStandby),
        ] {
            assert_eq!(read(&format!("postgres://a?target_session_attrs={value}")).unwrap(), attrs);
        }
        assert_eq!(read("postgres://a").unwrap(), Any);
    }

    #[test]
    fn unknown_value_names_the_variable() {
        for url in ["postgres://u:geheim@a?target_session_attrs=geheim", "host=a target_session_attrs=geheim"] {
            let error = read(url).unwrap_err();
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
