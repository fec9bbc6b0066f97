//! Interactive transactions: their options, and the state that the handles of one transaction share.

pub(crate) mod before;
pub(crate) mod commit;
pub(crate) mod cursor;
mod error;
pub(crate) mod exchange;
pub(crate) mod retry;
pub(crate) mod savepoints;
pub(crate) mod statements;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use homing_proto::v1 as proto;
use lru::LruCache;
use tokio::sync::watch;
use tokio::time::Instant;

use self::before::Before;
use self::error::over;
use self::savepoints::{SavepointId, Savepoints};
use crate::error::Result;
use crate::outcome::once::TransactionKey;
use crate::position::Position;
use crate::primary::execute::to_wire;
use crate::primary::stream::TransactionStream;
use crate::scope::Scope;
use crate::statement::description::StatementDescription;
use crate::statement::sql;

/// The options of an interactive transaction: see [`Repo::transaction_with`](crate::Repo::transaction_with).
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
    /// Which writes of other transactions it sees. Default: [`Isolation::RoleDefault`].
    pub isolation: Isolation,

    /// Whether it may write. Default: [`Access::RoleDefault`].
    pub access: Access,

    /// How long it may wait for the next statement before it is rolled back. Between two statements it holds its locks
    /// and a connection to the primary. Default: 10 s. At most one minute.
    pub idle_timeout: Duration,

    /// How long the whole transaction may take, from the call to the commit. When the limit passes, a running statement
    /// is cancelled and the transaction is rolled back. Each statement, and the commit, is also limited by the handle's
    /// [`call_timeout`](crate::Options::call_timeout). Default: 60 s. At most one day.
    pub time_limit: Duration,

    /// How often [`retry_transaction`](crate::Repo::retry_transaction) runs the closure at most. Other calls run it once.
    /// Default: 5.
    pub max_attempts: u32,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            access: Access::default(),
            idle_timeout: IDLE_TIMEOUT,
            time_limit: TIME_LIMIT,
            max_attempts: MAX_ATTEMPTS,
        }
    }
}

impl TransactionOptions {
    /// Returns the options of a transaction that only reads: a snapshot of the local replica.
    pub fn read_only() -> Self {
        Self::default().with_access(Access::ReadOnly)
    }

    /// Sets which writes of other transactions it sees.
    #[must_use]
    pub fn with_isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// Sets whether it may write.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Sets how long it may wait for the next statement.
    #[must_use]
    pub fn with_idle_timeout(self, idle_timeout: Duration) -> Self {
        Self { idle_timeout, ..self }
    }

    /// Sets how long the whole transaction may take.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// Sets how often [`retry_transaction`](crate::Repo::retry_transaction) runs the closure at most.
    #[must_use]
    pub fn with_max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Returns the deadline of a transaction that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.time_limit.min(MAX_TIME_LIMIT)
    }
}

/// Which writes of other transactions a transaction sees: one of [PostgreSQL's isolation
/// levels](https://www.postgresql.org/docs/current/transaction-iso.html).
///
/// Closed: PostgreSQL has no further levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// PostgreSQL's setting `default_transaction_isolation` decides, as it does for single statements. It means
    /// [`ReadCommitted`](Self::ReadCommitted), unless it was changed for the role or the database.
    #[default]
    RoleDefault,

    /// Each statement sees the transactions that were committed before it.
    ReadCommitted,

    /// All statements see the transactions that were committed before the first one. A write to a row that another
    /// transaction has changed since then fails with SQLSTATE 40001.
    RepeatableRead,

    /// Transactions have the same result as if they had run one after the other. A statement or a commit that would
    /// break this fails with SQLSTATE 40001.
    Serializable,
}

/// Whether a transaction may write.
///
/// Closed: it may write or it may not, or the database decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// The transaction runs on the primary. It may write unless PostgreSQL's setting `default_transaction_read_only` is on
    /// for its role or database. A write then fails with SQLSTATE 25006, as outside of a transaction.
    #[default]
    RoleDefault,

    /// The transaction may write, even if the default of its role or database is read-only. It runs on the primary.
    ReadWrite,

    /// The transaction only reads. It is a snapshot of the local database, taken at its first statement, with at least
    /// [`Isolation::RepeatableRead`] and with everything that its session has to see.
    ///
    /// It runs on the primary if the local database is too far behind, or if this node has none. It always runs there
    /// with [`Isolation::Serializable`], which a replica does not support.
    ReadOnly,
}

