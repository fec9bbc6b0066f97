//! Interactive transactions: their options, and what the handles of one share.

pub(crate) mod commit;
pub(crate) mod cursor;
mod error;
pub(crate) mod exchange;
pub(crate) mod savepoints;
pub(crate) mod statements;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use homing_proto::v1 as proto;
use tokio::sync::watch;
use tokio::time::Instant;

use self::error::over;
use self::savepoints::{SavepointId, Savepoints};
use crate::error::Result;
use crate::primary::stream::TransactionStream;
use crate::statement::description::StatementDescription;
use crate::statement::sql;

/// How an interactive transaction is made: see [`Repo::transaction_with`](crate::Repo::transaction_with).
///
/// ```
/// use std::time::Duration;
/// use homing_postgres::{Isolation, TransactionOptions};
///
/// let options = TransactionOptions::default()
///     .with_isolation(Isolation::Serializable)
///     .with_idle_timeout(Duration::from_secs(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// What it sees of others. Default: [`Isolation::ReadCommitted`].
    pub isolation: Isolation,

    /// Whether it writes. Default: [`Access::ReadWrite`].
    pub access: Access,

    /// How long it may be without a statement before it is rolled back: between two of them it holds its locks, and a
    /// connection to the primary. Default: 10 s. A minute at most.
    pub idle_timeout: Duration,

    /// How long all of it may take, from the call to the commit. A statement that runs then is cancelled, and the
    /// transaction is rolled back. Each statement by itself, and the commit, has the handle's
    /// [`call_timeout`](crate::Options::call_timeout). Default: 60 s. A day at most.
    pub time_limit: Duration,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            access: Access::default(),
            idle_timeout: IDLE_TIMEOUT,
            time_limit: TIME_LIMIT,
        }
    }
}

impl TransactionOptions {
    /// A transaction that only reads: one snapshot, of the replica here.
    pub fn read_only() -> Self {
        Self::default().with_access(Access::ReadOnly)
    }

    /// Sets what it sees of others.
    #[must_use]
    pub fn with_isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// Sets whether it writes.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Sets how long it may be without a statement.
    #[must_use]
    pub fn with_idle_timeout(self, idle_timeout: Duration) -> Self {
        Self { idle_timeout, ..self }
    }

    /// Sets how long all of it may take.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }
}

/// What a transaction sees of others: [PostgreSQL's savepoints](https://www.postgresql.org/docs/current/transaction-iso.html).
///
/// Closed: these are the savepoints there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    #[default]
    ReadCommitted,

    /// All statements see what was committed before the first one. A write of what others have changed since fails with
    /// SQLSTATE 40001.
    RepeatableRead,

    /// As if one transaction ran after the other. What does not fit fails with SQLSTATE 40001, also at the commit.
    Serializable,
}

/// Whether a transaction writes.
///
/// Closed: it does or it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// It runs on the primary.
    #[default]
    ReadWrite,

    /// It is one snapshot of the database here, at least [`Isolation::RepeatableRead`], taken at its first statement and
    /// not older than what its session has to see. Where the database here is too far behind, or there is none, it runs
    /// on the primary; [`Isolation::Serializable`] always does, since a replica cannot.
    ReadOnly,
}

/// What a [`Repo`](crate::Repo) in a transaction holds. Weak, so that the transaction ends with the call that made it,
/// whoever keeps the handle.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    transaction: Weak<Transaction>,
    pub(crate) savepoint: SavepointId,
}

/// What the handles of one interactive transaction share.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) options: TransactionOptions,
    pub(crate) deadline: Instant,
    savepoints: Mutex<Savepoints>,
    /// By schema and statement.
    descriptions: Mutex<HashMap<(Option<String>, String), StatementDescription>>,
    schema_changed: AtomicBool,
    cursors: AtomicU32,
    /// Whether it runs on the database here, once it has begun.
    is_local: OnceLock<bool>,
    /// Held while a request is under way: there is one at a time, in the order of the calls.
    pub(crate) line: tokio::sync::Mutex<StreamState>,
    /// Whether the call that made it has returned, or was dropped.
    ended: watch::Sender<bool>,
}

/// The way to the primary.
#[derive(Debug)]
pub(crate) enum StreamState {
    /// No statement has run yet.
    Unopened,

    /// The first statement is under way; found by others, it was dropped there.
    Opening,

    Open {
        stream: TransactionStream,
        /// Whether the response to a request has not been received: its caller was dropped.
        outstanding: bool,
    },

