//! Reads from one server.

use futures_util::future::join;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::chosen::Chosen;
use crate::call::options::Consistency;
use crate::connection::block::Block;
use crate::connection::pool::{AttendedConnection, Connection};
use crate::database::Database;
use crate::engine::Engine;
use crate::engine::describe::half_way_to;
use crate::engine::execute::{Output, Parameters};
use crate::error::Error;
use crate::error::database::DatabaseError;
use crate::position::Position;
use crate::position::role::Role;
use crate::primary::local_database;
use crate::reading::plan::OnLocalPrimary;
use crate::replicas::Member;
use crate::scope::schema::tagged;
use crate::session::seen::Seen;
use crate::statement::description::StatementDescription;
use crate::statement::kind::Writes;
use crate::statement::refusal::Refusal;
use crate::statement::row::Row;
use crate::statement::{sql, values};

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

/// Runs a statement on a server. If the call is dropped, the statement is cancelled.
pub(crate) async fn query(
    engine: &Engine,
    chosen: &Chosen,
    sql: &str,
    parameters: &Parameters<'_>,
    on_local_primary: OnLocalPrimary,
    deadline: Instant,
) -> Result<Output, RefusedRead> {
    let member = &chosen.member;
    let database = member.database();
    let refused = |refusal, error| RefusedRead { refusal, error };
    // Another server has the rest of the time.
    let connect_by = if member.is_local_primary() { deadline } else { half_way_to(deadline) };
    let connection = match chosen.take_connection() {
        Some(connection) => connection,
        None => database.pool().connection(connect_by).await.map_err(|error| {
            debug!(%error, "the local database cannot answer");
            refused(Refusal::Unreachable, error)
        })?,
    };
    let place = local_database(database);
    if connection.role() == Role::Primary && on_local_primary == OnLocalPrimary::Execute {
        return Err(refused(Refusal::Unknown, Error::not_sent(format!("{place} was promoted a moment ago"))));
    }
    let session = engine.history(Writes::No);
    let checked = database.executor().check_history(&connection, &session, deadline).await;
    let checked = checked.map_err(|failure| crate::primary::rejection::failed(failure, &place));
    if let Err(error) = engine.heed(&session, connection.timeline(), checked) {
        let refusal = if error.is_not_primary() { Refusal::OldPrimary } else { Refusal::Final };
        return Err(refused(refusal, error));
    }
    let connection = AttendedConnection::new(connection);
    let query = async {
        if writes(engine, &connection, sql).await? == Writes::Yes {
            return Ok(None);
        }
        let asks = database.is_spread() && engine.options.consistency != Consistency::Eventual;
        query_twice(engine, &connection, sql, parameters, asks.then_some(chosen)).await.map(Some)
    };
    let Ok(outcome) = timeout_at(deadline, query).await else {
        engine.replicas().suspect(member);
        let message = format!("{place} did not answer the read in time: raise call_timeout");
        return Err(refused(Refusal::Final, Error::timed_out(message)));
    };
    let connection = connection.done();
    let error = match outcome {
        Ok(Some(output)) => {
            if connection.role() == Role::Replica {
                engine.descriptions().remember_read(sql);
            }
            return chosen.check().map(|()| output).map_err(|error| refused(Refusal::Unreachable, error));
        }
        Ok(None) => return Err(refused(Refusal::Writes, Error::not_sent("the statement writes"))),
        Err(error) => error,
    };
    let refusal = match error.as_db_error() {
        Some(refused) => Refusal::of(&DatabaseError::from(refused), Some(connection.role())),
        None if is_lost(&error) => Refusal::Transient,
        // A replica's schema may be older.
        None if connection.role() == Role::Replica => Refusal::Unknown,
        None => Refusal::Final,
    };
    match refusal {
        Refusal::Transient => connection.forget_statements(),
        Refusal::Writes => engine.descriptions().remember_writes(sql, Writes::Yes),
        _ => {}
    }
    Err(refused(refusal, encoding_error(engine, sql, parameters).unwrap_or_else(|| failed(error, database))))
}

