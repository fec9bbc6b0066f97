//! A write: forwarded, committed, and waited for.

use homing_proto::v1 as proto;
use tokio::time::Instant;
use tracing::{Instrument, debug_span};

use super::Repo;
use super::call::Answered;
use super::read::has_caught_up;
use super::statement::Parameters;
use super::transaction::Intent;
use crate::call::options::{OnLag, Wait};
use crate::call::report::{Report, Stages};
use crate::error::{Error, Result};
use crate::position::Position;
use crate::primary::{Effect, Executed, Trip};
use crate::statement::description::StatementDescription;
use crate::statement::row::Row;
use crate::statement::sql;
use crate::tracker::WaitError;

/// What a statement on the primary returned.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) rows_affected: u64,
    pub(super) rows: Vec<Row>,
}

/// A write that is committed and not yet known to be visible here.
#[derive(Debug)]
pub(super) struct Committed<T> {
    pub(super) value: Result<T>,
    pub(super) position: Option<Position>,
    pub(super) report: Report,
}

impl Repo {
    /// Runs one statement that writes, and makes of its output what the caller asked for.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<T> {
        self.write_all(operation, &[(sql, parameters)], |outputs| read(only(outputs))).await
    }

    /// Runs statements that write, in one transaction.
    pub(super) async fn write_all<T: Send + 'static>(
        &self,
        operation: &'static str,
        statements: &[(&str, &Parameters<'_>)],
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Result<T> {
        if let Some(handle) = &self.transaction {
            return Box::pin(self.run_within(handle, operation, statements, Intent::Writes, read)).await;
        }
        self.reported(operation, self.write_once(operation, statements, read)).await
    }

    /// Runs statements that write, in one transaction of their own.
    pub(super) async fn write_once<T: Send + 'static>(
        &self,
        operation: &'static str,
        statements: &[(&str, &Parameters<'_>)],
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Result<Answered<T>> {
        let started = Instant::now();
        let (executed, descriptions) = self.execute_on_primary(statements, Effect::Writes).await?;
        Ok(self.committed(operation, started, executed, &descriptions, read).await)
    }

    /// Runs one statement of which nobody has said yet whether it writes. Where it did not, it was a read. What its text
    /// tells to write is not asked about.
    pub(super) async fn write_perhaps<T: Send + 'static>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<Answered<T>> {
        if !sql::may_read(sql) {
            return self.write_once(operation, &[(sql, parameters)], |outputs| read(only(outputs))).await;
        }
        let started = Instant::now();
        let seen = self.session.seen_elsewhere(None);
        let (executed, descriptions) = self.execute_on_primary(&[(sql, parameters)], Effect::Perhaps).await?;
        if executed.unchanged {
            return Ok(self.read_there(operation, started, executed, &descriptions, &seen)?.and_then(read));
        }
        Ok(self.committed(operation, started, executed, &descriptions, |outputs| read(only(outputs))).await)
    }

    async fn committed<T: Send + 'static>(
        &self,
        operation: &'static str,
        started: Instant,
        executed: Executed,
        descriptions: &[StatementDescription],
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Answered<T> {
        let position = executed.position;
        let report = report(operation, started, &executed.trip, position);
        let value = outputs(executed, descriptions).and_then(read);
        self.settle(Committed { value, position, report }).await
    }

    /// Runs statements on the primary. Where the schema has changed under what is remembered of them, once more.
    pub(super) async fn execute_on_primary(
        &self,
        statements: &[(&str, &Parameters<'_>)],
        effect: Effect,
    ) -> Result<(Executed, Vec<StatementDescription>)> {
        let started = Instant::now();
        let deadline = started + self.options.call_timeout;
        match self.execute_once(statements, effect, started, deadline).await {
            Err(error) if error.is_stale() => {
                for (sql, _) in statements {
                    self.describe_again(sql, deadline).await?;
                }
                self.execute_once(statements, effect, started, deadline).await
            }
            outcome => outcome,
        }
    }

    async fn execute_once(
        &self,
        statements: &[(&str, &Parameters<'_>)],
        effect: Effect,
        started: Instant,
        deadline: Instant,
    ) -> Result<(Executed, Vec<StatementDescription>)> {
        let (encoded, descriptions) = self.encode_all(statements, deadline).instrument(debug_span!("route")).await?;
        let described = started.elapsed();
        let mut executed = self.primary().execute(encoded, effect, deadline).await?;
        executed.trip.route += described;
        Ok((executed, descriptions))
    }

    async fn encode_all(
        &self,
        statements: &[(&str, &Parameters<'_>)],
        deadline: Instant,
    ) -> Result<(Vec<proto::Statement>, Vec<StatementDescription>)> {
        let mut encoded = Vec::with_capacity(statements.len());
        let mut descriptions = Vec::with_capacity(statements.len());
        for (sql, parameters) in statements {
            let (statement, description) = self.encode(sql, parameters, deadline).await?;
            encoded.push(statement);
            descriptions.push(description);
        }
        Ok((encoded, descriptions))
    }

    /// Waits for a committed write as the options say.
    pub(super) async fn settle<T: Send + 'static>(&self, committed: Committed<T>) -> Answered<T> {
        let Committed { value, position, mut report } = committed;
        let started = Instant::now();
        let visible = self.wait_until_visible(position).instrument(debug_span!("replay_wait")).await;
        report.stages.replay_wait = started.elapsed();
        let value = match (visible, value) {
            (Ok(()), value) => value.map_err(|error| error.after_commit(position)),
            (Err(error), Ok(value)) => Err(error.with_value(value)),
            (Err(error), Err(_)) => Err(error),
        };
        Answered::new(value, report)
    }

    async fn wait_until_visible(&self, position: Option<Position>) -> Result<()> {
        if self.options.wait != Wait::Never {
            // Where nobody could tell the position, whoever reads later has to ask for one.
            position.map_or_else(|| self.session.lost_track(), |position| self.session.advance(position));
        }
        let member = match self.choose_here(position, &[]) {
            Ok(Some(member)) if !member.is_local_primary() => member,
            // Reads go to the primary in any case.
            _ => return Ok(()),
        };
        let database = member.database();
        if self.options.wait == Wait::Never {
            return Ok(());
        }
        let Some(position) = position else {
            return Err(Error::committed(
                "it is committed, but the primary was lost before it told the position, so nobody can tell when it is \
                 visible here",
                None,
            ));
        };
        if self.options.wait == Wait::AtNextRead {
            return Ok(());
        }
        if self.options.on_lag == OnLag::ReadFromPrimary && self.session.is_behind() {
            // A wait has taken too long already, and reads go to the primary: no use in waiting again at each write.
            if has_caught_up(database, position).await {
                self.session.caught_up(position);
            }
            return Ok(());
        }
        let deadline = Instant::now() + self.options.replay_timeout;
        match database.tracker().wait(position, deadline).await {
            Ok(()) => {
                self.session.caught_up(position);
                Ok(())
            }
            Err(WaitError::TimedOut) if self.others_have_reached(position) => Ok(()),
            Err(error) => self.not_visible(position, error),
        }
    }

    /// Whether the next read finds a replica with everything up to the position without waiting.
    fn others_have_reached(&self, position: Position) -> bool {
        let member = self.choose_reached(position);
        member.is_ok_and(|member| member.is_some_and(|member| member.is_known_to_have_reached(position)))
    }

    fn not_visible(&self, position: Position, error: WaitError) -> Result<()> {
        let place = format!("the replica here in {}", self.region());
        match (error, self.options.on_lag) {
            (WaitError::OtherSystem, _) => Err(Error::committed(
                format!(
                    "it is committed on the primary at {position}, but {place} belongs to another cluster: correct the \
                     replica's connection string"
                ),
                Some(position),
            )),
            (_, OnLag::ReadFromPrimary) => {
                self.session.fell_behind();
                Ok(())
            }
            (error, OnLag::Fail) => {
                self.session.fell_behind();
                let message =
                    format!("it is committed on the primary at {position}, but not visible on {place}: {error}");
                Err(Error::committed(message, Some(position)).with_source(error))
            }
        }
    }
}

pub(super) fn report(operation: &'static str, started: Instant, trip: &Trip, position: Option<Position>) -> Report {
    // What is neither on the way nor in the database was spent here.
    let route = started.elapsed().saturating_sub(trip.forward + trip.execute);
    Report {
        position,
        attempts: trip.attempts,
        stages: Stages { route, forward: trip.forward, execute: trip.execute, ..Stages::default() },
        ..Report::new(operation, trip.answered_by.clone())
    }
}

/// The outputs of the statements, decoded by their descriptions.
pub(super) fn outputs(executed: Executed, descriptions: &[StatementDescription]) -> Result<Vec<Output>> {
    if executed.rows_dropped {
        return Err(Error::misuse(
            "its rows are larger than a message may be and were dropped: return less, or run it in a named function",
        ));
    }
    if executed.results.len() != descriptions.len() {
        return Err(Error::decode("the primary answered to another number of statements"));
    }
    executed.results.into_iter().zip(descriptions).map(|(result, description)| output(result, description)).collect()
}

/// That of the only statement.
pub(super) fn only(outputs: Vec<Output>) -> Output {
    outputs.into_iter().next().expect("one output for each statement")
}

fn output(result: proto::StatementResult, description: &StatementDescription) -> Result<Output> {
    let row = |list| {
        Row::forwarded(&description.columns, list)
            .ok_or_else(|| Error::decode("the primary sent a row that is not a list of that many values"))
    };
    let rows = result.rows.into_iter().map(row).collect::<Result<_>>()?;
    Ok(Output { rows_affected: result.rows_affected, rows })
}
