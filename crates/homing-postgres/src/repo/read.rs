//! A read: from the replica here if it is far enough, else from the primary.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tracing::{Instrument, debug, debug_span, warn};

use super::Repo;
use super::call::Answered;
use super::statement::{Parameters, may_be_unknown_here, says_that_it_writes};
use super::transaction::Intent;
use super::write::{Output, only, outputs, report};
use crate::call::options::{Consistency, OnLag};
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::connection::block::Block;
use crate::connection::pool::Connection;
use crate::database::Database;
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::position::role::Role;
use crate::position::state::Verdict;
use crate::primary::{Effect, Executed};
use crate::replicas::{Member, ReplicaRequest};
use crate::session::token::foreign;
use crate::session::{RequiredPosition, Seen};
use crate::statement::description::StatementDescription;
use crate::statement::kind::RunsOn;
use crate::statement::row::Row;
use crate::statement::sql;
use crate::statement::values;
use crate::tracker::WaitError;

/// What the database here said to a statement.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives no longer than a read, which is not to pay for a box")]
pub(super) enum Local {
    Rows(Answered<Output>),

    /// PostgreSQL says that the statement writes.
    Writes,

    /// It cannot be answered here: ask the primary.
    Elsewhere,
}

/// Whether a server could be asked.
#[derive(Debug)]
enum Ran {
    Rows(Output),

    /// PostgreSQL says that the statement writes.
    Writes,

    /// It can only be answered by the primary.
    Elsewhere,

    /// No: try another one.
    Nowhere,
}

