pub(crate) mod database;
pub(crate) mod fate;
pub(crate) mod function;

use std::any::Any;
use std::error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homing_rpc::Reason;
use tokio_postgres::error::SqlState;

use self::database::DatabaseError;
use self::fate::Fate;
use crate::position::Position;

/// The result of Homing's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and with it the fate of the write.
///
/// A failed write is exactly one of these four:
///
/// | predicate | the write | what to do |
/// |---|---|---|
/// | [`is_not_sent`](Self::is_not_sent) | never reached a database | try again later |
/// | [`is_rejected`](Self::is_rejected) | ran and was rolled back, [`db`](Self::db) says why | correct it |
/// | [`is_outcome_unknown`](Self::is_outcome_unknown) | may have been committed | look before trying again |
/// | [`is_committed`](Self::is_committed) | is committed, but cannot be seen here yet | go on; do not repeat it |
///
/// The other predicates say more about the cause. A failed read, and a call that is wrong in itself, changed nothing:
/// they are *not sent* or *rejected* likewise. A named function that failed ([`is_function_failed`]) is the exception:
/// it may have committed some of its writes before, which only the function knows.
///
/// [`is_function_failed`]: Self::is_function_failed
pub struct Error(Box<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    message: String,
    database: Option<DatabaseError>,
    committed: Option<AfterCommit>,
    statement: Option<u32>,
    step: Option<Box<str>>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

struct AfterCommit {
    position: Option<Position>,
    // In a mutex only so that an error can be shared, whatever the value is.
    value: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorKind {
    AfterCommit,
    Configuration,
    Decode,
    Function,
    Misuse,
    NoRow,
    NotFound,
    NotPrimary,
    NotSent,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Stale,
    TimedOut,
    TokenRefused,
    TooManyRows,
}

impl Error {
    /// An error of the application's own, for a named function to return: its caller gets it as
    /// [`is_function_failed`](Self::is_function_failed) with this message.
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

    /// What became of the call in one word: for a log, a metric, a status.
    pub fn fate(&self) -> Fate {
        match self.0.kind {
            _ if self.is_committed() => Fate::Committed,
            ErrorKind::OutcomeUnknown => Fate::OutcomeUnknown,
            ErrorKind::Function => Fate::FunctionFailed,
            _ if self.is_rejected() => Fate::Rejected,
            _ => Fate::NotSent,
        }
    }

    /// Nothing was executed. The same call may be made again.
    pub fn is_not_sent(&self) -> bool {
        let kinds = [
            ErrorKind::NotSent,
            ErrorKind::NotPrimary,
            ErrorKind::Overloaded,
            ErrorKind::Stale,
            ErrorKind::Misuse,
            ErrorKind::Configuration,
            ErrorKind::TokenRefused,
        ];
        kinds.contains(&self.0.kind) && !self.is_committed()
    }

    /// It was executed and nothing of it remains (of a script or a procedure that commits by itself: nothing since its
    /// last commit): PostgreSQL refused it ([`db`](Self::db)), it was cancelled at its
    /// deadline, or there was no such row.
    pub fn is_rejected(&self) -> bool {
        let kinds = [
            ErrorKind::Rejected,
            ErrorKind::TimedOut,
            ErrorKind::NotFound,
            ErrorKind::NoRow,
            ErrorKind::TooManyRows,
            ErrorKind::Decode,
        ];
        kinds.contains(&self.0.kind) && !self.is_committed()
    }

    /// It was sent and no answer came: it may be committed or not.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.kind == ErrorKind::OutcomeUnknown
    }

    /// It is committed on the primary, but its result could not be given as asked: the replica here has not replayed
    /// it within the limit, or its rows could not be delivered. Not said where PostgreSQL says that nothing was written,
    /// which it is asked of statements that begin like a read. See [`position`](Self::position) and
    /// [`take_value`](Self::take_value).
    pub fn is_committed(&self) -> bool {
        self.0.committed.is_some()
    }

    /// The named function ran and returned an error.
    pub fn is_function_failed(&self) -> bool {
        self.0.kind == ErrorKind::Function
    }

    /// The row to read, update or delete does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NotFound | ErrorKind::NoRow)
    }

    /// It ran longer than its limit and was cancelled: nothing of it remains. Look at what it waits for, or raise the limit.
    pub fn is_timed_out(&self) -> bool {
        self.0.kind == ErrorKind::TimedOut
    }

    /// There were several rows where at most one was asked for.
    pub fn is_too_many_rows(&self) -> bool {
        self.0.kind == ErrorKind::TooManyRows
    }

    /// The call is wrong and can never succeed: a parameter of another type, a statement that a pooled connection
    /// cannot keep, an argument that does not encode, a value over the size limit.
    pub fn is_misuse(&self) -> bool {
        self.0.kind == ErrorKind::Misuse || self.rpc().is_some_and(homing_rpc::Error::is_misuse)
    }

    /// The settings of the node are wrong.
    pub fn is_configuration(&self) -> bool {
        self.0.kind == ErrorKind::Configuration
    }

    /// A value of a row is not of the type that was asked for.
    pub fn is_decode(&self) -> bool {
        self.0.kind == ErrorKind::Decode
    }

    /// No function of that name is registered in the region that was called.
    pub fn is_unknown_function(&self) -> bool {
        self.rpc().is_some_and(homing_rpc::Error::is_unknown_function)
    }

    /// The peer has as many calls in flight, or this node or the peer as many interactive transactions open, as it allows.
    /// [`retry_after`](Self::retry_after) says when to try again.
    pub fn is_overloaded(&self) -> bool {
        self.0.kind == ErrorKind::Overloaded || self.rpc().is_some_and(homing_rpc::Error::is_overloaded)
    }

    /// The peer refused the credential.
    pub fn is_unauthenticated(&self) -> bool {
        self.rpc().is_some_and(homing_rpc::Error::is_unauthenticated)
    }

    /// When an overloaded peer asks to be tried again.
    pub fn retry_after(&self) -> Option<Duration> {
        if self.0.kind == ErrorKind::Overloaded {
            return Some(RETRY_AFTER);
        }
        self.rpc().and_then(homing_rpc::Error::retry_after)
    }

    /// PostgreSQL's own error, if there was one: also that of a forwarded statement, and that which made a named
    /// function fail.
    pub fn db(&self) -> Option<&DatabaseError> {
        self.0.database.as_ref()
    }

    /// The SQLSTATE of [`db`](Self::db).
    pub fn code(&self) -> Option<&SqlState> {
        self.db().map(DatabaseError::code)
    }

    /// The name of the step that made a [`Batch`](crate::Batch) fail. `None` where it was none of them: the network, the
    /// commit.
    pub fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// Where a committed write lies in the write-ahead log. Given with [`is_committed`](Self::is_committed), unless
    /// the primary could not be asked for it.
    pub fn position(&self) -> Option<Position> {
        self.0.committed.as_ref().and_then(|committed| committed.position)
    }

    /// Takes the value of a committed write: what the call would have returned. `None` where the error is another
    /// one, where `T` is another type, or where the value was taken before.
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
        let slot = self.0.committed.as_mut()?.value.get_mut().unwrap_or_else(PoisonError::into_inner);
        match slot.take()?.downcast::<T>() {
            Ok(value) => Some(*value),
            Err(value) => {
                *slot = Some(value);
                None
            }
        }
    }

    /// The database that was asked is not the primary.
    pub fn is_not_primary(&self) -> bool {
        self.0.kind == ErrorKind::NotPrimary
    }

    /// The token was changed, cut off, made with another secret or by another build, or is of another database: go on
    /// without it. See [`Repo::with_token`](crate::Repo::with_token).
    pub fn is_token_refused(&self) -> bool {
        self.0.kind == ErrorKind::TokenRefused
    }

    /// The primary prepares the statement to other types than were assumed here.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.kind == ErrorKind::Stale
    }

    fn rpc(&self) -> Option<&homing_rpc::Error> {
        self.0.source.as_ref()?.downcast_ref()
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            message: message.into(),
            database: None,
            committed: None,
            statement: None,
            step: None,
            source: None,
        }))
    }

    /// The settings are wrong.
    #[doc(hidden)]
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// The same with its cause.
    #[doc(hidden)]
    #[must_use]
    pub fn with_cause(self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.with_source(source)
    }

    pub(crate) fn decode(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Decode, message)
    }

    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, message)
    }

    /// There is no such row, and so nothing was done.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// There is no row in the result; what the statement did besides is another matter.
    pub(crate) fn no_row(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NoRow, message)
    }

    pub(crate) fn not_primary(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotPrimary, message)
    }

    pub(crate) fn stale(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Stale, message)
    }

    pub(crate) fn not_sent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSent, message)
    }

    pub(crate) fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutcomeUnknown, message)
    }

    /// This node has no room for it.
    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Overloaded, message)
    }

    /// The same with PostgreSQL's own error behind it.
    pub(crate) fn with_database(mut self, database: DatabaseError) -> Self {
        self.0.database = Some(database);
        self
    }

    pub(crate) fn rejected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, message)
    }

    /// It was cancelled at its limit.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TimedOut, message)
    }

    pub(crate) fn token_refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TokenRefused, message)
    }

    pub(crate) fn too_many_rows(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooManyRows, message)
    }

    /// PostgreSQL refused it, at `place`.
    pub(crate) fn rejected_by(database: DatabaseError, place: impl fmt::Display) -> Self {
        let mut error = Self::new(ErrorKind::Rejected, format!("{place} rejected it: {database}"));
        error.0.database = Some(database);
        error
    }

    pub(crate) fn committed(message: impl Into<String>, position: Option<Position>) -> Self {
        let mut error = Self::new(ErrorKind::AfterCommit, message);
        error.0.committed = Some(AfterCommit { position, value: Mutex::new(None) });
        error
    }

    /// The same after a commit: the write is done, and this is why its result cannot be given.
    pub(crate) fn after_commit(mut self, position: Option<Position>) -> Self {
        if self.0.kind != ErrorKind::NotFound {
            self.0.message =
                format!("it was executed and is committed, but its result cannot be given: {}", self.0.message);
            self.0.committed = Some(AfterCommit { position, value: Mutex::new(None) });
        }
        self
    }

    /// Says which statement of a request it was, from zero.
    pub(crate) fn at_statement(mut self, statement: Option<u32>) -> Self {
        self.0.statement = statement;
        self
    }

    /// Which statement of the request failed, where the server has said so.
    pub(crate) fn statement(&self) -> Option<u32> {
        self.0.statement
    }

    /// Names the step of a batch that failed.
    pub(crate) fn in_step(mut self, step: &str) -> Self {
        self.0.message = format!("step {step:?}: {}", self.0.message);
        self.0.step = Some(step.into());
        self
    }

    pub(crate) fn with_value<T: Send + 'static>(mut self, value: T) -> Self {
        if let Some(committed) = self.0.committed.as_mut() {
            committed.value = Mutex::new(Some(Box::new(value)));
        }
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl From<homing_rpc::Error> for Error {
    fn from(error: homing_rpc::Error) -> Self {
        let kind = if error.is_function_failed() {
            ErrorKind::Function
        } else if error.is_executed() {
            ErrorKind::Decode
        } else if error.is_outcome_unknown() {
            ErrorKind::OutcomeUnknown
        } else if error.is_misuse() || error.is_too_large() || error.is_bad_arguments() {
            ErrorKind::Misuse
        } else if error.is_not_primary() {
            ErrorKind::NotPrimary
        } else if error.reason() == Some(Reason::StaleStatement) {
            ErrorKind::Stale
        } else {
            ErrorKind::NotSent
        };
        let mut wrapped = Self::new(kind, error.to_string());
        if kind == ErrorKind::Decode {
            // The function ran to its end; only what it returned cannot be read.
            wrapped.0.committed = Some(AfterCommit { position: None, value: Mutex::new(None) });
        }
        wrapped.0.database = error.details().and_then(DatabaseError::from_details);
        wrapped.with_source(error)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(database) = &self.0.database {
            debug.field("database", database);
        }
        if let Some(position) = self.position() {
            debug.field("position", &position);
        }
        if let Some(step) = self.step() {
            debug.field("step", &step);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
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
            // The message is that error's own already; go on to what caused it.
            Some(source) if source.is::<homing_rpc::Error>() => source.source(),
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// After how long an overloaded node asks to be tried again: about the time in which some of the open transactions end.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);
