//! [`Claims`], the use of the table of outcomes on one server.
//!
//! # Task
//!
//! The first claim of five minutes spawns a task that prunes the table on a connection of the pool. It ends after
//! [`PRUNE_TIMEOUT`] at the latest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join3;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement};
use tracing::{debug, info, warn};

use crate::connection::pool::{Connection, Pool};
use crate::error::function::with_causes;
use crate::outcome::key::{IdempotencyKey, to_prune};
use crate::outcome::known::Known;
use crate::outcome::migration_sql;
use crate::outcome::once::Once;
use crate::outcome::protection::Protection;
use crate::position::transaction_id::TransactionId;
use crate::statement::kind::Written;

/// What is known of the table of outcomes on one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<ClaimsInner>);

#[derive(Debug, Default)]
struct ClaimsInner {
    protection: Protection,
    /// Whether statements may carry claims.
    may_insert: Protection,
    /// Held while the table is created.
    creating: tokio::sync::Mutex<()>,
    has_warned: AtomicBool,
    /// The interval of keys in which the table was pruned last.
    pruned: AtomicU64,
}

/// The claim of one attempt, ready to be sent behind its last statement.
#[derive(Debug)]
pub(crate) struct Claim {
    statement: Statement,
    pub(crate) once: Once,
    pub(crate) fingerprint: i64,
    /// 0, or how often the key was settled before this attempt.
    fence: i32,
}

impl Claim {
    pub(crate) fn new(statement: Statement, once: Once, fingerprint: i64, fence: i32) -> Self {
        Self { statement, once, fingerprint, fence }
    }

    /// Claims the key, within the transaction and after its last statement. A unique violation (23505) means that another
    /// attempt is committed, or that the key was settled meanwhile.
    pub(crate) async fn ask(&self, connection: &Connection, result: Option<&[u8]>) -> Result<Written, Error> {
        let Self { statement, once: Once { key, again, .. }, fingerprint, fence } = self;
        let row = connection.query_one(statement, &[&key.slot(), key, fingerprint, fence, again, &result]).await?;
        let transaction: Option<TransactionId> = row.try_get(0)?;
        Ok(transaction.map_or(Written::Nothing, Written::By))
    }

    /// Returns whether a statement may carry the claim of a generated key: it is an `INSERT`, for a first attempt.
    pub(crate) fn may_be_carried(&self) -> bool {
        self.fence == 0 && !self.once.again && !self.once.key.is_own()
    }

    /// Returns whether the error of a statement that carried a claim says that the key is claimed or settled.
    pub(crate) fn is_taken(error: &Error) -> bool {
        error.as_db_error().is_some_and(|error| {
            let is_outcome = error.table().is_some_and(|table| table.starts_with("outcome_"));
            *error.code() == SqlState::UNIQUE_VIOLATION && error.schema() == Some("homing") && is_outcome
        })
    }

    /// Returns whether the error of a claim says that the functions of the table are gone.
    pub(crate) fn is_obsolete(error: &Error) -> bool {
        error.code().is_some_and(|code| ABSENT.contains(&code))
    }
}

