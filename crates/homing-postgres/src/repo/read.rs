//! A read: from the replica here if it is far enough, else from the primary.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tracing::{Instrument, Span, debug, debug_span};

use super::Repo;
use super::statement::{Parameters, may_be_unknown_here, says_that_it_writes};
use super::write::{Output, outputs, record, report};
use crate::home::Effect;
use crate::in_schema::InSchema;
use crate::pool::Connection;
use crate::report::{AnsweredBy, Report, Stages};
use crate::shape::Shape;
use crate::sql::{self, Destination};
use crate::token::foreign;
use crate::tracker::WaitError;
use crate::{Consistency, Database, DatabaseError, Error, OnLag, Position, Result, Role, Row, Verdict};

/// What the database here said to a statement.
#[derive(Debug)]
pub(super) enum Local {
    Rows(Output),

    /// PostgreSQL says that the statement writes.
    Writes,

    /// It cannot be answered here: ask the primary.
    Elsewhere,
}

impl Repo {
    /// Runs a statement that only reads. With SQL of the application's own in it that is only probable: then it is sent
    /// once, like a write.
    pub(super) async fn read(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        effect: Effect,
    ) -> Result<Vec<Row>> {
        let destination = sql::destination(sql)?;
        let span = self.span(operation);
        async {
            let started = Instant::now();
            let local = match destination {
                Destination::Anywhere => self.try_here(operation, sql, parameters).await?,
                Destination::Primary => Local::Writes,
            };
            let effect = match local {
                Local::Rows(output) => return Ok(output.rows),
                Local::Writes => Effect::Writes,
                Local::Elsewhere => effect,
            };
            Ok(self.read_from_primary(operation, started, sql, parameters, effect).await?.rows)
        }
        .instrument(span)
        .await
    }

