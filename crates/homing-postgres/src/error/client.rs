//! [`Error::client_message`], what a client may know of a failed call.

use tokio_postgres::error::SqlState;

use super::fate::Fate;
use super::{Error, ErrorKind};

/// # Clients
impl Error {
    /// Returns a short message that may be shown to clients, for example in a browser. It says whether the request was
    /// carried out and what to do. It names no server, table, column or value: the message itself, which may, is for the
    /// log.
    ///
    /// | the error | the message |
    /// |---|---|
    /// | has a message of the application ([`with_client_message`](Self::with_client_message)) | that message |
    /// | is [committed](Fate::Committed) | the request was carried out, but its result is not available: do not repeat it |
    /// | has an [unknown outcome](Fate::OutcomeUnknown) | no answer came, and the request may have been carried out: check before you repeat it |
    /// | [`is_overloaded`](Self::is_overloaded) | there are too many requests at the moment: try again later |
    /// | [`is_not_found`](Self::is_not_found) | what the request names does not exist |
    /// | [`is_outdated`](Self::is_outdated) | another change came first: read it again, then decide |
    /// | [`is_timed_out`](Self::is_timed_out) | the request took too long and was cancelled: nothing was changed |
    /// | is a violated unique key or exclusion (23505, 23P01) | a value is already taken |
    /// | is a violated foreign key (23503) | what the request refers to does not exist, or is still in use |
    /// | is another error of values (SQLSTATE classes 22 and 23) | a value is not valid |
    /// | is a conflict of transactions (class 40) | another change came first: try again |
    /// | is [not sent](Fate::NotSent), or of the classes 53, 55 and 57 | the database is not available at the moment: try again later |
    /// | is anything else, such as [misuse](Self::is_misuse) | the request failed |
    ///
    /// The texts may change with a new version. Decide by the predicates.
    ///
    /// ```
    /// use homing_postgres::Error;
    ///
    /// let error = Error::failed("transfer 7 of account 12: 20 of 50 EUR left");
    /// assert_eq!(error.client_message(), "the request failed");
    /// assert_eq!(error.with_client_message("there is not enough money").client_message(), "there is not enough money");
    /// ```
    pub fn client_message(&self) -> &str {
        self.0.client_message.as_deref().unwrap_or_else(|| self.general_message())
    }

    /// Sets what [`client_message`](Self::client_message) returns. The message of a named function's error reaches the
    /// function's caller.
    #[must_use]
    pub fn with_client_message(mut self, message: impl Into<String>) -> Self {
        self.0.client_message = Some(message.into());
        self
    }

    fn general_message(&self) -> &'static str {
        match self.fate() {
            Fate::Committed => "the request was carried out, but its result is not available: do not repeat it",
            Fate::OutcomeUnknown => {
                "no answer came, and the request may have been carried out: check before you repeat it"
            }
            _ if self.is_overloaded() => "there are too many requests at the moment: try again later",
            _ if self.is_not_found() => "what the request names does not exist",
            _ if self.is_outdated() => OUTDATED,
            _ if self.is_timed_out() => "the request took too long and was cancelled: nothing was changed",
            Fate::NotSent if matches!(self.0.kind, ErrorKind::NotSent | ErrorKind::NotPrimary) => UNAVAILABLE,
            _ => self.code().map_or(FAILED, of_sqlstate),
        }
    }
}

/// Returns the message for a SQLSTATE, by
/// [PostgreSQL's classes](https://www.postgresql.org/docs/current/errcodes-appendix.html).
fn of_sqlstate(code: &SqlState) -> &'static str {
    match code {
        code if [SqlState::UNIQUE_VIOLATION, SqlState::EXCLUSION_VIOLATION].contains(code) => {
            "a value is already taken"
        }
        code if *code == SqlState::FOREIGN_KEY_VIOLATION => {
            "what the request refers to does not exist, or is still in use"
        }
        code => match code.code().get(..2) {
            Some("22" | "23") => "a value is not valid",
            Some("40") => "another change came first: try again",
            Some("53" | "55" | "57") => UNAVAILABLE,
            _ => FAILED,
        },
    }
}

const OUTDATED: &str = "another change came first: read it again, then decide";

const FAILED: &str = "the request failed";

const UNAVAILABLE: &str = "the database is not available at the moment: try again later";

#[cfg(test)]
mod tests {
    use homing_proto::v1 as proto;

    use super::*;
    use crate::error::database::DatabaseError;

    fn refused(code: &str) -> Error {
        let error = proto::DatabaseError {
            code: code.into(),
            message: "duplicate key value violates \"users_name_key\"".into(),
            detail: "Key (name)=(Ada) already exists.".into(),
            ..Default::default()
        };
        Error::rejected_by(DatabaseError::from_proto(error), "the primary at 10.0.0.1:5432")
    }

    #[test]
    fn each_error_has_a_message_for_clients() {
        let place = "10.0.0.1:5432";
        for (error, message) in [
            (Error::not_sent(place), UNAVAILABLE),
            (Error::not_primary(place), UNAVAILABLE),
            (Error::overloaded(place), "there are too many requests at the moment: try again later"),
            (Error::misuse(place), FAILED),
            (Error::configuration(place), FAILED),
            (Error::decode(place), FAILED),
            (Error::failed(place), FAILED),
            (Error::outdated(place), OUTDATED),
            (Error::not_found(place), "what the request names does not exist"),
            (Error::timed_out(place), "the request took too long and was cancelled: nothing was changed"),
            (
                Error::committed(place, None),
                "the request was carried out, but its result is not available: do not repeat it",
            ),
            (
                Error::outcome_unknown(place),
                "no answer came, and the request may have been carried out: check before you repeat it",
            ),
            (refused("23505"), "a value is already taken"),
            (refused("23P01"), "a value is already taken"),
            (refused("23503"), "what the request refers to does not exist, or is still in use"),
            (refused("23514"), "a value is not valid"),
            (refused("22001"), "a value is not valid"),
            (refused("40001"), "another change came first: try again"),
            (refused("57P01"), UNAVAILABLE),
            (refused("42P01"), FAILED),
            (refused("P0001"), FAILED),
        ] {
            assert_eq!(error.client_message(), message, "{error}");
        }
    }
}