impl Claims {
    /// Returns the statement that claims a key. If the server has no table of outcomes, creates it as the node's own user: on a
    /// connection of `own_pool`, if it is not that of `connection`. `None` if the user may not do so.
    pub(crate) async fn statement(
        &self,
        connection: &Connection,
        own_pool: Option<&Pool>,
    ) -> Result<Option<Statement>, Error> {
        if !self.0.protection.is_expected() {
            return Ok(None);
        }
        if let Some(statement) = prepare(connection).await? {
            return Ok(Some(statement));
        }
        // One call creates the table, and the others find it then.
        let _creating = self.0.creating.lock().await;
        if !self.0.protection.is_expected() {
            return Ok(None);
        }
        if let Some(statement) = prepare(connection).await? {
            return Ok(Some(statement));
        }
        let created = match own_pool {
            None => connection.batch_execute(migration_sql()).await,
            Some(own) => match own.connection(Instant::now() + CREATE_TIMEOUT).await {
                Ok(own) => own.batch_execute(migration_sql()).await,
                Err(error) => {
                    self.note_missing(&error);
                    return Ok(None);
                }
            },
        };
        match created {
            Ok(()) => {
                info!("created the schema homing with the table of outcomes");
                prepare(connection).await
            }
            Err(error) if error.as_db_error().is_some() => {
                self.note_missing(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether the node's role may insert claims, as far as is known.
    pub(crate) fn may_insert(&self) -> bool {
        self.0.may_insert.is_expected()
    }

    /// Notes that the role may only call the functions of the table, perhaps since it was created by an older version.
    pub(crate) fn note_functions_only(&self) {
        self.0.may_insert.note_missing();
    }

    /// Prunes the table, if that was not done yet in this interval of keys.
    pub(crate) fn prune(&self, pool: &Pool) {
        let (interval, slots) = to_prune(SystemTime::now());
        if self.0.pruned.swap(interval, Ordering::Relaxed) == interval {
            return;
        }
        let pool = pool.clone();
        tokio::spawn(async move {
            for slot in slots {
                match timeout(PRUNE_TIMEOUT, prune(&pool, slot)).await {
                    Ok(Ok(())) => {}
                    // Another node prunes it, or a late transaction uses it. There is a next time.
                    Ok(Err(error)) => debug!(slot, error, "cannot prune the table of outcomes"),
                    Err(_) => debug!(slot, "pruning the table of outcomes took too long"),
                }
            }
        });
    }

    fn note_missing(&self, error: &(dyn std::error::Error + 'static)) {
        self.0.protection.note_missing();
        if !self.0.has_warned.swap(true, Ordering::Relaxed) {
            warn!(
                error = with_causes(error),
                "writes are sent at most once, since the database has no table of outcomes and this role may not create it: run \
                 the SQL of homing::migration_sql() as a role that may"
            );
        }
    }
}

/// Prepares the claim. `None` if there is no such function.
async fn prepare(connection: &Connection) -> Result<Option<Statement>, Error> {
    match connection.statement(CLAIM).await {
        Ok(statement) => Ok(Some(statement)),
        Err(error) if Claim::is_obsolete(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for a key in a transaction of its own, which sees what is committed: under another isolation than read committed, a row of
/// another transaction would be an error.
async fn ask(
    connection: &Connection,
    sql: &str,
    access: &str,
    key: IdempotencyKey,
    fingerprint: Option<i64>,
) -> Result<Known, Error> {
    let statement = connection.statement(sql).await?;
    let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED {access}");
    let (slot, wanted) = (key.slot(), fingerprint.unwrap_or_default());
    // The driver sends a message when its future is first polled, so they are sent in this order.
    let (begun, row, committed) = join3(
        connection.batch_execute(&begin),
        connection.query_opt(&statement, &[&slot, &key, &wanted]),
        connection.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    let row = row?;
    committed?;
    let Some(row) = row else { return Ok(Known::Nothing) };
    let is_same: bool = row.try_get(1)?;
    Ok(Known::of_row(row.try_get(0)?, is_same || fingerprint.is_none(), row.try_get(2)?))
}

/// Looks for a key.
pub(crate) async fn recall(connection: &Connection, key: IdempotencyKey, fingerprint: i64) -> Result<Known, Error> {
    ask(connection, RECALL, "READ ONLY", key, Some(fingerprint)).await
}

/// Settles a key. Without a fingerprint, any request that is committed counts.
pub(crate) async fn settle(
    connection: &Connection,
    key: IdempotencyKey,
    fingerprint: Option<i64>,
) -> Result<Known, Error> {
    ask(connection, SETTLE, "READ WRITE", key, fingerprint).await
}

async fn prune(pool: &Pool, slot: i16) -> Result<(), String> {
    let deadline = Instant::now() + PRUNE_TIMEOUT;
    loop {
        let connection = pool.connection(deadline).await.map_err(|error| error.to_string())?;
        let row = connection.query_typed_one(PRUNE, &[(&slot, Type::INT2)]).await;
        let removed = row.and_then(|row| row.try_get::<_, i64>(0)).map_err(|error| error.to_string())?;
        if removed == 0 {
            return Ok(());
        }
    }
}

/// What PostgreSQL says if there is no table with functions that the role may call.
const ABSENT: [&SqlState; 3] =
    [&SqlState::INVALID_SCHEMA_NAME, &SqlState::UNDEFINED_FUNCTION, &SqlState::INSUFFICIENT_PRIVILEGE];

const CLAIM: &str = "select homing.claim($1, $2, $3, $4, $5, $6)";
const RECALL: &str = "select * from homing.recall($1, $2, $3)";
const SETTLE: &str = "select * from homing.settle($1, $2, $3)";
const PRUNE: &str = "select homing.prune($1)";

/// How long creating the table may wait for a connection of the node's own user.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to prune one slot. What remains is for the next time.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(60);
