//! [`Connector`], which opens the connections of a pool.
//!
//! Each connection has a background task that drives its socket:
//!
//! - **Spawned by** [`Connector`] when its pool opens a connection. **Kept by** its [`PooledClient`].
//! - **Owns** the socket. Its channel is the driver's own.
//! - **Ends** when the server closes the connection, or when the client is dropped, which aborts the task.
//! - **If it panics**, the connection counts as closed, and the pool opens another one.
//! - **Bounds:** as many as the pool has connections. Callers that wait for one have no limit but their deadlines.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_postgres::error::DbError;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client};
use tracing::{debug, info, warn};

use super::abilities::Abilities;
use super::address::Address;
use super::identity::{Fault, SessionMark, Sighting};
use super::isolation::despite_serializable;
use super::known::{KnownServer, Noted, Server};
use super::open::{Cancellation, ConnectError};
use super::statements::{MAX_STATEMENTS, PreparedStatements};
use crate::position::Timeline;
use crate::position::kind::PositionKind;
use crate::position::role::{IS_REPLICA, Role};
use crate::position::state::ServerId;

/// Opens the connections of a pool.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) address: Address,
    pub(super) known: Arc<KnownServer>,
    pub(super) user: User,
}

/// Whose connections they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// That of the connection string.
    Node,

    /// That of SQL which peers send. What is its own says nothing about the server.
    Peers,
}

impl Connector {
    /// Asks the server behind a connection for its role and its identity. It has to be the server, and the session, that this
    /// connection found when it was opened.
    pub(super) async fn ask(&self, client: &PooledClient) -> Result<Server, tokio_postgres::Error> {
        let (server, sighting) = self.identify(&client.client, &client.mark, client.abilities).await?;
        let noted = if sighting.is_shared(Some(&client.mark)) || server.id() != client.server.id() {
            self.known.blame(Fault::SharedSession)
        } else {
            let several = || self.known.note_several(&sighting, Some(server), client.abilities.positions);
            self.known.note(&sighting, Some(server)).unwrap_or_else(several)
        };
        self.report(noted, server);
        Ok(self.known.seen_as(server))
    }

    /// Asks the server for its role and its identity. Whether sessions are read-only by default may depend on the user, and
    /// that of the node counts.
    async fn identify(
        &self,
        client: &Client,
        mark: &SessionMark,
        abilities: Abilities,
    ) -> Result<(Server, Sighting), tokio_postgres::Error> {
        let (mut server, sighting) = identify(client, mark, abilities).await?;
        if self.user == User::Peers
            && let Some(known) = self.known.report().server
        {
            server.is_read_only = known.is_read_only;
        }
        Ok((server, sighting))
    }

    /// Asks a server on a new connection for its role and identity, with the functions that it lets the role call. They are
    /// tried on the node's first connection, and again if the server refuses one of them.
    async fn introduce(
        &self,
        client: &Client,
        mark: &SessionMark,
    ) -> Result<(Server, Sighting, Abilities), tokio_postgres::Error> {
        let explore = async {
            match self.user {
                User::Node => self.known.explore(client).await,
                User::Peers => Abilities::explore(client, self.known.positions()).await,
            }
        };
        let identify = |abilities| self.identify(client, mark, abilities);
        let ((server, sighting), abilities) = Abilities::ask_with(self.known.abilities(), explore, identify).await?;
        Ok((server, sighting, abilities))
    }

    fn report(&self, noted: Noted, server: Server) {
        let address = &self.address;
        match noted {
            Noted::Nothing => {}
            Noted::OtherRole => info!(%address, role = %server.role, "database server changed role"),
            Noted::Spread => {
                info!(%address, "the address leads to several servers: each read asks the one that it has")
            }
            Noted::Fault(fault) => warn!(%address, %fault, "the address of the database cannot be used"),
        }
    }

