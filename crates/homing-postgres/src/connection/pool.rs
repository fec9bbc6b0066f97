//! [`Pool`], the connections to one server, and [`Connection`], one of them.
//!
//! Each connection has a background task that drives its socket:
//!
//! - **Spawned by** [`Connector`] when the pool opens a connection. **Kept by** its [`PooledClient`].
//! - **Owns** the socket. Its channel is the driver's own.
//! - **Ends** when the server closes the connection, or when the client is dropped, which aborts the task.
//! - **If it panics**, the connection counts as closed, and the pool opens another one.
//! - **Bounds:** as many as the pool has connections. Callers that wait for one have no limit but their deadlines.

use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    self, Manager, Metrics, Object, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};
use tracing::{debug, info};

use super::address::Address;
use super::known::{KnownServer, Server};
use super::statements::{MAX_STATEMENTS, PreparedStatements};
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::position::{SystemIdentifier, Timeline};

/// Connections to one server, pinned to its address. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    connections: managed::Pool<Connector>,
}

impl Pool {
    /// Returns a pool without opening a connection.
    pub(crate) fn new(address: Address, size: usize) -> Self {
        Self::with_alarm(address, size, Arc::default())
    }

    /// Returns a pool that notifies `alarm` if its server may have lost or gained the role of the primary: it does not
    /// answer, has changed its role, or is a replica where a caller wants the primary.
    pub(crate) fn with_alarm(address: Address, size: usize, alarm: Arc<Notify>) -> Self {
        let connections = managed::Pool::builder(Connector { address, known: KnownServer::new(alarm) })
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is set, which is all that building checks");
        Self { connections }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.connections.manager().address
    }

    /// Returns how many connections the pool may have.
    pub(crate) fn max_connections(&self) -> usize {
        self.connections.status().max_size
    }

    /// Returns a connection, waiting for one until the deadline.
    ///
    /// # Errors
    ///
    /// `is_not_sent` if all connections stay in use, or none can be opened before the deadline.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection that was being opened is closed.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Connection> {
        let left = Some(deadline.saturating_duration_since(Instant::now()));
        let timeouts = Timeouts { wait: left, create: left, recycle: left };
        // Each of the three may take all of the time that is left, but not all three together.
        let connection = timeout_at(deadline, self.connections.timeout_get(&timeouts)).await;
        match connection.unwrap_or(Err(PoolError::Timeout(TimeoutType::Create))) {
            Ok(connection) => Ok(Connection { connection, beginning: Beginning::default() }),
            Err(error) => {
                if !matches!(error, PoolError::Timeout(TimeoutType::Wait)) {
                    self.known().suspect();
                }
                Err(self.unavailable(error))
            }
        }
    }

    /// Returns what the server last reported.
    pub(crate) fn known(&self) -> &KnownServer {
        &self.connections.manager().known
    }

    /// Returns the server as it last reported itself. `None` before the first connection.
    pub(crate) fn server(&self) -> Option<Server> {
        self.known().report().server
    }

    /// Returns a connection for statements that may write. A connection to a replica is read-only, so if the server is a
    /// replica as far as this pool knows, it is asked whether it was promoted.
    ///
    /// # Errors
    ///
    /// As [`connection`](Self::connection).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn writing_connection(&self, deadline: Instant) -> Result<Connection> {
        let connection = self.connection(deadline).await?;
        if connection.role() == Role::Primary {
            return Ok(connection);
        }
        drop(connection);
        if self.ask(deadline).await?.role == Role::Replica {
            self.known().is_wrong();
        }
        self.connection(deadline).await
    }

    /// Asks the server for its role, its identity and its timeline on a connection of its own, which is closed again. It
    /// needs no free connection of the pool, and no connection that was opened before the server died.
    ///
    /// # Errors
    ///
    /// `is_not_sent` if there is no answer before the deadline.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection is closed.
    pub(crate) async fn ask_anew(&self, deadline: Instant) -> Result<Server> {
        let connector = self.connections.manager();
        match timeout_at(deadline, connector.open()).await {
            Ok(Ok(opened)) => {
                connector.note(opened.server);
                Ok(opened.server)
            }
            Ok(Err(error)) => Err(self.unavailable(PoolError::Backend(error))),
            Err(_) => Err(self.unavailable(PoolError::Timeout(TimeoutType::Create))),
        }
    }

    /// Asks the server for its role and its identity.
    ///
    /// # Errors
    ///
    /// `is_not_sent` if there is no answer before the deadline.
    pub(crate) async fn ask(&self, deadline: Instant) -> Result<Server> {
        let connection = AttendedConnection::new(self.connection(deadline).await?);
        let silent = || Error::not_sent(format!("the database at {} did not report its role in time", self.address()));
        let server = timeout_at(deadline, identify(&connection))
            .await
            .map_err(|_| silent())?
            .map_err(|error| silent().with_source(error))?;
        drop(connection.done());
        self.connections.manager().note(server);
        Ok(server)
    }

    /// Measures how long the server takes to answer.
    ///
    /// # Errors
    ///
    /// `is_not_sent` if there is no answer before the deadline.
    pub(crate) async fn round_trip(&self, deadline: Instant) -> Result<Duration> {
        let connection = AttendedConnection::new(self.connection(deadline).await?);
        let began = Instant::now();
        match timeout_at(deadline, connection.simple_query("")).await {
            Ok(Ok(_)) => {
                drop(connection.done());
                Ok(began.elapsed())
            }
            _ => Err(Error::not_sent(format!("the database at {} did not answer in time", self.address()))),
        }
    }

    fn unavailable(&self, error: PoolError<tokio_postgres::Error>) -> Error {
        let address = self.address();
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Error::not_sent(format!(
                "all {} connections to the database at {address} stayed in use: raise the pool's size, or look for slow \
                 statements",
                self.connections.status().max_size
            )),
            PoolError::Timeout(_) => Error::not_sent(format!("the database at {address} did not answer in time")),
            PoolError::Backend(error) => {
                let message = format!("the database at {address} cannot be reached");
                // PostgreSQL's own error says the cause by itself.
                match error.as_db_error() {
                    Some(refused) => {
                        let refused = DatabaseError::from(refused);
                        Error::not_sent(format!("{message}: {refused}")).with_source(refused)
                    }
                    None => Error::not_sent(message).with_source(error),
                }
            }
            error => Error::not_sent(format!("cannot connect to the database at {address}")).with_source(error),
        }
    }
}