impl Repo {
    /// Runs a statement that only reads, and makes of its rows what the caller asked for. With SQL of the application's own
    /// in it that is only probable: then it is sent once, like a write.
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        effect: Effect,
        read: impl FnOnce(Vec<Row>) -> Result<T>,
    ) -> Result<T> {
        let of_rows = |output: Output| read(output.rows);
        if let Some(handle) = &self.transaction {
            let statements = &[(sql, parameters)];
            let of_outputs = |outputs| of_rows(only(outputs));
            return Box::pin(self.run_within(handle, operation, statements, Intent::Unknown, of_outputs)).await;
        }
        let destination = sql::destination(sql)?;
        let read_once =
            async { Ok(self.read_once(operation, destination, sql, parameters, effect).await?.and_then(of_rows)) };
        self.reported(operation, read_once).await
    }

    async fn read_once(
        &self,
        operation: &'static str,
        destination: RunsOn,
        sql: &str,
        parameters: &Parameters<'_>,
        effect: Effect,
    ) -> Result<Answered<Output>> {
        let started = Instant::now();
        let local = match destination {
            RunsOn::Any => Box::pin(self.try_here(operation, sql, parameters)).await?,
            RunsOn::Primary => Local::Writes,
        };
        let effect = match local {
            Local::Rows(answered) => return Ok(answered),
            Local::Writes => Effect::Writes,
            Local::Elsewhere => effect,
        };
        match self.read_from_primary(operation, started, sql, parameters, effect).await {
            Err(error) if destination == RunsOn::Any => Box::pin(self.instead(error, operation, sql, parameters)).await,
            outcome => outcome,
        }
    }

    /// Runs a statement on the database here, if that has seen what this session has to see.
    pub(super) async fn try_here(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Local> {
        values::check_parameter_count(parameters.len())?;
        let mut failed = Vec::new();
        while failed.len() < MAX_REPLICAS_TRIED {
            let started = Instant::now();
            let Some(member) = self.current_here(&failed).instrument(debug_span!("replay_wait")).await? else {
                break;
            };
            let waited = started.elapsed();
            match self.run_here(&member, sql, parameters).await? {
                Ran::Rows(output) => {
                    let report = self.read_by(operation, &member, waited, started.elapsed() - waited);
                    return Ok(Local::Rows(Answered::new(Ok(output), report)));
                }
                Ran::Writes => return Ok(Local::Writes),
                Ran::Elsewhere => return Ok(Local::Elsewhere),
                Ran::Nowhere => {
                    self.replicas().suspect(&member);
                    failed.push(member.id());
                }
            }
        }
        Ok(Local::Elsewhere)
    }

    fn read_by(&self, operation: &'static str, member: &Member, replay_wait: Duration, execute: Duration) -> Report {
        self.has_read(member);
        Report {
            replica: (!member.is_local_primary()).then(|| Arc::clone(member.name())),
            stages: Stages { execute, replay_wait, ..Stages::default() },
            ..Report::new(operation, AnsweredBy::Here)
        }
    }

    /// A later read of this session must not be older than one that was answered there.
    pub(super) fn has_read(&self, member: &Member) {
        self.has_read_at(member, None, &[]);
    }

    /// The same where it was this far afterwards, and the session had seen `before` when the read began.
    fn has_read_at(&self, member: &Member, position: Option<Position>, before: &[Seen]) {
        if self.options.consistency != Consistency::Eventual {
            self.session.has_read(member.database(), position, before);
        }
    }

    /// The primary cannot be reached. A replica that was left out because it is too far behind is better than nothing,
    /// if it has what this session has to see.
    pub(super) async fn instead(
        &self,
        error: Error,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Answered<Output>> {
        let is_out_of_reach = error.is_not_sent() && !error.is_misuse() && !error.is_configuration();
        let may_be_old =
            self.options.on_lag == OnLag::ReadFromPrimary && self.options.consistency != Consistency::Global;
        if !is_out_of_reach || !may_be_old {
            return Err(error);
        }
        let position = self.session.wanted().map(|wanted| wanted.position);
        let Some(member) = self.replicas().last_resort(self.replica.as_deref(), position) else {
            return Err(error);
        };
        if !self.session.seen_elsewhere(Some(member.database())).is_empty() {
            // Nobody can tell whether it is older than what this session has read.
            return Err(error);
        }
        let started = Instant::now();
        match self.run_here(&member, sql, parameters).await {
            Ok(Ran::Rows(output)) => {
                warn!(replica = %member.name(), %error, "answered by a replica that is too far behind");
                let report = self.read_by(operation, &member, Duration::ZERO, started.elapsed());
                Ok(Answered::new(Ok(output), report))
            }
            _ => Err(error),
        }
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
    ) -> Result<Answered<Output>> {
        let seen = self.session.seen_elsewhere(None);
        let (executed, descriptions) = self.execute_on_primary(&[(sql, parameters)], effect).await?;
        self.read_there(operation, started, executed, &descriptions, &seen)
    }

    /// What was read on the primary, before which the session had `seen` other servers.
    pub(super) fn read_there(
        &self,
        operation: &'static str,
        started: Instant,
        executed: Executed,
        descriptions: &[StatementDescription],
        seen: &[Seen],
    ) -> Result<Answered<Output>> {
        let primary = self.replicas().local_primary().filter(|_| executed.trip.answered_by == AnsweredBy::Here);
        match (primary, executed.position) {
            // Like any read that the database here has answered.
            (Some(primary), position) if executed.unchanged => self.has_read_at(&primary, position, seen),
            (_, Some(position)) => {
                self.check_cluster(position)?;
                self.session.advance(position);
                // No replica was further when it was read from.
                seen.iter().for_each(|seen| self.session.settle(seen, position));
            }
            (_, None) => self.session.lost_track(),
        }
        let report = report(operation, started, &executed.trip, None);
        Ok(Answered::new(outputs(executed, descriptions).map(only), report))
    }

    /// The replica that a read of this handle goes to, waiting aside. `None` if the primary is to answer it.
    pub(super) fn choose_here(&self, position: Option<Position>, except: &[u64]) -> Result<Option<Arc<Member>>> {
        let is_behind = self.session.is_behind();
        self.choose_as(position, is_behind, except)
    }

    /// The same, for somebody who has waited long enough.
    pub(super) fn choose_reached(&self, position: Position) -> Result<Option<Arc<Member>>> {
        self.choose_as(Some(position), true, &[])
    }

    fn choose_as(&self, position: Option<Position>, is_behind: bool, except: &[u64]) -> Result<Option<Arc<Member>>> {
        let (choose, name) = (self.options.choose, self.replica.as_deref());
        self.replicas().choose(&ReplicaRequest { choose, name, position, is_behind, except })
    }

    /// The database here, if it has everything that this session has to see, now or within the limit. `except` those that
    /// could not answer.
    pub(super) async fn current_here(&self, except: &[u64]) -> Result<Option<Arc<Member>>> {
        let consistency = self.options.consistency;
        let wanted = self.session.wanted().filter(|_| consistency == Consistency::Session);
        let Some(member) = self.choose_here(wanted.map(|wanted| wanted.position), except)? else {
            return match &self.replica {
                Some(name) => self.without(Error::not_sent(format!("the replica {name} does not answer"))),
                None => Ok(None),
            };
        };
        if member.is_local_primary() {
            return Ok(Some(member));
        }
        match consistency {
            Consistency::Eventual => return Ok(Some(member)),
            Consistency::Session => self.settle_reads(Some(member.database())).await?,
            Consistency::Global => return Ok(None),
        }
        // What was read elsewhere may have moved it.
        match self.session.wanted() {
            Some(wanted) => self.caught_up_with(member, wanted).await,
            None => Ok(Some(member)),
        }
    }

    async fn caught_up_with(&self, member: Arc<Member>, wanted: RequiredPosition) -> Result<Option<Arc<Member>>> {
        let position = wanted.position;
        if member.is_known_to_have_reached(position) {
            self.session.caught_up(position);
            return Ok(Some(member));
        }
        if wanted.behind {
            if has_caught_up(member.database(), position).await {
                self.session.caught_up(position);
                return Ok(Some(member));
            }
            return self.without(Error::not_sent(self.lagging()));
        }
        let deadline = Instant::now() + self.options.replay_timeout;
        match member.database().tracker().wait(position, deadline).await {
            Ok(()) => Ok(Some(member)),
            Err(WaitError::OtherSystem) if self.session.decline() => Ok(Some(member)),
            Err(WaitError::OtherSystem) if self.session.is_imported() => Err(foreign(self.database_name())),
            Err(error) => self.current_elsewhere(position, error),
        }
    }

    /// The replica that was waited for in vain is not the only one.
    fn current_elsewhere(&self, position: Position, error: WaitError) -> Result<Option<Arc<Member>>> {
        let other = self.choose_reached(position)?;
        if let Some(other) = other.filter(|other| other.is_known_to_have_reached(position))
            && self.session.seen_elsewhere(Some(other.database())).is_empty()
        {
            return Ok(Some(other));
        }
        if error == WaitError::TimedOut {
            self.session.fell_behind();
        }
        debug!(%error, %position, "the replica here cannot answer");
        self.without(Error::not_sent(self.lagging()).with_source(error))
    }

    fn without(&self, error: Error) -> Result<Option<Arc<Member>>> {
        match self.options.on_lag {
            OnLag::ReadFromPrimary => Ok(None),
            OnLag::Fail => Err(error),
        }
    }

    fn lagging(&self) -> String {
        format!("the replica here in {} has not replayed what this session has to see", self.region())
    }

    async fn run_here(&self, member: &Member, sql: &str, parameters: &Parameters<'_>) -> Result<Ran> {
        let database = member.database();
        let deadline = Instant::now() + self.options.call_timeout;
        let is_replica = database.role() != Some(Role::Primary);
        for attempt in 1.. {
            let connection = match database.pool().connection(deadline).await {
                Ok(connection) => connection,
                Err(error) if is_replica => {
                    debug!(%error, "the replica here cannot answer");
                    return Ok(Ran::Nowhere);
                }
                Err(error) => return Err(error),
            };
            let error = match timed(deadline, self.query_here(&connection, sql, parameters)).await {
                Some(Ok(output)) => return Ok(Ran::Rows(output)),
                Some(Err(error)) => error,
                None => {
                    connection.abandon().await;
                    self.replicas().suspect(member);
                    return Err(Error::timed_out(format!(
                        "the database here, at {}, did not answer the read in time: raise call_timeout",
                        database.pool().address()
                    )));
                }
            };
            match consequence(&error, is_replica) {
                Consequence::Again if attempt < ATTEMPTS => connection.forget_statements(),
                Consequence::Writes => return Ok(Ran::Writes),
                // What one replica does not know yet, or has taken away, is with the primary for sure.
                Consequence::Elsewhere if is_replica => return Ok(Ran::Elsewhere),
                Consequence::Again if is_replica => return Ok(Ran::Nowhere),
                _ => return Err(self.misfit(sql, parameters).unwrap_or_else(|| failed(error, database))),
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
        let Some(schema) = self.primary().schema() else {
            let statement = connection.statement(sql).await?;
            return self.rows_here(connection, sql, &statement, parameters).await;
        };
        let mut block = Block::begin(connection, Some(schema));
        let statement = block.statement(schema, sql).await?;
        block.finish(self.rows_here(connection, sql, &statement, parameters)).await
    }

    async fn rows_here(
        &self,
        connection: &Connection,
        sql: &str,
        statement: &tokio_postgres::Statement,
        parameters: &Parameters<'_>,
    ) -> Result<Output, tokio_postgres::Error> {
        let description = self.description_of(sql, statement);
        let mut rows = Vec::new();
        let mut stream = std::pin::pin!(connection.query_raw(statement, parameters.iter().copied()).await?);
        while let Some(row) = futures_util::TryStreamExt::try_next(&mut stream).await? {
            rows.push(Row::local(&description.columns, row));
        }
        let rows_affected = stream.rows_affected().unwrap_or(0);
        Ok(Output { rows_affected, rows })
    }

    /// Says which of the parameters the driver refused, if it was one: in the words of a forwarded statement.
    fn misfit(&self, sql: &str, parameters: &Parameters<'_>) -> Option<Error> {
        let description = self.descriptions().description(sql)?;
        values::encode(parameters, &description.parameters).err()
    }

    /// The description as remembered, where it is that of the statement.
    fn description_of(&self, sql: &str, statement: &tokio_postgres::Statement) -> StatementDescription {
        if let Some(description) = self.descriptions().description(sql)
            && description.describes(statement)
        {
            return description;
        }
        let description = StatementDescription::of(statement);
        self.descriptions().remember(sql, &description);
        description
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
pub(super) fn conflicts_with_recovery(code: &SqlState) -> bool {
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
        None => Error::misuse("the parameters do not fit the statement").with_source(error),
    }
}

/// Whether the connection was lost, and not the call wrong.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

async fn timed<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline, work).await.ok()
}

/// Who asks a third one in vain asks the primary.
const MAX_REPLICAS_TRIED: usize = 3;

/// A read is cheap to repeat once: a conflict that comes back will not go away.
const ATTEMPTS: u32 = 2;

/// A replica that does not say within this time how far it is would not be quick to answer a read either.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_millis(250);
