//! [`Error`], and the fate of the call that failed.

mod application;
mod client;
mod constructors;
pub(crate) mod database;
pub(crate) mod fate;
mod foreign;
pub(crate) mod function;

use std::any::Any;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{error, fmt};

use bytes::Bytes;
use homing_rpc::{Causes, Reason};
use tokio_postgres::error::SqlState;

use self::database::DatabaseError;
use self::fate::Fate;
use crate::outcome::key::IdempotencyKey;
use crate::position::Position;

/// The result of Homing's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call: its cause, and the fate of its writes.
///
/// # The four fates
///
/// A write travels to the primary and back, and can fail at each step. So an error says what became of the write. It has
/// exactly one of these four fates:
///
/// | fate | what became of the write | typical causes | what to do |
/// |---|---|---|---|
/// | [not sent](Self::is_not_sent) | nothing was executed | no node of the primary region can be reached; all are overloaded; the call or the settings are wrong | try again later, or correct the call |
/// | [rejected](Self::is_rejected) | it ran, and nothing of it remains | PostgreSQL refused it ([`db`](Self::db) tells why); it ran into its time limit; the row does not exist | correct it |
/// | [outcome unknown](Self::is_outcome_unknown) | it may be committed or not | the primary could not be reached until the deadline after the answer was lost | ask [`Repo::outcome`](crate::Repo::outcome) with its [key](Self::idempotency_key) |
/// | [committed](Self::is_committed) | it is committed | the local replica is too far behind to show it; its rows are too large to return; a trigger stored something else | go on; do not repeat it |
///
/// A failed read is *not sent* or *rejected* too, since it changed nothing.
///
/// A named function has a fifth fate, [function failed](Self::is_function_failed): the function ran and returned an
/// error. It may have committed some of its writes before that, which only the function knows. A *transactional*
/// function that returns an error is rolled back, so its error is *rejected*.
///
/// ```
/// use homing_postgres::{Error, Fate};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.fate() {
///         Fate::NotSent => "nothing was written: try again later",
///         Fate::Rejected => "nothing was written: correct the input",
///         Fate::OutcomeUnknown => "it may have been written: check before you try again",
///         Fate::Committed => "it was written: do not try again",
///         Fate::FunctionFailed => "the function tells what it wrote",
///     }
/// }
/// ```
///
/// # The cause
///
/// The other predicates name the cause, for callers that decide by it:
///
/// | cause | predicate |
/// |---|---|
/// | PostgreSQL reported an error | [`db`](Self::db), [`code`](Self::code) |
/// | the application refused it with an error of its own | [`failure`](Self::failure) |
/// | the row does not exist | [`is_not_found`](Self::is_not_found) |
/// | the row was changed since it was read | [`is_outdated`](Self::is_outdated) |
/// | there are several rows | [`is_too_many_rows`](Self::is_too_many_rows) |
/// | a value has another type than the caller asked for | [`is_decode`](Self::is_decode) |
/// | the call ran into its time limit | [`is_timed_out`](Self::is_timed_out) |
/// | the call can never succeed | [`is_misuse`](Self::is_misuse) |
/// | the settings are wrong | [`is_configuration`](Self::is_configuration) |
/// | it is committed, and no synchronous replica has confirmed it | [`is_not_replicated`](Self::is_not_replicated) |
/// | the peer or this node is full | [`is_overloaded`](Self::is_overloaded), [`retry_after`](Self::retry_after) |
/// | the database is not the primary | [`is_not_primary`](Self::is_not_primary) |
/// | the region has no such function | [`is_unknown_function`](Self::is_unknown_function) |
/// | the peer refused the secret | [`is_unauthenticated`](Self::is_unauthenticated) |
/// | the token cannot be used | [`is_token_refused`](Self::is_token_refused) |
/// | what the session has seen was lost in a failover | [`is_history_lost`](Self::is_history_lost) |
///
/// # Messages
///
/// [`Display`](fmt::Display) prints the message: what failed, where, and what to do. `Debug`, which `main` prints, adds
/// the causes, a line each. Both may name servers, tables and statements, and are meant for logs. What may be a person's
/// data is shown on request only: by [`db`](Self::db)'s [`detail`](DatabaseError::detail), and by `{:#?}`, which prints
/// all fields. [`client_message`](Self::client_message) returns a message that may be shown to clients.
///
/// # Known limits
///
/// - A script or procedure that commits by itself can be *rejected* after parts of it were committed.
/// - A raw statement that gets no transaction id counts as one that wrote nothing, even if it sent a notification or
///   wrote to a foreign table. If its result cannot be returned, the error is *rejected*.
/// - What is [not protected](crate::Delivery) is sent at most once, such as a script or COPY. The application has to resolve its
///   unknown outcome.
pub struct Error(Box<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    message: String,
    /// What the application lets clients know.
    client_message: Option<String>,
    /// A value of the application.
    failure: Option<Failure>,
    database: Option<DatabaseError>,
    committed: Option<AfterCommit>,
    /// The key of a write whose outcome is unknown.
    key: Option<IdempotencyKey>,
    /// The value of the call, in case that it is committed. The mutex only makes `Error` `Sync`: the value need not be.
    value: Mutex<Option<Box<dyn Any + Send>>>,
    statement: Option<u32>,
    step: Option<Box<str>>,
    /// After how long an overloaded node asks to be tried again.
    retry_after: Option<Duration>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// An error value of the application, as it travels.
#[derive(Debug, Clone)]
struct Failure {
    /// The name of its type, without the modules.
    type_name: String,
    /// One CBOR item.
    value: Bytes,
}

struct AfterCommit {
    position: Option<Position>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorKind {
    AfterCommit,
    Configuration,
    Decode,
    Function,
    HistoryLost,
    KeySettled,
    Misuse,
    NotFound,
    NotPrimary,
    NotReplicated,
    NotSent,
    OutcomeUnknown,
    Outdated,
    Rejected,
    Stale,
    TimedOut,
    TokenRefused,
    TooManyRows,
    Unprotected,
}

impl Error {
    /// Returns an error of the application's own, for use in a named function. The function's caller gets an error with
    /// this message, for which [`is_function_failed`](Self::is_function_failed) holds.
    ///
    /// If the closure of a transaction returns it, the transaction is rolled back, and the caller gets this same error:
    /// [`is_function_failed`](Self::is_function_failed) holds although nothing remains. To tell your own errors from
    /// Homing's, give them a value with [`failed_with`](Self::failed_with), or return them from
    /// [`try_transaction`](crate::Repo::try_transaction).
    ///
    /// ```
    /// # use homing_postgres::{Error, Result};
    /// fn check(amount: i64) -> Result<()> {
    ///     if amount > 0 { Ok(()) } else { Err(Error::failed("an amount has to be positive")) }
    /// }
    /// assert_eq!(check(0).unwrap_err().to_string(), "an amount has to be positive");
    /// ```
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Function, message)
    }

    /// Returns the fate of the call.
    pub fn fate(&self) -> Fate {
        match self.0.kind {
            _ if self.is_committed() => Fate::Committed,
            ErrorKind::OutcomeUnknown => Fate::OutcomeUnknown,
            ErrorKind::Function => Fate::FunctionFailed,
            _ if self.is_rejected() => Fate::Rejected,
            _ => Fate::NotSent,
        }
    }

    /// Returns whether nothing was executed. The call may be repeated.
    pub fn is_not_sent(&self) -> bool {
        let kinds = [
            ErrorKind::NotSent,
            ErrorKind::HistoryLost,
            ErrorKind::KeySettled,
            ErrorKind::NotPrimary,
            ErrorKind::Stale,
            ErrorKind::Misuse,
            ErrorKind::Configuration,
            ErrorKind::TokenRefused,
            ErrorKind::Unprotected,
        ];
        kinds.contains(&self.0.kind) && !self.is_committed()
    }

    /// Returns whether the call was executed and nothing of it remains. PostgreSQL refused it (see [`db`](Self::db)), it
    /// was cancelled at its time limit, or the row does not exist or has another version.
    ///
    /// If a script or a procedure commits by itself, nothing remains that it wrote after its last commit.
    pub fn is_rejected(&self) -> bool {
        let kinds = [
            ErrorKind::Rejected,
            ErrorKind::TimedOut,
            ErrorKind::NotFound,
            ErrorKind::Outdated,
            ErrorKind::TooManyRows,
            ErrorKind::Decode,
        ];
        kinds.contains(&self.0.kind) && !self.is_committed()
    }

    /// Returns whether the call was sent and no answer came. It may be committed or not.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.kind == ErrorKind::OutcomeUnknown
    }

    /// Returns the key of a write whose [outcome is unknown](Self::is_outcome_unknown), for
    /// [`Repo::outcome`](crate::Repo::outcome). `None` if the write had none: see [`Delivery`](crate::Delivery).
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.0.key
    }

    /// Returns whether the call is committed on the primary, and only its result could not be returned. The local replica
    /// did not replay it in time, no synchronous replica [confirmed it](Self::is_not_replicated), its rows could not be
    /// delivered, or a trigger stored something else than was given.
    ///
    /// False if the statement wrote nothing. PostgreSQL is asked for that by [`update`](crate::Repo::update),
    /// [`delete`](crate::Repo::delete), and raw statements that start like a read.
    ///
    /// See [`position`](Self::position) and [`take_value`](Self::take_value).
    pub fn is_committed(&self) -> bool {
        self.0.committed.is_some()
    }

    /// Returns whether the call is committed on the primary, and its wait for a synchronous replica
    /// (`synchronous_standby_names`) was cancelled at the time limit: after a failover the write may be gone.
    /// [`is_committed`](Self::is_committed) holds too.
    pub fn is_not_replicated(&self) -> bool {
        self.0.kind == ErrorKind::NotReplicated
    }

    /// Returns whether the named function ran and returned an error. False if it is transactional: it was rolled back then,
    /// and the call is [rejected](Self::is_rejected).
    pub fn is_function_failed(&self) -> bool {
        self.0.kind == ErrorKind::Function
    }

    /// Returns whether the row to read, update or delete does not exist, or the row to insert was not stored. If a trigger
    /// wrote something else instead, [`is_committed`](Self::is_committed) holds too.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Returns whether the row to update or delete was changed since the caller read it: it has another version than the
    /// entity (`#[entity(version)]`). Nothing was written. Read the row again, and repeat the change if it still makes
    /// sense. The next reads of the session see what the row is now.
    pub fn is_outdated(&self) -> bool {
        self.0.kind == ErrorKind::Outdated
    }

    /// Returns whether the call ran longer than its limit and was cancelled. Nothing of it remains. Find out which lock it
    /// waited for, or raise the limit.
    pub fn is_timed_out(&self) -> bool {
        self.0.kind == ErrorKind::TimedOut
    }

    /// Returns whether the result has several rows, and the call asked for at most one.
    pub fn is_too_many_rows(&self) -> bool {
        self.0.kind == ErrorKind::TooManyRows
    }

    /// Returns whether the call is wrong and can never succeed. For example, a parameter has the wrong type, an argument
    /// cannot be encoded, a value is over the size limit, or the statement needs a session of its own.
    pub fn is_misuse(&self) -> bool {
        self.0.kind == ErrorKind::Misuse || self.rpc().is_some_and(homing_rpc::Error::is_misuse)
    }

    /// Returns whether the settings of the node are wrong.
    pub fn is_configuration(&self) -> bool {
        self.0.kind == ErrorKind::Configuration
    }

    /// Returns whether a value cannot be read as the type that the caller asked for.
    pub fn is_decode(&self) -> bool {
        self.0.kind == ErrorKind::Decode
    }

    /// Returns whether the called region has no function of that name.
    pub fn is_unknown_function(&self) -> bool {
        self.rpc().is_some_and(homing_rpc::Error::is_unknown_function)
    }

    /// Returns whether a limit was reached: the peer's calls in flight, or the open transactions of the peer or this node.
    /// [`retry_after`](Self::retry_after) tells when to try again. A named function that fails for this reason passes it
    /// on to its caller; the fate says whether the function may have written anything before.
    pub fn is_overloaded(&self) -> bool {
        self.0.retry_after.is_some() || self.rpc().is_some_and(homing_rpc::Error::is_overloaded)
    }

    /// Returns whether this node and the peer did not prove to each other that they have the same secret, or valid
    /// certificates.
    pub fn is_unauthenticated(&self) -> bool {
        self.rpc().is_some_and(homing_rpc::Error::is_unauthenticated)
    }

    /// Returns after how long an overloaded peer asks to be tried again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after.or_else(|| self.rpc()?.retry_after())
    }

    /// Returns PostgreSQL's own error, if there was one. A forwarded statement keeps it, and so does a named function that
    /// failed because of it.
    pub fn db(&self) -> Option<&DatabaseError> {
        self.0.database.as_ref()
    }

    /// Returns the SQLSTATE of [`db`](Self::db).
    pub fn code(&self) -> Option<&SqlState> {
        self.db().map(DatabaseError::code)
    }

    /// Returns the name of the step that made a [`Batch`](crate::Batch) fail. `None` if the cause was not a step, but for
    /// example the network or the commit.
    pub fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// Returns the position of a committed write. `None` if [`is_committed`](Self::is_committed) does not hold, if the primary
    /// could not be asked for the position, or if it is local and was not asked; see [`Report::position`](crate::Report).
    pub fn position(&self) -> Option<Position> {
        self.0.committed.as_ref().and_then(|committed| committed.position)
    }

    /// Takes the value that a committed write would have returned. `None` if [`is_committed`](Self::is_committed) does not
    /// hold, if the call returns another type than `T`, or if the value could not be delivered or was taken before.
    ///
    /// ```
    /// # fn example(error: homing_postgres::Error) {
    /// # let mut error = error;
    /// if error.is_committed() {
    ///     let rows: Option<u64> = error.take_value();
    /// }
    /// # }
    /// ```
    pub fn take_value<T: 'static>(&mut self) -> Option<T> {
        self.0.committed.as_ref()?;
        let slot = self.0.value.get_mut().unwrap_or_else(PoisonError::into_inner);
        match slot.take()?.downcast::<T>() {
            Ok(value) => Some(*value),
            Err(value) => {
                *slot = Some(value);
                None
            }
        }
    }

    /// Returns whether what the session has written or read was lost in a failover, or cannot be shown to have survived: the
    /// primary that was promoted does not have it in its history. Nothing was executed.
    ///
    /// The session fails once for each loss, and then goes on with what the primary has. So read again what the call
    /// depends on, and then repeat the call.
    ///
    /// Whether it survived can be shown by the node that has followed the promoted server before, and by roles that may read
    /// the server's history file (`pg_read_file`, by default superusers).
    pub fn is_history_lost(&self) -> bool {
        self.0.kind == ErrorKind::HistoryLost
    }

    /// Returns whether the database is not the primary, or is an old one: the session has seen a later timeline.
    pub fn is_not_primary(&self) -> bool {
        self.0.kind == ErrorKind::NotPrimary
    }

    /// Returns whether a token could not be used: it was changed or cut off, was made with another secret or by another
    /// build, or belongs to another database. Go on without it. See [`Repo::with_token`](crate::Repo::with_token).
    pub fn is_token_refused(&self) -> bool {
        self.0.kind == ErrorKind::TokenRefused
    }

    /// Returns whether the key of a write was settled after the attempt had been sent.
    pub(crate) fn is_key_settled(&self) -> bool {
        self.0.kind == ErrorKind::KeySettled
    }

    /// Returns whether the database has no table of outcomes, for a write with a key.
    pub(crate) fn is_unprotected(&self) -> bool {
        self.0.kind == ErrorKind::Unprotected
    }

    /// Returns whether the primary prepares the statement with other types than this node assumed.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.kind == ErrorKind::Stale
    }

    /// Returns whether no primary could be reached on the way that was tried: it does not answer, or is a replica.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NotSent | ErrorKind::NotPrimary)
            && !self.is_overloaded()
            && self.rpc().is_none_or(is_out_of_reach)
    }

    fn rpc(&self) -> Option<&homing_rpc::Error> {
        self.0.source.as_ref()?.downcast_ref()
    }
}

