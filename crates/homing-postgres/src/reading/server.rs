//! Reads from one server.

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::call::options::Consistency;
use crate::connection::block::Block;
use crate::connection::pool::Connection;
use crate::database::Database;
use crate::engine::Engine;
use crate::engine::execute::{Output, Parameters};
use crate::error::Error;
use crate::error::database::DatabaseError;
use crate::position::Position;
use crate::primary::local_database;
use crate::replicas::Member;
use crate::session::Seen;
use crate::statement::description::StatementDescription;
use crate::statement::refusal::Refusal;
use crate::statement::row::Row;
use crate::statement::values;

/// Why a server did not answer a read, and the error for the caller if no other server answers.
#[derive(Debug)]
pub(crate) struct RefusedRead {
    pub(crate) refusal: Refusal,
    pub(crate) error: Error,
}

/// Notes that this server answered a read of the session, so that later reads are not older. If known, the server was
/// at `position` afterwards. The session had seen `before` when the read began.
pub(crate) fn note_read(engine: &Engine, member: &Member, position: Option<Position>, before: &[Seen]) {
    if engine.options.consistency != Consistency::Eventual {
        engine.session.has_read(member.database(), position, before);
    }
}

/// Runs a statement on a server.
pub(crate) async fn query(
    engine: &Engine,
    member: &Member,
    sql: &str,
    parameters: &Parameters<'_>,
    deadline: Instant,
) -> Result<Output, RefusedRead> {
    let database = member.database();
    let connection = database.pool().connection(deadline).await.map_err(|error| {
        debug!(%error, "the local database cannot answer");
        RefusedRead { refusal: Refusal::Unreachable, error }
    })?;
    let Ok(outcome) = timeout_at(deadline, query_on(engine, &connection, sql, parameters)).await else {
        connection.abandon().await;
        engine.replicas().suspect(member);
        let message = format!("{} did not answer the read in time: raise call_timeout", local_database(database));
        return Err(RefusedRead { refusal: Refusal::Final, error: Error::timed_out(message) });
    };
    outcome.map_err(|error| {
        let refusal = match error.as_db_error() {
            Some(refused) => Refusal::of(&DatabaseError::from(refused), database.role()),
            None if is_lost(&error) => Refusal::Transient,
            None => Refusal::Final,
        };
        if refusal == Refusal::Transient {
            connection.forget_statements();
        }
        let error = encoding_error(engine, sql, parameters).unwrap_or_else(|| failed(error, database));
        RefusedRead { refusal, error }
    })
}

async fn query_on(
    engine: &Engine,
    connection: &Connection,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<Output, tokio_postgres::Error> {
    let Some(schema) = engine.primary().schema() else {
        let statement = connection.statement(sql).await?;
        return rows(engine, connection, sql, &statement, parameters).await;
    };
    let mut block = Block::begin(connection, Some(schema));
    let statement = block.statement(schema, sql).await?;
    block.finish(rows(engine, connection, sql, &statement, parameters)).await
}

async fn rows(
    engine: &Engine,
    connection: &Connection,
    sql: &str,
    statement: &tokio_postgres::Statement,
    parameters: &Parameters<'_>,
) -> Result<Output, tokio_postgres::Error> {
    let description = description_of(engine, sql, statement);
    let mut rows = Vec::new();
    let mut stream = std::pin::pin!(connection.query_raw(statement, parameters.iter().copied()).await?);
    while let Some(row) = futures_util::TryStreamExt::try_next(&mut stream).await? {
        rows.push(Row::local(&description.columns, row));
    }
    let rows_affected = stream.rows_affected().unwrap_or(0);
    Ok(Output { rows_affected, rows })
}

/// Makes the error of the parameter that the driver refused, if it refused one. The message is that of a forwarded
/// statement.
fn encoding_error(engine: &Engine, sql: &str, parameters: &Parameters<'_>) -> Option<Error> {
    let description = engine.descriptions().description(sql)?;
    values::encode(parameters, &description.parameters).err()
}

/// Returns the description of a prepared statement, and remembers it.
fn description_of(engine: &Engine, sql: &str, statement: &tokio_postgres::Statement) -> StatementDescription {
    if let Some(description) = engine.descriptions().description(sql)
        && description.describes(statement)
    {
        return description;
    }
    let description = StatementDescription::of(statement);
    engine.descriptions().remember(sql, &description);
    description
}

fn failed(error: tokio_postgres::Error, database: &Database) -> Error {
    let place = local_database(database);
    match error.as_db_error() {
        Some(refused) => Error::rejected_by(refused.into(), place),
        None if is_lost(&error) => Error::not_sent(format!("{place} was lost during the read")).with_source(error),
        None => Error::misuse("the parameters do not fit the statement").with_source(error),
    }
}

/// Returns whether the connection was lost. Otherwise the call itself is wrong.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}