/// Returns whether a statement writes, as far as the catalog tells: whether it, or a view that it names, calls a function
/// that PostgreSQL calls volatile and that is not written in C. Such a function may write and swallow the refusal of a
/// replica, or take a lock there that locks out no session of the primary. On the primary, it may have committed when the
/// read fails. The catalog is asked once for each statement.
/// <https://www.postgresql.org/docs/current/xfunc-volatility.html>
async fn writes(engine: &Engine, connection: &Connection, sql: &str) -> Result<Writes, tokio_postgres::Error> {
    let known = engine.descriptions().writes(sql);
    if known != Writes::Maybe {
        return Ok(known);
    }
    let mut names = sql::names(sql);
    names.retain(|name| !engine.options.read_only_functions.contains(&&**name));
    let catalog = connection.statement(CALLS_VOLATILE_FUNCTION).await?;
    let row = connection.query_one(&catalog, &[&names]).await?;
    let writes = if row.try_get(0)? { Writes::Yes } else { Writes::No };
    engine.descriptions().remember_writes(sql, writes);
    Ok(writes)
}

/// Runs a statement. If this connection has prepared it before a change of the schema, prepares and runs it once more. The
/// server is asked what it shows at the end of the read, which is noted in `asked` if that is given.
async fn query_twice(
    engine: &Engine,
    connection: &Connection,
    sql: &str,
    parameters: &Parameters<'_>,
    asked: Option<&Chosen>,
) -> Result<Output, tokio_postgres::Error> {
    let mut is_prepared = false;
    let first = query_on(engine, connection, sql, parameters, asked, &mut is_prepared).await;
    let may_be_stale = |error: &tokio_postgres::Error| match error.as_db_error() {
        Some(refused) => DatabaseError::from(refused).may_be_stale(),
        None => !is_lost(error),
    };
    match first {
        Err(error) if is_prepared && may_be_stale(&error) => {
            connection.forget(&tagged(engine.primary().schema(), sql));
            query_on(engine, connection, sql, parameters, asked, &mut is_prepared).await
        }
        outcome => outcome,
    }
}

async fn query_on(
    engine: &Engine,
    connection: &Connection,
    sql: &str,
    parameters: &Parameters<'_>,
    asked: Option<&Chosen>,
    is_prepared: &mut bool,
) -> Result<Output, tokio_postgres::Error> {
    let local = engine.primary().local();
    if local.is_empty() {
        let statement = connection.statement(sql).await?;
        *is_prepared = true;
        return rows(engine, connection, sql, &statement, parameters, asked).await;
    }
    let mut block = Block::begin(connection, local).await?;
    let statement = block.statement(local.schema.as_ref(), sql).await?;
    *is_prepared = true;
    block.finish(rows(engine, connection, sql, &statement, parameters, asked)).await
}

async fn rows(
    engine: &Engine,
    connection: &Connection,
    sql: &str,
    statement: &tokio_postgres::Statement,
    parameters: &Parameters<'_>,
    asked: Option<&Chosen>,
) -> Result<Output, tokio_postgres::Error> {
    let description = description_of(engine, sql, statement);
    let read = async {
        let mut rows = Vec::new();
        let mut stream = std::pin::pin!(connection.query_raw(statement, parameters.iter().copied()).await?);
        while let Some(row) = futures_util::TryStreamExt::try_next(&mut stream).await? {
            rows.push(Row::local(&description.columns, row));
        }
        let rows_affected = stream.rows_affected().unwrap_or(0);
        Ok(Output { rows_affected, rows })
    };
    let Some(chosen) = asked else { return read.await };
    // The driver sends a message when its future is first polled: the question is right behind the statement.
    let (output, shown) = join(read, chosen.member.database().tracker().shown_on(connection)).await;
    // Without an answer, the primary is asked before the next read.
    chosen.note_shown(shown.ok().flatten());
    output
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

const CALLS_VOLATILE_FUNCTION: &str = "
    with recursive rules as (
        select r.oid, r.ev_class
        from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
        where c.relname = any ($1::text[]::name[]) and c.relkind = 'v'
        union
        select r.oid, r.ev_class
        from rules
            join pg_catalog.pg_depend d on d.objid = rules.oid and d.classid = 'pg_catalog.pg_rewrite'::regclass
                and d.refclassid = 'pg_catalog.pg_class'::regclass
            join pg_catalog.pg_rewrite r on r.ev_class = d.refobjid
            join pg_catalog.pg_class c on c.oid = r.ev_class and c.relkind = 'v'
    )
    select exists (
        select from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang
        where p.provolatile = 'v' and l.lanname not in ('c', 'internal')
            and (p.proname = any ($1::text[]::name[]) or p.oid in (
                select d.refobjid
                from rules join pg_catalog.pg_depend d on d.objid = rules.oid
                    and d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refclassid = 'pg_catalog.pg_proc'::regclass)))";
