//! [`Pool`], the connections to one server, and [`Connection`], one of them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Object, PoolError, TimeoutType, Timeouts};
use futures_util::future::join;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Client, Statement};
use tracing::debug;

use super::abilities::Abilities;
use super::address::Address;
use super::connector::{Connector, PooledClient, User};
use super::known::{KnownServer, Server};
use super::login::Login;
use super::open::{Cancellation, ConnectError};
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::position::kind::PositionKind;
use crate::position::role::Role;
use crate::position::state::ServerId;
use crate::position::{SystemIdentifier, Timeline};

/// Connections to one server, pinned to its address. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    connections: managed::Pool<Connector>,
    /// The connection for the request that has this handle, if it has one already.
    handed: Option<Arc<Mutex<Option<Connection>>>>,
}

impl Pool {
    /// Returns a pool without opening a connection.
    #[cfg(test)]
    pub(crate) fn new(address: Address, size: usize) -> Self {
        Self::with_alarm(address, size, Role::Primary, None, Arc::default())
    }

    /// Returns a pool that notifies `alarm` if its server may have lost or gained the role of the primary: it does not
    /// answer, has changed its role, or is a replica where a caller wants the primary. `role` is the one that the server should
    /// have, and `positions` the kind of positions that the settings name.
    pub(crate) fn with_alarm(
        address: Address,
        size: usize,
        role: Role,
        positions: Option<PositionKind>,
        alarm: Arc<Notify>,
    ) -> Self {
        let known = KnownServer::new(alarm, positions);
        let known = Arc::new(if role == Role::Replica { known.for_reads() } else { known });
        Self::of(Connector { address, known, user: User::Node }, size)
    }

    /// Returns a pool of as many connections of another user to the same server, without opening one.
    pub(crate) fn of_login(&self, login: &Login) -> Self {
        let (address, known) = (self.address().of_login(login), Arc::clone(self.known()));
        Self::of(Connector { address, known, user: User::Peers }, self.max_connections())
    }

    fn of(connector: Connector, size: usize) -> Self {
        let connections = managed::Pool::builder(connector)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is set, which is all that building checks");
        Self { connections, handed: None }
    }

    /// Returns a handle for one request that has a connection already: it gets this one first.
    pub(crate) fn handing(&self, connection: Connection) -> Self {
        Self { handed: Some(Arc::new(Mutex::new(Some(connection)))), ..self.clone() }
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
    /// `is_not_sent` if all connections stay in use, if none can be opened before the deadline, or if the address
    /// [cannot be used](super::identity::Fault).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection that was being opened is closed.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Connection> {
        if let Some(connection) = self.handed.as_ref().and_then(|handed| lock(handed).take()) {
            return Ok(connection);
        }
        self.heed_fault()?;
        let connection = self.take(deadline).await?;
        if self.known().is(connection.server_id()) {
            return Ok(connection);
        }
        connection.discard();
        self.heed_fault()?;
        let address = self.address();
        Err(Error::not_sent(format!("the database server at {address} was replaced a moment ago: try again")))
    }

    /// Returns a connection for a caller that has one, unless all are in use: callers that wait for each other's connections
    /// would wait for ever. `None` if there is none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection that was being opened is closed.
    pub(crate) async fn another(&self, deadline: Instant) -> Option<Connection> {
        let connection = self.take_within(Duration::ZERO, deadline).await.ok()?;
        self.known().is(connection.server_id()).then_some(connection)
    }

    /// Returns a connection, which may lead to another server than the rest of the pool.
    async fn take(&self, deadline: Instant) -> Result<Connection> {
        self.take_within(deadline.saturating_duration_since(Instant::now()), deadline).await
    }