/// A connection, which goes back to the pool on drop.
#[derive(Debug)]
pub(crate) struct Connection {
    connection: Object<Connector>,
    beginning: Beginning,
}

/// The state of a block's `BEGIN`. A statement may have been sent behind it before the server answers it.
#[derive(Debug, Default)]
struct Beginning {
    is_pending: AtomicBool,
    answered: Notify,
    /// Whether a statement on the connection is being cancelled. The request may arrive late, during a later `BEGIN`.
    is_cancelled: AtomicBool,
}

impl Connection {
    /// Returns the cluster that the connection leads to.
    pub(crate) fn system_identifier(&self) -> SystemIdentifier {
        self.connection.server.system_identifier
    }

    /// Returns the timeline of the server, if it was a primary when the connection was opened.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        self.connection.server.timeline
    }

    /// Returns the role that the server had when the connection was opened. A connection to a replica is read-only: if the
    /// replica was promoted since, it still refuses to write.
    pub(crate) fn role(&self) -> Role {
        self.connection.server.role
    }

    /// Prepares a statement, unless this connection has prepared it before.
    pub(crate) async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.connection.statements.get_or_prepare(&self.connection.client, sql).await
    }

    /// Forgets a prepared statement and the types, because the schema has changed since it was prepared.
    pub(crate) fn forget(&self, sql: &str) {
        self.connection.statements.forget(sql);
        self.clear_type_cache();
    }

    /// Forgets all prepared statements and the types, because the schema has changed.
    pub(crate) fn forget_statements(&self) {
        self.connection.statements.clear();
        self.clear_type_cache();
    }

    /// Returns whether the wait of a commit for a synchronous replica was cancelled since the last question.
    pub(crate) fn take_not_replicated(&self) -> bool {
        self.connection.not_replicated.swap(false, Ordering::AcqRel)
    }

    /// Notes that a `BEGIN` is sent. Nothing on this connection may be cancelled until it is [answered](Self::note_begun).
    pub(crate) fn note_beginning(&self) {
        self.beginning.is_pending.store(true, Ordering::Release);
    }

    /// Notes that the `BEGIN` was answered.
    pub(crate) fn note_begun(&self) {
        self.beginning.is_pending.store(false, Ordering::Release);
        self.beginning.answered.notify_waiters();
    }

    /// Waits until the `BEGIN` is answered, if one was sent. If a cancellation hit it, the statement behind it would run
    /// by itself: outside of its schema, and committed at once.
    pub(crate) async fn begun(&self) {
        loop {
            let answered = self.beginning.answered.notified();
            if !self.beginning.is_pending.load(Ordering::Acquire) {
                return;
            }
            answered.await;
        }
    }

    /// Notes that a statement on this connection is being cancelled.
    pub(crate) fn note_cancelled(&self) {
        self.beginning.is_cancelled.store(true, Ordering::Release);
    }

    /// Returns whether a later `BEGIN` has to be answered before a statement is sent behind it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.beginning.is_cancelled.load(Ordering::Acquire)
    }

    /// Closes the connection, since its state is in doubt.
    pub(crate) fn discard(self) {
        drop(Object::take(self.connection));
    }

    /// Cancels the statement that runs on the connection and closes it. Until then it keeps its place in the pool, so that
    /// the server has no more connections than the pool allows.
    pub(crate) async fn abandon(self) {
        if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, self.cancel_token().cancel_query(NoTls)).await {
            debug!(%error, "cannot cancel a statement");
        }
        self.discard();
    }
}

/// A connection whose caller may go away at any time. If it is dropped before [`done`](Self::done), a statement may still
/// run on it: a task cancels that and closes the connection, so that no later caller waits for it. The task ends within
/// [`CANCEL_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct AttendedConnection(Option<Connection>);