    pub(super) async fn open(&self) -> Result<PooledClient, ConnectError> {
        let connected = self.address.connect().await;
        let (client, mut connection) = connected.inspect_err(|error| {
            if self.user == User::Node {
                self.known.complain(error.reason());
            }
        })?;
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
        let mark = SessionMark::random();
        let (server, sighting, abilities) = self.introduce(&client, &mark).await?;
        let answers = async { client.simple_query("").await.map(drop) };
        let noted = self.known.meet(&sighting, Some(server), abilities.positions, answers).await?;
        self.report(noted, server);
        let cancellation = self.address.cancellation(&client);
        let statements = PreparedStatements::new(MAX_STATEMENTS);
        Ok(PooledClient { client, cancellation, server, abilities, mark, statements, not_replicated, _task: task })
    }
}

/// A connection that belongs to a pool.
pub(super) struct PooledClient {
    pub(super) client: Client,
    pub(super) cancellation: Cancellation,
    /// The server as it was when this connection was opened.
    pub(super) server: Server,
    pub(super) abilities: Abilities,
    /// What this connection has left in its session.
    pub(super) mark: SessionMark,
    pub(super) statements: PreparedStatements,
    /// Whether PostgreSQL has warned that a commit is not replicated.
    pub(super) not_replicated: Arc<AtomicBool>,
    _task: AbortOnDrop,
}

impl Manager for Connector {
    type Type = PooledClient;
    type Error = ConnectError;

    async fn create(&self) -> Result<PooledClient, ConnectError> {
        // Boxed, since the compiler limits how deep futures may be nested, and applications nest this one further.
        self.open().boxed().await
    }

    /// No call leaves anything behind that has to be reset: statements that change a session are refused, and a connection
    /// in doubtful state is discarded.
    async fn recycle(&self, client: &mut PooledClient, _: &Metrics) -> RecycleResult<ConnectError> {
        if client.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if !self.known.accepts(&client.server) {
            return Err(RecycleError::message("the server was replaced or has changed its role"));
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
async fn identify(
    client: &Client,
    mark: &SessionMark,
    abilities: Abilities,
) -> Result<(Server, Sighting), tokio_postgres::Error> {
    let sql = format!(
        "select {},
                {IS_REPLICA},
                set_config('synchronous_commit',
                           case current_setting('synchronous_commit')
                               when 'off' then 'on' else current_setting('synchronous_commit') end,
                           false),
                case when {IS_REPLICA} then set_config('default_transaction_read_only', 'on', false) end,
                {IS_REPLICA} or current_setting('default_transaction_read_only')::bool,
                case when not {IS_REPLICA} then {} end",
        Sighting::columns(abilities),
        timeline_of_primary(abilities)
    );
    // A prepared statement would have a name, which a pooler may give to another session.
    let query = || async { client.query_typed_one(&sql, &[(&mark.as_str(), Type::TEXT)]).await };
    let row = despite_serializable(client, query).await?;
    let sighting = Sighting::read(&row)?;
    let column = |index: usize| Sighting::WIDTH + index;
    let role = if row.try_get(column(0))? { Role::Replica } else { Role::Primary };
    let timeline = row.try_get::<_, Option<i32>>(column(4))?.map(|number| Timeline::from(number.cast_unsigned()));
    let ServerId { system_identifier, started_at } = sighting.id;
    let server = Server { role, system_identifier, timeline, started_at, is_read_only: row.try_get(column(3))? };
    Ok((server, sighting))
}

/// Returns an expression for the timeline of a primary, which is [unknown](Timeline::UNKNOWN) if the server does not tell it.
///
/// A promotion writes the new timeline to the control file before the first commit: as that of the end of recovery, which the
/// next checkpoint removes when it writes its own. So the end of recovery is read first.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/access/transam/xlog.c>, `CreateEndOfRecoveryRecord`
fn timeline_of_primary(abilities: Abilities) -> &'static str {
    match abilities {
        Abilities { positions: PositionKind::Lsn, .. } => {
            "('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int"
        }
        Abilities { timeline: true, .. } => {
            "greatest((select min_recovery_end_timeline from pg_control_recovery()),
                      (select timeline_id from pg_control_checkpoint()))"
        }
        Abilities { timeline: false, .. } => "0",
    }
}
