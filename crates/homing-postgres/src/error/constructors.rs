//! How an [`Error`] is made.

use std::error;
use std::fmt;
use std::sync::Mutex;

use super::database::DatabaseError;
use super::{AfterCommit, Error, ErrorInner, ErrorKind, RETRY_AFTER};
use crate::outcome::key::IdempotencyKey;
use crate::position::Position;

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            message: message.into(),
            client_message: None,
            failure: None,
            database: None,
            committed: None,
            key: None,
            value: Mutex::new(None),
            statement: None,
            step: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Returns an error for wrong settings.
    #[doc(hidden)]
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Adds the cause.
    #[doc(hidden)]
    #[must_use]
    pub fn with_cause(self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.with_source(source)
    }

    pub(crate) fn decode(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Decode, message)
    }

    /// Names the struct that a row was read as.
    pub(crate) fn reading(mut self, name: &str) -> Self {
        self.0.message = format!("cannot read {name}: {}", self.0.message);
        self
    }

    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, message)
    }

    /// Returns an error for a missing row.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Returns an error for positions of the session that the primary does not have.
    pub(crate) fn history_lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::HistoryLost, message)
    }

    pub(crate) fn not_primary(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotPrimary, message)
    }

    pub(crate) fn stale(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Stale, message)
    }

    /// Returns an error for an attempt of a write that was sent before its key was settled.
    pub(crate) fn key_settled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::KeySettled, message)
    }

    /// Returns an error for a write with a key, if the database has no table of outcomes.
    pub(crate) fn unprotected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unprotected, message)
    }

    pub(crate) fn not_sent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSent, message)
    }

    pub(crate) fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutcomeUnknown, message)
    }

    /// Returns an error for a full node.
    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        let mut error = Self::not_sent(message);
        error.0.retry_after = Some(RETRY_AFTER);
        error
    }

    /// Adds the key of the write.
    pub(crate) fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.0.key = Some(key);
        self
    }

    /// Adds PostgreSQL's own error.
    pub(crate) fn with_database(mut self, database: DatabaseError) -> Self {
        self.0.database = Some(database);
        self
    }

    /// Returns an error for a row that has another version than the caller has read.
    pub(crate) fn outdated(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Outdated, message)
    }

    pub(crate) fn rejected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, message)
    }

    /// Returns an error for a call that was cancelled at its time limit.
    #[doc(hidden)]
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TimedOut, message)
    }

    pub(crate) fn token_refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TokenRefused, message)
    }

    pub(crate) fn too_many_rows(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooManyRows, message)
    }

    /// Returns an error for a statement that PostgreSQL refused at `place`.
    pub(crate) fn rejected_by(database: DatabaseError, place: impl fmt::Display) -> Self {
        let mut error = Self::new(ErrorKind::Rejected, format!("{place} rejected the statement: {database}"));
        error.0.database = Some(database);
        error
    }

    pub(crate) fn committed(message: impl Into<String>, position: Option<Position>) -> Self {
        let mut error = Self::new(ErrorKind::AfterCommit, message);
        error.0.committed = Some(AfterCommit { position });
        error
    }

    /// Returns an error for a write that is committed and not confirmed by a synchronous replica.
    pub(crate) fn not_replicated() -> Self {
        let mut error = Self::committed(
            "the write is committed on the primary, but no synchronous replica confirmed it in time: if the primary is \
             lost now, so is the write; look at pg_stat_replication, and do not repeat the write",
            None,
        );
        error.0.kind = ErrorKind::NotReplicated;
        error
    }

    /// Turns the error into one of a committed write, whose result could not be returned because of this error.
    pub(crate) fn after_commit(mut self, position: Option<Position>) -> Self {
        if !self.is_committed() {
            self.0.message = format!("the write is committed, but its result cannot be returned: {}", self.0.message);
        }
        self.0.committed = Some(AfterCommit { position });
        self
    }

    /// Notes which statement of the request failed, counted from zero.
    pub(crate) fn at_statement(mut self, statement: Option<u32>) -> Self {
        self.0.statement = statement;
        self
    }

    /// Returns which statement of the request failed, if the server has reported it.
    pub(crate) fn statement(&self) -> Option<u32> {
        self.0.statement
    }

    /// Names the call that failed.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.0.message = format!("{subject}: {}", self.0.message);
        self
    }

    /// Names the step of a batch that failed.
    pub(crate) fn in_step(mut self, step: &str) -> Self {
        self.0.message = format!("step {step:?}: {}", self.0.message);
        self.0.step = Some(step.into());
        self
    }

    /// Keeps the value of the call, which [`take_value`](Self::take_value) returns if the call is committed.
    pub(crate) fn with_value<T: Send + 'static>(mut self, value: T) -> Self {
        self.0.value = Mutex::new(Some(Box::new(value)));
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}
