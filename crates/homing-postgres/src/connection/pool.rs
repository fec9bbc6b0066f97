//! The connections to one server.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Client, Config, NoTls, Statement};
use tracing::{debug, info};

use super::address::Address;
use crate::error::{Error, Result};
use crate::position::SystemIdentifier;
use crate::position::role::Role;

/// Connections to one server, pinned to its address. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    connections: deadpool_postgres::Pool,
    address: Address,
    server: Arc<Mutex<Option<Server>>>,
}

/// What the server said of itself when it was last connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) role: Role,
    pub(crate) system_identifier: SystemIdentifier,
    /// When it was started, in microseconds: tells one server from another.
    pub(crate) started_at: i64,
}

impl Pool {
    /// Opens no connection yet.
    pub(crate) fn new(address: Address, size: usize) -> Self {
        let server = Arc::new(Mutex::new(None));
        let connector = Connector { address: address.to_string(), server: Arc::clone(&server) };
        // Nothing that a call leaves behind has to be reset: statements that change a session are refused, and a
        // connection whose state is in doubt is discarded.
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(address.config().clone(), connector, config);
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is set, which is all that building checks");
        Self { connections, address, server }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// How many connections there are at most.
    pub(crate) fn max_connections(&self) -> usize {
        self.connections.status().max_size
    }

    /// A connection, before the deadline.
    ///
    /// # Errors
    ///
    /// Not sent. Nothing has been executed.
    ///
    /// # Cancel safety
    ///
    /// A connection that was being opened is closed.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Connection> {
        let left = Some(deadline.saturating_duration_since(Instant::now()));
        let timeouts = Timeouts { wait: left, create: left, recycle: left };
        // Each of the three may take all that is left, together they may not.
        let connection = timeout_at(deadline, self.connections.timeout_get(&timeouts)).await;
        match connection.unwrap_or(Err(PoolError::Timeout(TimeoutType::Create))) {
            Ok(connection) => {
                let server = self.server().expect("the server introduced itself when this connection was opened");
                let system_identifier = server.system_identifier;
                Ok(Connection { connection, system_identifier, beginning: Beginning::default() })
            }
            Err(error) => Err(self.unavailable(error)),
        }
    }

    /// What the server said of itself when it was last connected to or asked. `None` before the first time.
    pub(crate) fn server(&self) -> Option<Server> {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server what it is now.
    pub(crate) async fn ask(&self, deadline: Instant) -> Result<Server> {
        let connection = self.connection(deadline).await?;
        let silent = || Error::not_sent(format!("the database at {} did not say what it is", self.address));
        let server = timeout_at(deadline, introduce(&connection))
            .await
            .map_err(|_| silent())?
            .map_err(|error| silent().with_source(error))?;
        note(&self.server, server, &self.address.to_string());
        Ok(server)
    }

    /// How long the server takes to answer.
    pub(crate) async fn round_trip(&self, deadline: Instant) -> Result<Duration> {
        let connection = self.connection(deadline).await?;
        let began = Instant::now();
        match timeout_at(deadline, connection.simple_query("")).await {
            Ok(Ok(_)) => Ok(began.elapsed()),
            _ => Err(Error::not_sent(format!("the database at {} did not answer", self.address))),
        }
    }

    fn unavailable(&self, error: PoolError) -> Error {
        let Self { address, .. } = self;
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Error::not_sent(format!(
                "all {} connections to the database at {address} are in use: raise the pool's size or look for slow \
                 statements",
                self.connections.status().max_size
            )),
            PoolError::Timeout(_) => Error::not_sent(format!("the database at {address} does not answer in time")),
            PoolError::Backend(error) => {
                let cause = error.as_db_error().map(|error| format!(": {}", error.message())).unwrap_or_default();
                Error::not_sent(format!("the database at {address} cannot be reached{cause}")).with_source(error)
            }
            error => Error::not_sent(format!("no connection to the database at {address}")).with_source(error),
        }
    }
}

/// A connection, back in the pool when dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    connection: Object,
    system_identifier: SystemIdentifier,
    beginning: Beginning,
}

/// Whether the server is still to answer the beginning of a block, behind which a statement has been sent already.
#[derive(Debug, Default)]
struct Beginning {
    is_pending: AtomicBool,
    answered: Notify,
    /// What runs on the connection is being cancelled. A request may arrive late, at a beginning that comes after it.
    is_cancelled: AtomicBool,
}