    /// The transaction is over.
    Closed,
}

impl Transaction {
    pub(crate) fn new(options: TransactionOptions) -> Self {
        let deadline = Instant::now() + options.time_limit.min(MAX_TIME_LIMIT);
        Self {
            options,
            deadline,
            savepoints: Mutex::default(),
            descriptions: Mutex::default(),
            schema_changed: AtomicBool::new(false),
            cursors: AtomicU32::new(0),
            is_local: OnceLock::new(),
            line: tokio::sync::Mutex::new(StreamState::Unopened),
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn handle(self: &Arc<Self>, savepoint: SavepointId) -> Handle {
        Handle { transaction: Arc::downgrade(self), savepoint }
    }

    pub(crate) fn savepoints(&self) -> MutexGuard<'_, Savepoints> {
        // Nothing that runs under the lock panics in the middle of a change.
        self.savepoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no handle is of use, and nobody waits for an answer.
    pub(crate) fn end(&self) {
        self.savepoints().end();
        self.ended.send_replace(true);
    }

    /// Completes when the transaction has ended.
    pub(crate) async fn ended(&self) {
        // The sender is here: it does not go away.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.options.access == Access::ReadOnly
    }

    /// Whether it may be a snapshot of a replica.
    pub(crate) fn reads_replica(&self) -> bool {
        self.is_read_only() && self.options.isolation != Isolation::Serializable
    }

    /// `database` is its name within the node.
    pub(crate) fn begin(&self, database: &str) -> proto::BeginTransaction {
        use proto::begin_transaction::Isolation as Wire;
        let isolation = match self.options.isolation {
            Isolation::ReadCommitted => Wire::ReadCommitted,
            Isolation::RepeatableRead => Wire::RepeatableRead,
            Isolation::Serializable => Wire::Serializable,
        };
        let idle = self.options.idle_timeout.min(crate::executor::MAX_IDLE_TIMEOUT).as_millis();
        proto::BeginTransaction {
            database: database.to_owned(),
            isolation: isolation.into(),
            read_only: self.is_read_only(),
            idle_timeout_millis: u64::try_from(idle).unwrap_or(u64::MAX).max(1),
        }
    }

    /// The types of a statement as this transaction sees them.
    pub(crate) fn description(&self, schema: Option<&str>, sql: &str) -> Option<StatementDescription> {
        let key = (schema.map(ToOwned::to_owned), sql.to_owned());
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(crate) fn remember(&self, schema: Option<&str>, sql: &str, description: &StatementDescription) {
        let mut descriptions = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        if descriptions.len() >= MAX_DESCRIPTIONS {
            descriptions.clear();
        }
        descriptions.insert((schema.map(ToOwned::to_owned), sql.to_owned()), description.clone());
    }

    /// Whether only this transaction's own connection knows the schema that it sees.
    pub(crate) fn has_changed_schema(&self) -> bool {
        self.schema_changed.load(Ordering::Acquire)
    }

    /// To be called before these statements are sent.
    pub(crate) fn note_schema_changes<'a>(&self, mut statements: impl Iterator<Item = &'a str>) {
        if statements.any(sql::may_change_schema) {
            self.note_schema_change();
        }
    }

    pub(crate) fn note_schema_change(&self) {
        self.schema_changed.store(true, Ordering::Release);
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A name that no other cursor of this transaction has.
    pub(crate) fn next_cursor(&self) -> String {
        format!("homing_{}", self.cursors.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether it runs on the database here. `None` before it has begun.
    pub(crate) fn is_local(&self) -> Option<bool> {
        self.is_local.get().copied()
    }

    pub(crate) fn note_where(&self, is_local: bool) {
        self.is_local.get_or_init(|| is_local);
    }
}

impl Handle {
    /// The transaction, as long as it goes on.
    pub(crate) fn transaction(&self) -> Result<Arc<Transaction>> {
        self.transaction.upgrade().ok_or_else(over)
    }

    /// A handle for another savepoint of the transaction.
    pub(crate) fn at(&self, savepoint: SavepointId) -> Self {
        Self { transaction: self.transaction.clone(), savepoint }
    }
}

/// Time for a few calls to others in between, not for a person to think.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A day: beyond it time stops being a limit, and clocks overflow.
const MAX_TIME_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// More statements than one transaction should have; all are forgotten then.
const MAX_DESCRIPTIONS: usize = 256;
