//! Runs calls in a span, and reports how they went.

use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, debug_span, field};

use super::Engine;
use super::operation::Operation;
use crate::call::report::{AnsweredBy, Report};
use crate::error::{Error, Result};
use crate::statement::sql::shown;

/// The result of a call, and the report of how it went.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) value: Result<T>,
    /// `None` if the call had nothing to do.
    pub(crate) report: Option<Report>,
}

impl<T> Answered<T> {
    pub(crate) fn new(value: Result<T>, report: Report) -> Self {
        Self { value, report: Some(report) }
    }

    /// Decodes the value with `read`.
    pub(crate) fn and_then<U>(self, read: impl FnOnce(T) -> Result<U>) -> Answered<U> {
        Answered { value: self.value.and_then(read), report: self.report }
    }
}

impl Engine {
    /// Runs a call in a span of its own. Right before it returns, the call is reported once, to this span and to the
    /// handle's observers. An error names the call.
    ///
    /// The future is boxed, since the compiler limits how deep futures may be nested, and applications nest further.
    pub(crate) fn reported<'a, T: Send + 'a>(
        &'a self,
        operation: Operation<'a>,
        call: impl Future<Output = Result<Answered<T>>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        self.reported_unboxed(operation, call).boxed()
    }

    async fn reported_unboxed<T>(
        &self,
        operation: Operation<'_>,
        call: impl Future<Output = Result<Answered<T>>>,
    ) -> Result<T> {
        let (span, started) = (self.span(operation), Instant::now());
        if let Some(tally) = &self.tally {
            tally.begin();
        }
        let answered = Box::pin(call).instrument(span.clone()).await;
        let Answered { value, report } = answered.unwrap_or_else(|error| failed(operation.name, error));
        let wrote = report.as_ref().is_some_and(|report| report.wrote);
        let may_have_written = wrote || value.as_ref().is_err_and(|error| error.fate().may_have_written());
        if let Some(tally) = self.tally.as_ref().filter(|_| !may_have_written) {
            tally.end_unchanged();
        }
        if let Some(mut report) = report {
            report.fate = value.as_ref().err().map(Error::fate);
            record(&span, &report);
            span.in_scope(|| {
                debug!(elapsed = ?started.elapsed(), "call ended");
                self.observer.observe(&report);
            });
        }
        value.map_err(|error| operation.locate(error))
    }

    fn span(&self, operation: Operation<'_>) -> Span {
        let span = debug_span!(
            "homing.repo",
            operation = operation.name,
            sql = operation.sql.map(shown),
            region = %self.rpc().topology().region(),
            peer = field::Empty,
            role = field::Empty,
            position = field::Empty,
            attempt = field::Empty,
            fate = field::Empty,
            route = field::Empty,
            forward = field::Empty,
            execute = field::Empty,
            replay_wait = field::Empty,
        );
        // Finding the database requires a choice among the replicas, so it is skipped for a disabled span.
        if !span.is_disabled()
            && let Some(role) = self.primary().database().and_then(|database| database.role())
        {
            span.record("role", field::display(role));
        }
        span
    }
}

fn failed<T>(operation: &'static str, error: Error) -> Answered<T> {
    Answered::new(Err(error), Report::new(operation, AnsweredBy::Unknown))
}

fn record(span: &Span, report: &Report) {
    let Report { stages, .. } = report;
    if let AnsweredBy::Peer(peer) = &report.answered_by {
        span.record("peer", field::display(peer));
    }
    if let Some(position) = report.position {
        span.record("position", field::display(position));
    }
    if let Some(fate) = report.fate {
        span.record("fate", fate.as_str());
    }
    if report.answered_by == AnsweredBy::Unknown {
        return;
    }
    span.record("attempt", report.attempts);
    span.record("route", field::debug(stages.route));
    span.record("forward", field::debug(stages.forward));
    span.record("execute", field::debug(stages.execute));
    span.record("replay_wait", field::debug(stages.replay_wait));
}