impl Connection {
    /// The cluster that the connection leads to.
    pub(crate) fn system_identifier(&self) -> SystemIdentifier {
        self.system_identifier
    }

    /// Prepares a statement, or takes it as it was prepared before on this connection.
    pub(crate) async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if self.connection.statement_cache.size() >= MAX_STATEMENTS {
            self.connection.statement_cache.clear();
        }
        self.connection.prepare_cached(sql).await
    }

    /// Forgets what is known of statements and types, because the schema has changed.
    pub(crate) fn forget_statements(&self) {
        self.connection.statement_cache.clear();
        self.connection.clear_type_cache();
    }

    /// A block begins: until that is [answered](Self::note_begun), what runs here must not be cancelled.
    pub(crate) fn note_beginning(&self) {
        self.beginning.is_pending.store(true, Ordering::Release);
    }

    pub(crate) fn note_begun(&self) {
        self.beginning.is_pending.store(false, Ordering::Release);
        self.beginning.answered.notify_waiters();
    }

    /// Completes when no beginning of a block is on its way. A cancellation that hits it would leave the statement behind
    /// it to run by itself: outside of its schema, and committed at once.
    pub(crate) async fn begun(&self) {
        loop {
            let answered = self.beginning.answered.notified();
            if !self.beginning.is_pending.load(Ordering::Acquire) {
                return;
            }
            answered.await;
        }
    }

    /// From now on what runs here is being cancelled.
    pub(crate) fn note_cancelled(&self) {
        self.beginning.is_cancelled.store(true, Ordering::Release);
    }

    /// Whether a beginning has to be waited for before anything is sent behind it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.beginning.is_cancelled.load(Ordering::Acquire)
    }

    /// Closes the connection: its state is in doubt.
    pub(crate) fn discard(self) {
        drop(Object::take(self.connection));
    }

    /// Closes the connection and cancels what runs on it.
    pub(crate) async fn abandon(self) {
        let cancelling = self.cancel_token();
        self.discard();
        if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, cancelling.cancel_query(NoTls)).await {
            debug!(%error, "cannot cancel a statement");
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection
    }
}

struct Connector {
    address: String,
    server: Arc<Mutex<Option<Server>>>,
}

type Connected = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(NoTls).await?;
            let address = self.address.clone();
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%address, %error, "connection to the database ended");
                }
            });
            let mut unfinished = Unfinished(Some(task));
            let server = introduce(&client).await?;
            note(&self.server, server, &self.address);
            Ok((client, unfinished.0.take().expect("put there above")))
        })
    }
}

/// The task of a connection that nobody has yet: ended if it never gets that far, so that a silent server does not keep
/// it.
struct Unfinished(Option<JoinHandle<()>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Asks what the server is, and sees to it that a commit is flushed when it returns.
///
/// With `synchronous_commit = off` a commit returns before it is flushed, and the flush position read after it lies
/// before it. All other settings flush here first, and are left alone: `remote_apply` must not be weakened. The setting
/// is made for the session even where it is the default, so that a later reload of the server's configuration does not
/// take it back.
/// <https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT>
async fn introduce(client: &Client) -> Result<Server, tokio_postgres::Error> {
    const SQL: &str = "
        select pg_is_in_recovery(), (select system_identifier from pg_control_system()),
               set_config('synchronous_commit',
                          case current_setting('synchronous_commit')
                              when 'off' then 'on' else current_setting('synchronous_commit') end,
                          false),
               (extract(epoch from pg_postmaster_start_time()) * 1000000)::int8";
    let row = client.query_one(SQL, &[]).await?;
    let role = if row.try_get(0)? { Role::Replica } else { Role::Primary };
    let system_identifier = SystemIdentifier::from(row.try_get::<_, i64>(1)?.cast_unsigned());
    Ok(Server { role, system_identifier, started_at: row.try_get(3)? })
}

fn note(known: &Mutex<Option<Server>>, server: Server, address: &str) {
    let before = known.lock().unwrap_or_else(PoisonError::into_inner).replace(server);
    if before.is_some_and(|before| before.role != server.role) {
        info!(%address, role = %server.role, "the database changed its role");
    }
}

/// The prepared statements that one connection keeps. They take memory in the server too.
const MAX_STATEMENTS: usize = 512;

/// The server notices soon enough by itself that the connection is closed.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