/// Returns whether no peer took the request, or the peers do not reach the primary.
pub(crate) fn is_out_of_reach(error: &homing_rpc::Error) -> bool {
    let reasons = [None, Some(Reason::DatabaseUnavailable), Some(Reason::Draining), Some(Reason::NotPrimary)];
    error.is_not_sent() && !error.is_misuse() && reasons.contains(&error.reason())
}

/// `{:?}` prints what `main` shows of an error: the message and its causes, a line each. `{:#?}` prints all fields,
/// including those of [`db`](Error::db) that may hold a person's data.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return write!(f, "{:#}", Causes(self));
        }
        let ErrorInner {
            kind, message, client_message, failure, database, statement, step, retry_after, source, ..
        } = &*self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", kind).field("message", message).field("client_message", client_message);
        debug.field("failure", failure).field("database", database);
        debug.field("position", &self.position()).field("statement", statement).field("step", step);
        debug.field("retry_after", retry_after).field("source", source).finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.0.source {
            // This error has the same message as that one, so the chain goes on with that one's cause.
            Some(source) if source.is::<homing_rpc::Error>() => source.source(),
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// After how long an overloaded node asks to be tried again. In this time some of the open transactions end.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_prints_each_message_once() {
        let refused = std::io::Error::other("connection refused");
        let wrapped = Error::from(homing_rpc::Error::discovery("no peer in syd").with_source(refused));
        assert_eq!(format!("{wrapped:?}"), "no peer in syd\ncaused by: connection refused");

        let inner = Error::not_sent("no answer");
        let outer = Error::misuse("cannot connect: no answer").with_source(inner);
        assert_eq!(format!("{outer:?}"), "cannot connect: no answer");
        assert!(format!("{outer:#?}").contains("kind: Misuse"), "{outer:#?}");
    }
}