/// The transaction that a [`Repo`](crate::Repo) belongs to. It is weak, so that the transaction ends with the call that
/// began it, even if the application keeps the handle.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    transaction: Weak<Transaction>,
    pub(crate) savepoint: SavepointId,
}

/// The state that the handles of one interactive transaction share.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) options: TransactionOptions,
    pub(crate) deadline: Instant,
    key: Option<TransactionKey>,
    /// Whether it must not run without the key.
    requires_key: bool,
    /// Whether the database has no table in which the key could be claimed.
    is_unprotected: AtomicBool,
    /// The transaction with the same key that is committed already.
    before: OnceLock<Before>,
    savepoints: Mutex<Savepoints>,
    /// The types of statements, by schema and SQL.
    descriptions: Mutex<LruCache<(Option<String>, String), StatementDescription>>,
    schema_changed: AtomicBool,
    has_conflicted: AtomicBool,
    cursors: AtomicU32,
    /// Whether it runs on the local database, once it has begun.
    is_local: OnceLock<bool>,
    /// Locked while a request is under way: requests run one at a time, in the order of the calls.
    pub(crate) state: tokio::sync::Mutex<StreamState>,
    /// Whether the call that began it has returned or was dropped.
    ended: watch::Sender<bool>,
}

/// The state of a transaction's stream.
#[derive(Debug)]
pub(crate) enum StreamState {
    /// No statement has run yet.
    Unopened,

    /// The first statement is under way. A later call that finds this state knows that the first one was dropped.
    Opening,

    Open {
        stream: TransactionStream,
        /// Whether a response is still to be received, since the caller of its request was dropped.
        outstanding: bool,
    },

    /// The transaction is over.
    Closed,
}

impl Transaction {
    pub(crate) fn new(options: TransactionOptions, deadline: Instant, key: Option<TransactionKey>) -> Self {
        Self {
            options,
            deadline,
            key: key.filter(|_| options.access != Access::ReadOnly),
            requires_key: false,
            is_unprotected: AtomicBool::new(false),
            before: OnceLock::new(),
            savepoints: Mutex::default(),
            descriptions: Mutex::new(LruCache::new(MAX_DESCRIPTIONS)),
            schema_changed: AtomicBool::new(false),
            has_conflicted: AtomicBool::new(false),
            cursors: AtomicU32::new(0),
            is_local: OnceLock::new(),
            state: tokio::sync::Mutex::new(StreamState::Unopened),
            ended: watch::Sender::new(false),
        }
    }

    /// Returns a transaction that does not run without its key: its caller relies on it.
    pub(crate) fn requiring_key(self) -> Self {
        Self { requires_key: true, ..self }
    }

    pub(crate) fn handle(self: &Arc<Self>, savepoint: SavepointId) -> Handle {
        Handle { transaction: Arc::downgrade(self), savepoint }
    }

    pub(crate) fn savepoints(&self) -> MutexGuard<'_, Savepoints> {
        // No code under the lock panics in the middle of a change.
        self.savepoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the transaction: its handles are of no use any more, and calls stop waiting for responses.
    pub(crate) fn end(&self) {
        self.savepoints().end();
        self.ended.send_replace(true);
    }

    /// Waits until the transaction has ended.
    pub(crate) async fn ended(&self) {
        // `self` owns the sender, so the channel stays open.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.options.access == Access::ReadOnly
    }

    /// Returns the key that it claims at its commit.
    pub(crate) fn key(&self) -> Option<TransactionKey> {
        self.key.filter(|_| !self.is_unprotected.load(Ordering::Acquire))
    }

    /// Notes that the database has no table of outcomes. Returns whether the transaction may go on without the key.
    pub(crate) fn note_unprotected(&self) -> bool {
        self.is_unprotected.store(true, Ordering::Release);
        !self.requires_key
    }

    /// Returns the transaction with the same key that is committed already, if this one has met it.
    pub(crate) fn before(&self) -> Option<&Before> {
        self.before.get()
    }

    pub(crate) fn note_before(&self, before: Before) -> &Before {
        self.before.get_or_init(|| before)
    }

