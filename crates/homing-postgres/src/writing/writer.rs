//! [`Writer`], which runs statements on the primary and waits for the local replica.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument, debug_span};

use crate::call::options::{OnLag, Wait};
use crate::call::report::{AnsweredBy, Report};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::execute::{Output, Parameters, PrimaryRunner, Statements, execute, only};
use crate::error::{Error, Result};
use crate::position::Position;
use crate::reading::on_primary::note_read_from_primary;
use crate::reading::reader::has_reached;
use crate::replicas::Member;
use crate::statement::kind::Writes;
use crate::tracker::error::WaitError;

/// Runs the writes of one handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    engine: &'a Engine,
    operation: &'static str,
}

/// A write that is committed, and may not be visible on the local replica yet.
#[derive(Debug)]
pub(crate) struct Committed<T> {
    pub(crate) value: Result<T>,
    pub(crate) position: Option<Position>,
    /// The positions that the session had before the commit.
    pub(crate) before: Vec<Position>,
    /// Whether the wait for a synchronous replica was cancelled.
    pub(crate) not_replicated: bool,
    pub(crate) report: Report,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(engine: &'a Engine, operation: &'static str) -> Self {
        Self { engine, operation }
    }

    /// Runs statements that write in one transaction, and decodes their outputs with `read`.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        statements: &(impl Statements + ?Sized),
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Result<Answered<T>> {
        self.execute(statements, Writes::Yes, read).await
    }

    /// Runs one statement that may write. The statement has to run in a transaction block as it does by itself.
    pub(crate) async fn write_or_read<T: Send + 'static>(
        &self,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<Answered<T>> {
        self.execute(&[(sql, parameters)][..], Writes::Maybe, |outputs| read(only(outputs))).await
    }

    /// Runs statements. If PostgreSQL says that they wrote nothing, they were a read.
    async fn execute<T: Send + 'static>(
        &self,
        statements: &(impl Statements + ?Sized),
        writes: Writes,
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Result<Answered<T>> {
        let Self { engine, operation } = *self;
        let started = Instant::now();
        let earlier = engine.session.earlier();
        let runner = PrimaryRunner { engine, writes, deadline: engine.deadline() };
        let (executed, descriptions) = execute(statements, &runner).await?;
        if executed.unchanged {
            let answered =
                note_read_from_primary(engine, operation, started, executed, &descriptions, &earlier).await?;
            return Ok(answered.and_then(read));
        }
        let (position, not_replicated) = (executed.position, executed.not_replicated);
        let report = executed.trip.report(operation, started, position);
        let (value, before) = (executed.outputs(&descriptions).and_then(read), earlier.positions);
        Ok(self.settle(Committed { value, position, before, not_replicated, report }).await)
    }

    /// Waits for the replica as the options say, and returns the value of a committed write.
    pub(crate) async fn settle<T: Send + 'static>(&self, committed: Committed<T>) -> Answered<T> {
        let Committed { mut value, position, before, not_replicated, mut report } = committed;
        let started = Instant::now();
        let waiting = self.wait_until_visible(position, &before, &report.answered_by);
        let visible = waiting.instrument(debug_span!("replay_wait")).await;
        report.stages.replay_wait = started.elapsed();
        report.wrote = true;
        if not_replicated {
            value = value.and_then(|value| Err(Error::not_replicated().with_value(value)));
        }
        let value = match (visible, value) {
            (Ok(()), value) => value.map_err(|error| error.after_commit(position)),
            (Err(error), Ok(value)) => Err(error.with_value(value)),
            // That the replica lags is known from the session. What became of the write is not.
            (Err(_), Err(error)) => Err(error.after_commit(position)),
        };
        Answered::new(value, report)
    }

    async fn wait_until_visible(
        &self,
        position: Option<Position>,
        before: &[Position],
        answered_by: &AnsweredBy,
    ) -> Result<()> {
        let Engine { session, options, .. } = self.engine;
        if options.wait == Wait::Never {
            return Ok(());
        }
        // If the position is not known, the next read asks for one.
        match (position, self.local_primary(answered_by)) {
            (Some(position), _) => session.advance_past(before, position),
            (None, Some(local)) => {
                session.has_written(local.database());
                // It was not asked for the position, because the call does not wait.
                return Ok(());
            }
            (None, None) => session.lost_track(),
        }
        let Some(member) = self.replica(position) else { return Ok(()) };
        if options.wait == Wait::AtNextRead || member.database().is_spread() {
            // If the address of the replica is spread over several servers, each read asks the one that it has.
            return Ok(());
        }
        let Some(position) = position else {
            // Later reads ask for a position, and the primary answers them as long as it has none to give.
            return match options.on_lag {
                OnLag::ReadFromPrimary => Ok(()),
                OnLag::Fail => Err(Error::committed(
                    "the write is committed, but the primary was lost before it sent the position: the local replica may \
                     not show the write yet",
                    None,
                )),
            };
        };
        if options.on_lag == OnLag::ReadFromPrimary
            && let Some(behind) = session.behind()
        {
            // A wait has taken too long already, and reads go to the primary, so that not every write has to wait
            // again.
            if !has_reached(member.database(), behind).await {
                return Ok(());
            }
            session.caught_up(behind);
        }
        match member.database().tracker().wait_while_reachable(position, options.replay_deadline()).await {
            Ok(()) => {
                session.caught_up(position);
                Ok(())
            }
            // The next read finds another replica that shows the write.
            Err(WaitError::TimedOut | WaitError::Unreachable)
                if matches!(self.engine.choose_reached(position), Ok(Some(_))) =>
            {
                Ok(())
            }
            Err(error) => {
                if error == WaitError::Unreachable {
                    self.engine.replicas().suspect(&member);
                }
                self.not_visible(position, error)
            }
        }
    }

    /// Returns the primary if it is local and answered.
    fn local_primary(&self, answered_by: &AnsweredBy) -> Option<Arc<Member>> {
        self.engine.replicas().local_primary().filter(|_| *answered_by == AnsweredBy::Local)
    }

    /// Returns the replica that the next read goes to, or `None` if it goes to the primary.
    fn replica(&self, position: Option<Position>) -> Option<Arc<Member>> {
        let member = self.engine.choose(position, &[]).ok().flatten();
        member.filter(|member| !member.is_local_primary())
    }

    fn not_visible(&self, position: Position, error: WaitError) -> Result<()> {
        let place = format!("the local replica in {}", self.engine.rpc().topology().region());
        if error == WaitError::OtherSystem {
            return Err(Error::committed(
                format!(
                    "the write is committed on the primary at {position}, but {place} belongs to another cluster: \
                     correct the replica's connection string"
                ),
                Some(position),
            ));
        }
        self.engine.session.fell_behind(position);
        if self.engine.options.on_lag == OnLag::ReadFromPrimary {
            return Ok(());
        }
        let message =
            format!("the write is committed on the primary at {position}, but not visible on {place}: {error}");
        Err(Error::committed(message, Some(position)).with_source(error))
    }
}
