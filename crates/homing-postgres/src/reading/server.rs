//! A statement that only reads, on one server.

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
use crate::replicas::Member;
use crate::session::Seen;
use crate::statement::description::StatementDescription;
use crate::statement::refusal::Refusal;
use crate::statement::row::Row;
use crate::statement::values;

/// Why a server did not answer, and the error if no other server does.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) error: Error,
}

/// Makes later reads of the session not older than one that this server answered. If known, it was at `position`
/// afterwards, and the session had seen `before` when the read began.
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
) -> Result<Output, Refused> {
    let database = member.database();
    let connection = database.pool().connection(deadline).await.map_err(|error| {
        debug!(%error, "the replica here cannot answer");
        Refused { refusal: Refusal::Unreachable, error }
    })?;
    let Ok(outcome) = timeout_at(deadline, query_on(engine, &connection, sql, parameters)).await else {
        connection.abandon().await;
        engine.replicas().suspect(member);
        let message = format!(
            "the database here, at {}, did not answer the read in time: raise call_timeout",
            database.pool().address()
        );
        return Err(Refused { refusal: Refusal::Final, error: Error::timed_out(message) });
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
        Refused { refusal, error }
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

/// Says which of the parameters the driver refused, if it refused one: in the words of a forwarded statement.
fn encoding_error(engine: &Engine, sql: &str, parameters: &Parameters<'_>) -> Option<Error> {
    let description = engine.descriptions().description(sql)?;
    values::encode(parameters, &description.parameters).err()
}

/// The remembered description, if it is that of the statement.
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
