//! A named function: what is called, with which context, and how it fails.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Arguments, BoxFuture, Error, Reason, Region, Result, TraceContext};

/// A function that other nodes call by its name.
///
/// Most are made from a closure by [`Registry::register_fn`](crate::Registry::register_fn).
pub trait Function: Send + Sync + 'static {
    /// The name, unique within a registry.
    fn name(&self) -> &str;

    /// Whether running it twice does no more than running it once. Then a caller that has registered a function of this
    /// name repeats a call whose answer was lost, until its deadline. Default: no.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Runs the function. The result is one CBOR item.
    ///
    /// # Cancel safety
    ///
    /// The future runs in a task of its own: it goes on when the caller goes away, which shows in
    /// [`CallContext::cancelled`], and is dropped at the caller's deadline at the latest, or with the server.
    fn call(&self, context: CallContext, arguments: Arguments) -> BoxFuture<'static, Result<Bytes, FunctionError>>;
}

/// Who calls a function, and until when.
#[derive(Clone, Debug)]
pub struct CallContext {
    caller: Region,
    deadline: Instant,
    trace: TraceContext,
    scope: Arc<str>,
    /// Closed when nobody waits for the answer any more.
    awaited: watch::Receiver<()>,
}

impl CallContext {
    /// The region of the caller.
    pub fn caller(&self) -> &Region {
        &self.caller
    }

    /// When the caller gives up. The function's future is dropped then.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The trace that the call belongs to.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// What the caller wants the function to be about, in words that this crate does not know; empty for nothing in
    /// particular. See [`Rpc::call_in`](crate::Rpc::call_in).
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Completes when the caller has gone away, or has its answer: what is done from then on is for nobody.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        let mut awaited = self.awaited.clone();
        while awaited.changed().await.is_ok() {}
    }

    /// Whether [`cancelled`](Self::cancelled) would complete at once.
    pub fn is_cancelled(&self) -> bool {
        self.awaited.has_changed().is_err()
    }

    /// A context and what keeps it from being cancelled.
    pub(crate) fn new(caller: Region, deadline: Instant, trace: TraceContext) -> (Self, Awaiting) {
        let (awaiting, awaited) = watch::channel(());
        (Self { caller, deadline, trace, scope: "".into(), awaited }, Awaiting { _sender: awaiting })
    }

    pub(crate) fn with_scope(self, scope: String) -> Self {
        Self { scope: scope.into(), ..self }
    }
}

/// Held by whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Awaiting {
    _sender: watch::Sender<()>,
}

/// The error that a function returns to its caller.
///
/// Any error becomes one with `?` through [`FunctionError::from_error`] or `map_err`; an application's own error type
/// implements `From<ItsError> for FunctionError` to attach [`Details`].
#[derive(Clone, Debug)]
pub struct FunctionError(Arc<Inner>);

impl FunctionError {
    /// An error with a message for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self::of_kind(Kind::Failed, message.into(), None)
    }

    /// The same with details for programs.
    pub fn with_details(message: impl Into<String>, details: Details) -> Self {
        Self::of_kind(Kind::Failed, message.into(), Some(details))
    }

    /// An error with the messages of another one and its causes.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |&error| error.source());
        Self::new(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The details for programs.
    pub fn details(&self) -> Option<&Details> {
        self.0.details.as_ref()
    }

    /// Whether the arguments did not decode, so that the function did nothing.
    pub fn is_bad_arguments(&self) -> bool {
        matches!(self.0.kind, Kind::BadArguments)
    }

    /// Nothing was done, for this reason: the caller goes on to another node where the reason allows that, and hears
    /// that nothing was executed. Only for what is known before the function has done anything.
    pub fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self::of_kind(Kind::Refused(reason), message.into(), None)
    }

    pub(crate) fn refused_for(&self) -> Option<Reason> {
        match self.0.kind {
            Kind::Refused(reason) => Some(reason),
            Kind::BadArguments | Kind::Failed => None,
        }
    }

    /// The arguments do not decode.
    pub(crate) fn bad_arguments(message: String) -> Self {
        Self::of_kind(Kind::BadArguments, message, None)
    }

    fn of_kind(kind: Kind, message: String, details: Option<Details>) -> Self {
        Self(Arc::new(Inner { kind, message, details }))
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for FunctionError {}

impl From<&str> for FunctionError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for FunctionError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for FunctionError {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::from_error(&*error)
    }
}

/// A call that the function made itself failed; what its function attached is passed on.
impl From<Error> for FunctionError {
    fn from(error: Error) -> Self {
        match error.details().cloned() {
            Some(details) => Self::with_details(error.to_string(), details),
            None => Self::from_error(&error),
        }
    }
}

/// What a function attaches to its error: a protobuf message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The full name of the message, such as `homing.v1.DatabaseError`.
    pub type_name: String,
    /// The message in binary form.
    pub bytes: Bytes,
}

impl Details {
    /// The message `type_name` in binary form.
    pub fn new(type_name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { type_name: type_name.into(), bytes: bytes.into() }
    }
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    details: Option<Details>,
}

#[derive(Debug)]
enum Kind {
    BadArguments,
    Failed,
    Refused(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_cancelled_when_nobody_waits_any_more() {
        let (context, awaiting) = CallContext::new(Region::local(), Instant::now(), TraceContext::root());
        assert!(!context.is_cancelled());
        drop(awaiting);
        assert!(context.is_cancelled());
        context.cancelled().await;
    }

    #[test]
    fn an_error_of_another_kind_is_told_with_its_causes() {
        let error = Error::not_sent("no peer").with_source(std::io::Error::other("refused"));
        assert_eq!(FunctionError::from(error).to_string(), "no peer: refused");
    }

    #[test]
    fn details_of_a_function_called_by_a_function_are_passed_on() {
        let details = Details::new("a.B", "bytes");
        let error = Error::function_failed(Some(details.clone()), "broken");
        assert_eq!(FunctionError::from(error).details(), Some(&details));
    }
}
