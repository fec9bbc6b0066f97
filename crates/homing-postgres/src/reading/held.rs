//! [`Held`], a connection that is asked by itself, because its address is spread over several servers.

use std::result::Result as StdResult;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::connection::pool::{AttendedConnection, Connection};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::position::shown::Shown;
use crate::primary::local_database;
use crate::tracker::Requirements;
use crate::tracker::error::WaitError;

/// A connection whose server has everything that a read has to see.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) connection: Connection,
    /// What earlier reads of the session have seen on servers of this address.
    pub(crate) before: Vec<Shown>,
}

/// What a server said of the requirements, on this connection.
enum Answer {
    Everything(Connection),
    Less(Connection, WaitError),
}

/// Takes a connection whose server has everything that is required. Until there is one, it asks again, on other connections
/// too: these may lead to a server that is farther. During the pauses the connections are left to other calls.
///
/// `connect` is the deadline for a connection and its answer, counted anew after each pause; `until` is the end of the wait.
/// The question is asked at least once.
///
/// # Errors
///
/// The outer error: no connection answered. The inner one: none of the servers has everything.
///
/// # Cancel safety
///
/// Cancel safe: a connection that is being asked is closed.
pub(crate) async fn hold(
    database: &Database,
    required: Requirements,
    connect: Duration,
    until: Instant,
) -> Result<StdResult<Held, WaitError>> {
    let began = Instant::now();
    let held = |connection, required: Requirements| Ok(Ok(Held { connection, before: required.shown }));
    loop {
        let deadline = Instant::now() + connect;
        let (first, error) = match ask_any(database, &required, deadline).await? {
            Answer::Everything(connection) => return held(connection, required),
            Answer::Less(connection, error) => (connection, error),
        };
        // The first one is kept until then, so that this is another one.
        let error = match ask_another(database, &required, deadline).await {
            Some(Answer::Everything(connection)) => return held(connection, required),
            Some(Answer::Less(_, other)) if error != WaitError::TimedOut => other,
            Some(Answer::Less(..)) | None => error,
        };
        if began.elapsed() >= ORDINARY_LAG && database.tracker().may_renew() {
            // All connections of the pool may lead to servers that lag. A new one may lead to another server.
            first.discard();
        } else {
            drop(first);
        }
        let pause = (began.elapsed() / 8).clamp(MIN_PAUSE, MAX_PAUSE);
        // Waiting helps as long as one of the servers is on its way.
        if error != WaitError::TimedOut || Instant::now() + pause >= until {
            return Ok(Err(error));
        }
        sleep(pause).await;
    }
}

/// Asks on the next connection of the pool. If that was lost, asks on the one after it.
async fn ask_any(database: &Database, required: &Requirements, deadline: Instant) -> Result<Answer> {
    let mut left = database.pool().max_connections();
    loop {
        let connection = database.pool().connection(deadline).await?;
        match ask(database, connection, required, deadline).await {
            Err(error) if left > 0 => {
                debug!(%error, "a connection was lost: taking the next one");
                left -= 1;
            }
            answer => return answer,
        }
    }
}

/// Asks on one more connection, if one is free.
async fn ask_another(database: &Database, required: &Requirements, deadline: Instant) -> Option<Answer> {
    let connection = database.pool().another(deadline).await?;
    ask(database, connection, required, deadline).await.ok()
}

async fn ask(
    database: &Database,
    connection: Connection,
    required: &Requirements,
    deadline: Instant,
) -> Result<Answer> {
    let connection = AttendedConnection::new(connection);
    let failed = |why: &str| Error::not_sent(format!("{} did not say how far it is{why}", local_database(database)));
    match timeout_at(deadline, database.tracker().ask_on(&connection, required)).await {
        Ok(Ok(verdict)) => Ok(match WaitError::from_verdict(verdict) {
            Ok(()) => Answer::Everything(connection.done()),
            Err(error) => Answer::Less(connection.done(), error),
        }),
        Ok(Err(error)) => {
            connection.done().discard();
            Err(failed("").with_source(error))
        }
        Err(_) => Err(failed(" in time")),
    }
}

/// How long a wait is ordinary: it is cheaper than a new connection.
const ORDINARY_LAG: Duration = Duration::from_millis(50);

/// The pauses between two rounds of questions, which grow with the time that has passed, as those of a tracker do: an answer is
/// late by a fraction of the wait.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);