    /// Runs a statement on the database here, if that has seen what this session has to see.
    pub(super) async fn try_here(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Local> {
        let started = Instant::now();
        let Some(database) = self.current_here().instrument(debug_span!("replay_wait")).await? else {
            return Ok(Local::Elsewhere);
        };
        let waited = started.elapsed();
        let local = self.run_here(database, sql, parameters).await?;
        if let Local::Rows(_) = local {
            if self.options.consistency != Consistency::Eventual {
                self.session.has_read(database);
            }
            let execute = started.elapsed() - waited;
            let report = Report {
                operation,
                answered_by: AnsweredBy::Here,
                position: None,
                attempts: 0,
                stages: Stages { execute, replay_wait: waited, ..Stages::default() },
            };
            record(&Span::current(), &report);
            self.observer.observe(&report);
        }
        Ok(local)
    }

    /// Runs a statement on the primary and moves the session to what it has seen there: a later read on the replica
    /// must not be older.
    pub(super) async fn read_from_primary(
        &self,
        operation: &'static str,
        started: Instant,
        sql: &str,
        parameters: &Parameters<'_>,
        effect: Effect,
    ) -> Result<Output> {
        let (executed, shapes) = self.execute_on_primary(&[(sql, parameters)], effect).await?;
        if let Some(position) = executed.position {
            self.check_cluster(position)?;
            self.session.advance(position);
        }
        let report = report(operation, started, &executed.trip, None);
        record(&Span::current(), &report);
        self.observer.observe(&report);
        Ok(outputs(executed, &shapes)?.remove(0))
    }

    /// The database here, if it has everything that this session has to see, now or within the limit.
    async fn current_here(&self) -> Result<Option<&Database>> {
        let Some(database) = self.home().database() else {
            return Ok(None);
        };
        if database.role() == Some(Role::Primary) {
            return Ok(Some(database));
        }
        match self.options.consistency {
            Consistency::Eventual => return Ok(Some(database)),
            Consistency::Session => self.settle_reads(Some(database)).await?,
            Consistency::Global => return Ok(None),
        }
        let Some(wanted) = self.session.wanted() else {
            return Ok(Some(database));
        };
        let position = wanted.position;
        if wanted.behind {
            if has_caught_up(database, position).await {
                self.session.caught_up(position);
                return Ok(Some(database));
            }
            return self.without(Error::not_sent(self.lagging()));
        }
        let deadline = Instant::now() + self.options.replay_timeout;
        match database.tracker().wait(position, deadline).await {
            Ok(()) => Ok(Some(database)),
            Err(WaitError::OtherSystem) if self.session.decline() => Ok(Some(database)),
            Err(WaitError::OtherSystem) if self.session.is_imported() => Err(foreign(self.database_name())),
            Err(error) => {
                if error == WaitError::TimedOut {
                    self.session.fell_behind();
                }
                debug!(%error, %position, "the replica here cannot answer");
                self.without(Error::not_sent(self.lagging()).with_source(error))
            }
        }
    }

    fn without(&self, error: Error) -> Result<Option<&Database>> {
        match self.options.on_lag {
            OnLag::ReadFromPrimary => Ok(None),
            OnLag::Fail => Err(error),
        }
    }

    fn lagging(&self) -> String {
        format!("the replica here in {} has not replayed what this session has to see", self.region())
    }

    async fn run_here(&self, database: &Database, sql: &str, parameters: &Parameters<'_>) -> Result<Local> {
        let deadline = Instant::now() + self.options.call_timeout;
        let is_replica = database.role() != Some(Role::Primary);
        for attempt in 1.. {
            let connection = match database.pool().connection(deadline).await {
                Ok(connection) => connection,
                Err(error) if is_replica => {
                    debug!(%error, "the replica here cannot answer");
                    return Ok(Local::Elsewhere);
                }
                Err(error) => return Err(error),
            };
            let error = match timed(deadline, self.query_here(&connection, sql, parameters)).await {
                Some(Ok(output)) => return Ok(Local::Rows(output)),
                Some(Err(error)) => error,
                None => {
                    abandon(connection).await;
                    return Err(Error::rejected(format!(
                        "the database here, at {}, did not answer the read in time: raise call_timeout",
                        database.pool().address()
                    )));
                }
            };
            match consequence(&error, is_replica) {
                Consequence::Again if attempt < ATTEMPTS => connection.forget_statements(),
                Consequence::Writes => return Ok(Local::Writes),
                Consequence::Elsewhere | Consequence::Again if is_replica => return Ok(Local::Elsewhere),
                _ => return Err(failed(error, database)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn query_here(
        &self,
        connection: &Connection,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Output, tokio_postgres::Error> {
        let Some(schema) = self.home().schema() else {
            let statement = connection.statement(sql).await?;
            return self.rows_here(connection, sql, &statement, parameters).await;
        };
        let mut transaction = InSchema::begin(connection, schema);
        let statement = transaction.statement(schema, sql).await?;
        transaction.finish(self.rows_here(connection, sql, &statement, parameters)).await
    }

    async fn rows_here(
        &self,
        connection: &Connection,
        sql: &str,
        statement: &tokio_postgres::Statement,
        parameters: &Parameters<'_>,
    ) -> Result<Output, tokio_postgres::Error> {
        let shape = self.shape_of(sql, statement);
        let mut rows = Vec::new();
        let mut stream = std::pin::pin!(connection.query_raw(statement, parameters.iter().copied()).await?);
        while let Some(row) = futures_util::TryStreamExt::try_next(&mut stream).await? {
            rows.push(Row::local(&shape.columns, row));
        }
        let rows_affected = stream.rows_affected().unwrap_or(0);
        Ok(Output { rows_affected, rows })
    }

    /// The shape as remembered, where it is that of the statement.
    fn shape_of(&self, sql: &str, statement: &tokio_postgres::Statement) -> Shape {
        if let Some(shape) = self.shapes().shape(sql)
            && shape.describes(statement)
        {
            return shape;
        }
        let shape = Shape::of(statement);
        self.shapes().remember(sql, &shape);
        shape
    }
}

/// Looks once whether the replica here has reached a position.
pub(super) async fn has_caught_up(database: &Database, position: Position) -> bool {
    let check = database.tracker().check(position);
    matches!(timeout(CHECK_TIMEOUT, check).await, Ok(Ok(Verdict::Reached)))
}

/// What follows from an error of the database here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consequence {
    Again,
    Elsewhere,
    Fails,
    Writes,
}

fn consequence(error: &tokio_postgres::Error, is_replica: bool) -> Consequence {
    let Some(refused) = error.as_db_error() else {
        return if is_lost(error) { Consequence::Again } else { Consequence::Fails };
    };
    let refused = DatabaseError::from(refused);
    let code = refused.code();
    if is_replica && says_that_it_writes(&refused) {
        Consequence::Writes
    } else if is_replica && may_be_unknown_here(code) {
        Consequence::Elsewhere
    } else if refused.is_stale_plan() || is_replica && conflicts_with_recovery(code) {
        Consequence::Again
    } else {
        Consequence::Fails
    }
}

/// Replay took away what the query was reading, or the replica is on its way down.
/// <https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-CONFLICT>
fn conflicts_with_recovery(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
    ]
    .contains(code)
}

fn failed(error: tokio_postgres::Error, database: &Database) -> Error {
    let place = format!("the database here, at {},", database.pool().address());
    match error.as_db_error() {
        Some(refused) => Error::rejected_by(refused.into(), place),
        None if is_lost(&error) => Error::not_sent(format!("{place} was lost during the read")).with_source(error),
        None => misfit(error),
    }
}

/// Whether the connection was lost, and not the call wrong.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// The driver refused the parameters before it sent anything.
fn misfit(error: tokio_postgres::Error) -> Error {
    Error::misuse("the parameters do not fit the statement").with_source(error)
}

async fn timed<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline, work).await.ok()
}

/// Cancels what runs on the connection and closes it.
async fn abandon(connection: Connection) {
    let cancelling = connection.cancel_token();
    connection.discard();
    if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, cancelling.cancel_query(tokio_postgres::NoTls)).await {
        debug!(%error, "cannot cancel a read");
    }
}

/// A read is cheap to repeat once: a conflict that comes back will not go away.
const ATTEMPTS: u32 = 2;

/// A replica that does not say within this time how far it is would not be quick to answer a read either.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_millis(250);

const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