    /// Returns whether it may be a snapshot of a replica.
    pub(crate) fn reads_replica(&self) -> bool {
        self.is_read_only() && self.options.isolation != Isolation::Serializable
    }

    /// Returns the request that begins the transaction. Its scope is the database and the settings of all its calls; each
    /// call names its own schema. `session` are the positions that its server has to have in its history.
    pub(crate) fn begin(&self, scope: &Scope, session: &[Position]) -> proto::BeginTransaction {
        use proto::begin_transaction::Isolation as Wire;
        let isolation = match self.options.isolation {
            Isolation::RoleDefault => Wire::Unspecified,
            Isolation::ReadCommitted => Wire::ReadCommitted,
            Isolation::RepeatableRead => Wire::RepeatableRead,
            Isolation::Serializable => Wire::Serializable,
        };
        let idle = self.options.idle_timeout.min(crate::executor::MAX_IDLE_TIMEOUT).as_millis();
        let key = self.key();
        proto::BeginTransaction {
            once: key.map(|key| key.once.to_proto()),
            fingerprint: key.map_or(0, |key| key.fingerprint.cast_unsigned()),
            database: Scope { local: scope.local.in_schema(None), ..scope.clone() }.to_wire(),
            isolation: isolation.into(),
            read_only: self.is_read_only(),
            read_write: self.options.access == Access::ReadWrite,
            idle_timeout_millis: u64::try_from(idle).unwrap_or(u64::MAX).max(1),
            session: to_wire(session),
            ask_snapshot: false,
        }
    }

    /// Returns the types of a statement, if this transaction has asked for them.
    pub(crate) fn description(&self, schema: Option<&str>, sql: &str) -> Option<StatementDescription> {
        let key = (schema.map(ToOwned::to_owned), sql.to_owned());
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(crate) fn remember(&self, schema: Option<&str>, sql: &str, description: &StatementDescription) {
        let mut descriptions = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        descriptions.put((schema.map(ToOwned::to_owned), sql.to_owned()), description.clone());
    }

    /// Returns whether the transaction may have changed the schema. Only its own connection then knows the types of
    /// statements.
    pub(crate) fn has_changed_schema(&self) -> bool {
        self.schema_changed.load(Ordering::Acquire)
    }

    /// Notes statements that may change the schema, before they are sent.
    pub(crate) fn note_schema_changes<'a>(&self, mut statements: impl Iterator<Item = &'a str>) {
        if statements.any(sql::may_change_schema) {
            self.note_schema_change();
        }
    }

    pub(crate) fn note_schema_change(&self) {
        self.schema_changed.store(true, Ordering::Release);
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns whether PostgreSQL has chosen one of its statements, or its commit, to give way to other transactions.
    pub(crate) fn has_conflicted(&self) -> bool {
        self.has_conflicted.load(Ordering::Acquire)
    }

    pub(crate) fn note_conflict(&self) {
        self.has_conflicted.store(true, Ordering::Release);
    }

    /// Returns a name that no other cursor of this transaction has.
    pub(crate) fn next_cursor(&self) -> String {
        format!("homing_{}", self.cursors.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns whether it runs on the local database, or `None` before it has begun.
    pub(crate) fn is_local(&self) -> Option<bool> {
        self.is_local.get().copied()
    }

    pub(crate) fn note_is_local(&self, is_local: bool) {
        self.is_local.get_or_init(|| is_local);
    }
}

impl Handle {
    /// Returns the transaction, unless it has ended.
    pub(crate) fn transaction(&self) -> Result<Arc<Transaction>> {
        self.transaction.upgrade().ok_or_else(over)
    }

    /// Returns a handle for another savepoint of the transaction.
    pub(crate) fn at(&self, savepoint: SavepointId) -> Self {
        Self { transaction: self.transaction.clone(), savepoint }
    }
}

/// Long enough for a few calls to other services between two statements, not for a person to think.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Several transactions that are in conflict with each other come through one after the other. If more attempts are needed,
/// the conflict is the rule.
const MAX_ATTEMPTS: u32 = 5;

/// Far beyond a useful limit, and short enough that adding it to an instant does not overflow.
const MAX_TIME_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// More different statements than one transaction should have.
const MAX_DESCRIPTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
