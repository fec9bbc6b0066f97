//! The one error type of this crate.

use std::{error, fmt, io, path::Path};

/// An error of a testbed.
///
/// `Display` says what failed and, if something can be done about it, what to do. The cause is in
/// [`source`](error::Error::source). No predicate holds for an error of the operating system (a
/// file, a port, a process), and only [`db`](Self::db) says more about an error of a statement.
pub struct Error(Box<Inner>);

/// A result whose error is this crate's [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns whether PostgreSQL's server programs are not installed on this machine, so that no
    /// server can start. The message says how to install them.
    pub fn is_postgres_missing(&self) -> bool {
        self.0.kind == Kind::PostgresMissing
    }

    /// Returns whether the call itself is wrong: an invalid name, an unknown region, options that
    /// contradict each other.
    pub fn is_misuse(&self) -> bool {
        self.0.kind == Kind::Misuse
    }

    /// Returns whether a process ended too early. The message has the end of its log.
    pub fn is_exited(&self) -> bool {
        self.0.kind == Kind::Exited
    }

    /// Returns whether a time limit ran out.
    pub fn is_timed_out(&self) -> bool {
        self.0.kind == Kind::TimedOut
    }

    /// Returns PostgreSQL's own error, if PostgreSQL rejected a statement or a connection.
    pub fn db(&self) -> Option<&tokio_postgres::error::DbError> {
        let source = self.0.source.as_deref()?;
        source.downcast_ref::<tokio_postgres::Error>()?.as_db_error()
    }

    pub(crate) fn postgres_missing(message: impl Into<String>) -> Self {
        Self::new(Kind::PostgresMissing, message, None)
    }

    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(Kind::Misuse, message, None)
    }

    pub(crate) fn exited(message: impl Into<String>) -> Self {
        Self::new(Kind::Exited, message, None)
    }

    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(Kind::TimedOut, message, None)
    }

    pub(crate) fn io(message: impl Into<String>, source: io::Error) -> Self {
        Self::new(Kind::Io, message, Some(source.into()))
    }

    pub(crate) fn database(message: impl Into<String>, source: tokio_postgres::Error) -> Self {
        Self::new(Kind::Database, message, Some(source.into()))
    }

    fn new(kind: Kind, message: impl Into<String>, source: Option<Source>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, message, source }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Prints what `main` shows of an error: the message and its causes, a line each.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let causes = std::iter::successors(error::Error::source(self), |&cause| cause.source());
        causes.into_iter().try_for_each(|cause| write!(f, "\ncaused by: {cause}"))
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

/// Adds the path to the error of a file operation.
pub(crate) trait AtPath<T> {
    /// Turns an error into ours. `action` completes the message "cannot ... PATH".
    fn at(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::io(format!("cannot {action} {}", path.display()), error))
    }
}

type Source = Box<dyn error::Error + Send + Sync>;

struct Inner {
    kind: Kind,
    message: String,
    source: Option<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Database,
    Exited,
    Io,
    Misuse,
    PostgresMissing,
    TimedOut,
}