impl AttendedConnection {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(Some(connection))
    }

    /// Returns the connection, on which nothing runs any more.
    pub(crate) fn done(mut self) -> Connection {
        self.0.take().expect("taken once")
    }
}

impl Deref for AttendedConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("taken when it is done")
    }
}

impl Drop for AttendedConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(connection.abandon());
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection.client
    }
}

/// Opens the connections of a pool.
#[derive(Debug)]
struct Connector {
    address: Address,
    known: KnownServer,
}

impl Connector {
    fn note(&self, server: Server) {
        if self.known.note(server) {
            info!(address = %self.address, role = %server.role, "database server changed role");
        }
    }

    async fn open(&self) -> Result<PooledClient, tokio_postgres::Error> {
        let (client, mut connection) = self.address.config().connect(NoTls).await?;
        let address = self.address.to_string();
        let not_replicated = Arc::new(AtomicBool::new(false));
        let warned = Arc::clone(&not_replicated);
        let task = AbortOnDrop(tokio::spawn(async move {
            // The messages come in order, so a warning is noted before the call sees the end of its commit.
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) if is_not_replicated(&notice) => {
                        warned.store(true, Ordering::Release);
                    }
                    Ok(AsyncMessage::Notice(notice)) => {
                        // Without the detail, which may hold a person's data.
                        debug!(%address, notice = notice.message(), "notice of the database");
                    }
                    Ok(_) => {}
                    // The end of the task drops the connection, and with it the requests that wait for an answer.
                    Err(error) => {
                        debug!(%address, %error, "connection to the database ended");
                        return;
                    }
                }
            }
        }));
        let server = identify(&client).await?;
        let statements = PreparedStatements::new(MAX_STATEMENTS);
        Ok(PooledClient { client, server, statements, not_replicated, _task: task })
    }
}

/// A connection that belongs to a pool.
struct PooledClient {
    client: Client,
    /// The server as it was when this connection was opened.
    server: Server,
    statements: PreparedStatements,
    /// Whether PostgreSQL has warned that a commit is not replicated.
    not_replicated: Arc<AtomicBool>,
    _task: AbortOnDrop,
}

impl Manager for Connector {
    type Type = PooledClient;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<PooledClient, tokio_postgres::Error> {
        let opened = self.open().await?;
        self.note(opened.server);
        Ok(opened)
    }

    /// No call leaves anything behind that has to be reset: statements that change a session are refused, and a connection
    /// in doubtful state is discarded.
    async fn recycle(&self, client: &mut PooledClient, _: &Metrics) -> RecycleResult<tokio_postgres::Error> {
        if client.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if self.known.report().server.is_some_and(|known| known.role != client.server.role) {
            return Err(RecycleError::message("the server has changed its role"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for PooledClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledClient").finish_non_exhaustive()
    }
}

/// Whether PostgreSQL says that it cancelled a commit's wait for a synchronous replica. The text may be in another language,
/// so the routine tells.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/replication/syncrep.c>
fn is_not_replicated(notice: &DbError) -> bool {
    notice.routine() == Some("SyncRepWaitForLSN")
}

/// The task of a connection. A silent server does not keep it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks the server for its role and identity, and makes sure that a commit is flushed when it returns.
///
/// With `synchronous_commit = off` a commit returns before it is flushed, so the flush position that is read after it
/// lies before it. All other values flush on the primary first. They are left alone: `remote_apply` must not be weakened.
/// The value is set for the session even if it is the default, so that a reload of the server's configuration does not
/// change it later.
/// <https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT>
///
/// A connection to a replica is made read-only. A server that was promoted a moment ago then refuses a write with SQLSTATE
/// 25006, in place of running it as if it were a read.
/// <https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-DEFAULT-TRANSACTION-READ-ONLY>
async fn identify(client: &Client) -> Result<Server, tokio_postgres::Error> {
    const SQL: &str = "
        select pg_is_in_recovery(), (select system_identifier from pg_control_system()),
               set_config('synchronous_commit',
                          case current_setting('synchronous_commit')
                              when 'off' then 'on' else current_setting('synchronous_commit') end,
                          false),
               (extract(epoch from pg_postmaster_start_time()) * 1000000)::int8,
               case when pg_is_in_recovery() then set_config('default_transaction_read_only', 'on', false) end,
               pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool,
               case when not pg_is_in_recovery()
                   then ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int end";
    let row = match client.query_one(SQL, &[]).await {
        Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
            // A replica refuses all statements of a role whose default is serializable.
            client.batch_execute("set default_transaction_isolation = 'repeatable read'").await?;
            client.query_one(SQL, &[]).await?
        }
        row => row?,
    };
    let role = if row.try_get(0)? { Role::Replica } else { Role::Primary };
    let system_identifier = SystemIdentifier::from(row.try_get::<_, i64>(1)?.cast_unsigned());
    let timeline = row.try_get::<_, Option<i32>>(6)?.map(|number| Timeline::from(number.cast_unsigned()));
    Ok(Server { role, system_identifier, timeline, started_at: row.try_get(3)?, is_read_only: row.try_get(5)? })
}

/// How long to wait for a cancellation. After that, the server notices by itself that the connection is closed.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