    /// Returns a connection, after a wait of this time at most if all are in use.
    async fn take_within(&self, wait: Duration, deadline: Instant) -> Result<Connection> {
        let left = Some(deadline.saturating_duration_since(Instant::now()));
        let timeouts = Timeouts { wait: Some(wait), create: left, recycle: left };
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
    pub(crate) fn known(&self) -> &Arc<KnownServer> {
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
    /// `is_not_sent` if there is no answer before the deadline, or if the address [cannot be used](super::identity::Fault).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection is closed.
    pub(crate) async fn ask_anew(&self, deadline: Instant) -> Result<Server> {
        self.heed_fault()?;
        let opened = self.open_beside(deadline).await?;
        self.heed_fault().map(|()| self.known().seen_as(opened.server))
    }

    /// Asks the server for its role and its identity, for the first time, and compares two connections: both have to lead to
    /// this server, and each has to keep its session.
    ///
    /// # Errors
    ///
    /// `is_not_sent` if there is no answer before the deadline, or if the address [cannot be used](super::identity::Fault).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connections are closed.
    pub(crate) async fn introduce(&self, deadline: Instant) -> Result<Server> {
        self.heed_fault()?;
        // The second one may find no room. The first one then has time left.
        let half_way = deadline - deadline.saturating_duration_since(Instant::now()) / 2;
        let (first, second) = join(self.take(deadline), self.open_beside(half_way)).await;
        let first = AttendedConnection::new(first?);
        // One after the other: a transaction pooler that takes the session that became free last takes the same one for both
        // connections, and one that takes them in turn takes another one for the second question.
        self.ask_on(&first.connection, deadline).await?;
        let server = self.ask_on(&first.connection, deadline).await?;
        if let Ok(second) = second {
            // A failure of the second one says nothing about the first one.
            let _ = self.ask_on(&second, deadline).await;
        }
        drop(first.done());
        self.heed_fault().map(|()| self.known().seen_as(server))
    }

    /// Asks the server for its role and its identity.
    ///
    /// # Errors
    ///
    /// `is_not_sent` if there is no answer before the deadline, or if the address [cannot be used](super::identity::Fault).
    pub(crate) async fn ask(&self, deadline: Instant) -> Result<Server> {
        if self.connections.manager().user == User::Peers {
            // A peer may have changed what the sessions of its pool say.
            return self.ask_anew(deadline).await;
        }
        let connection = AttendedConnection::new(self.connection(deadline).await?);
        let server = self.ask_on(&connection.connection, deadline).await?;
        drop(connection.done());
        self.heed_fault().map(|()| server)
    }

    async fn ask_on(&self, client: &PooledClient, deadline: Instant) -> Result<Server> {
        let silent = || Error::not_sent(format!("the database at {} did not report its role in time", self.address()));
        let answer = timeout_at(deadline, self.connections.manager().ask(client)).await.map_err(|_| silent())?;
        answer.map_err(|error| silent().with_source(error))
    }

    /// Opens a connection that does not belong to the pool.
    async fn open_beside(&self, deadline: Instant) -> Result<PooledClient> {
        match timeout_at(deadline, self.connections.manager().open()).await {
            Ok(opened) => opened.map_err(|error| self.unavailable(PoolError::Backend(error))),
            Err(_) => Err(self.unavailable(PoolError::Timeout(TimeoutType::Create))),
        }
    }

    fn heed_fault(&self) -> Result<()> {
        let Some(fault) = self.known().fault() else { return Ok(()) };
        Err(Error::not_sent(format!("the database at {} cannot be used: {fault}", self.address())).with_source(fault))
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

    fn unavailable(&self, error: PoolError<ConnectError>) -> Error {
        let address = self.address();
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Error::not_sent(format!(
                "all {} connections to the database at {address} stayed in use: raise the pool's size, or look for slow \
                 statements",
                self.connections.status().max_size
            )),
            PoolError::Timeout(_) => Error::not_sent(format!("the database at {address} did not answer in time")),
            PoolError::Backend(error) => {
                let reason = error.reason().map_or_else(String::new, |reason| format!(": {reason}"));
                let unreachable = Error::not_sent(format!("the database at {address} cannot be reached{reason}"));
                match error.as_db_error() {
                    Some(refused) => unreachable.with_source(DatabaseError::from(refused)),
                    None => unreachable.with_source(error.into_driver()),
                }
            }
            error => Error::not_sent(format!("cannot connect to the database at {address}")).with_source(error),
        }
    }
}

fn lock(handed: &Mutex<Option<Connection>>) -> MutexGuard<'_, Option<Connection>> {
    // No code under the lock panics.
    handed.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(crate) fn server_id(&self) -> ServerId {
        self.connection.server.id()
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

    /// Returns by what the server tells positions.
    pub(crate) fn positions(&self) -> PositionKind {
        self.abilities().positions
    }

    /// Returns which functions the server lets the role call.
    pub(crate) fn abilities(&self) -> Abilities {
        self.connection.abilities
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

    /// Returns what cancels a statement that runs on the connection.
    pub(crate) fn cancellation(&self) -> Cancellation {
        self.connection.cancellation.clone()
    }

    /// Closes the connection, since its state is in doubt.
    pub(crate) fn discard(self) {
        drop(Object::take(self.connection));
    }

    /// Cancels the statement that runs on the connection and closes it. Until then it keeps its place in the pool, so that
    /// the server has no more connections than the pool allows.
    pub(crate) async fn abandon(self) {
        if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, self.cancellation().request()).await {
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

/// How long to wait for a cancellation. After that, the server notices by itself that the connection is closed.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;

    use super::super::identity::tests::sighting;
    use super::*;

    #[tokio::test]
    async fn connection_to_replaced_server_is_not_used() {
        let server = Postgres::options().start().await.unwrap();
        let address = Address::resolve(&server.url(), "a test").await.unwrap().remove(0);
        let (pool, deadline) = (Pool::new(address, 4), Instant::now() + Duration::from_secs(30));
        let in_use = pool.connection(deadline).await.unwrap();
        drop(pool.connection(deadline).await.unwrap());
        // As if the tracker had found another server at the address.
        let _ = pool.known().note(&sighting(1, 1), None);
        // A new connection leads back to the first server, which answers.
        let error = pool.connection(deadline).await.unwrap_err();
        assert!(error.to_string().contains("two connections to it lead to different servers"), "{error}");
        drop(in_use);
        assert!(pool.connection(deadline).await.is_err());
        assert_eq!(pool.server(), None);
    }
}
