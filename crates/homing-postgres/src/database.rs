//! [`Database`], the server next to this node: one address with its pool, its tracker and its executor.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use homing_proto::v1 as proto;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::connection::address::Address;
use crate::connection::identity::Fault;
use crate::connection::login::Login;
use crate::connection::pool::Pool;
use crate::connection::string::ConnectionString;
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::position::kind::PositionKind;
use crate::position::role::Role;
use crate::position::{Position, Timeline};
use crate::tracker::Tracker;

/// The database next to this node: the primary itself or a replica of it. Cheap to clone.
///
/// A *primary* is a server that takes writes. A *replica* is a server in recovery that replays them
/// (`pg_is_in_recovery()`). A database has one address, one pool of connections to it, and one [`Tracker`], since a
/// position is reached on one server only.
///
/// # Known limits
///
/// - Certificates are verified by the names in their `subjectAltName`. Revocation lists (`sslcrl`) are not supported.
/// - The connection string must lead to PostgreSQL directly, or through a pooler in session mode; see [`Config`]. A proxy that
///   sends the statements of one connection to several servers, as Pgpool-II does, is not noticed.
/// - The role is learned when a connection is opened and when the tracker probes, so a promotion is noticed at the next of
///   these. A node that finds no primary also asks its own servers whether one was promoted. Until then, statements are
///   routed by the old role.
/// - A database keeps its address. [`Replicas::start`](crate::Replicas::start) follows host names, and finds the server
///   with the role of the primary again after a failover.
/// - There is no fencing. A node whose own database reports that it is a primary writes there, whatever the other regions
///   report.
/// - A connection remembers types. One that was altered in place (`alter type … add value`) keeps its OID, so connections
///   keep the old type until a statement goes stale or the node restarts.
#[derive(Clone, Debug)]
pub struct Database(Arc<DatabaseInner>);

/// A handle that does not keep the database open.
#[derive(Clone, Default)]
pub(crate) struct WeakDatabase(Weak<DatabaseInner>);

struct DatabaseInner {
    config: Config,
    pool: Pool,
    tracker: Tracker,
    executor: Executor,
    /// The executor of SQL that peers send, if they have a login of their own. Made when it is first used.
    forwarded: OnceLock<Executor>,
}

/// The address of a database, and the limits for its use.
///
/// # TLS
///
/// The connection string says whether connections are encrypted, with libpq's settings and meanings, in a URL or in pairs:
///
/// | setting | meaning |
/// |---|---|
/// | `sslmode=disable` | without TLS |
/// | `sslmode=allow` | without TLS; if the server refuses that, with TLS |
/// | `sslmode=prefer` | with TLS; without TLS if the server does not offer it or refuses it. The default |
/// | `sslmode=require` | with TLS. The certificate is verified only if `sslrootcert` is set, as with `verify-ca` |
/// | `sslmode=verify-ca` | with TLS, and a certificate of an authority in `sslrootcert` |
/// | `sslmode=verify-full` | the same, and the certificate is valid for the host of the connection string |
/// | `sslrootcert=FILE` | the certificates of the authorities, in PEM |
/// | `sslrootcert=system` | the authorities that the system trusts; `sslmode` is then `verify-full` |
/// | `sslcert=FILE`, `sslkey=FILE` | the client certificate and its key, in PEM |
/// | `sslnegotiation=direct` | begins the handshake at once. Needs PostgreSQL 17 |
/// | `channel_binding=require` | accepts SCRAM with channel binding only |
/// | `sslsni=0` | does not tell the host's name in the handshake |
///
/// Files are read at the start, and when a connection is opened (at most once a second) or cannot be opened, so renewed
/// certificates need no restart; if the new ones cannot be used, those from before stay in use. If connections to another
/// machine end up without TLS, a warning is logged
/// once, unless the string has `sslmode=disable`. The cryptography is that of the process's
/// [`CryptoProvider`](https://docs.rs/rustls/latest/rustls/crypto/struct.CryptoProvider.html) if there is one, else ring's.
/// [docs/tls.md](https://github.com/homing-rs/homing/blob/main/docs/tls.md) says more, and where libpq differs.
///
/// # Poolers and load balancers
///
/// Each address of the connection string has to lead to one server at a time, and each connection has to keep its session:
///
/// | between the node and PostgreSQL | works | use |
/// |---|---|---|
/// | nothing, or a proxy in front of one server | yes | |
/// | a proxy that leads to one server, and after a failover to another one | yes | |
/// | pgbouncer with `pool_mode = session` | yes | |
/// | pgbouncer with `pool_mode = transaction` or `statement` | no | PostgreSQL's own port, or a port in session mode |
/// | a load balancer over several servers, such as HAProxy or a Kubernetes service with a cluster IP | no | a list of the servers, or a name with all their addresses, such as that of a headless service |
/// | the same over replicas of one cluster, with positions [by transaction](field@Self::positions) | for reads | |
///
/// Behind the last one, each read asks on its own connection whether that server has what the session has to see. So a write
/// does not wait for such a replica, which has no lag of its own either: `max_lag` does not leave it out.
///
/// What does not work is noticed by comparing connections: at the start, and later with each connection that is opened. Such
/// an address is not used. If it is that of the primary, the node does not start: the error is one of
/// [configuration](Error::is_configuration). A replica is left out, with a warning, and the primary answers the reads. If it is
/// noticed later, calls that need the address fail as [not sent](Error::is_not_sent). It is tried again after 10 seconds.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The connection string. Not used if there is a [`url_file`](Self::url_file). Without a password, it takes that of libpq's
    /// password file: the one that `passfile` names, else `PGPASSFILE`, else `~/.pgpass`.
    pub url: String,

    /// The path of a file with the connection string, without which `url` is used. Default: `None`.
    ///
    /// The file is read at the start, and again when a connection is opened, at most once a second, or if a connection cannot
    /// be opened. New connections use the user, the password, the encryption and the options that it has then; open ones
    /// stay. So a changed password needs no restart. Other hosts and another database are followed by
    /// [`Replicas`](crate::Replicas), within [`resolve_interval`](field@crate::ReplicaSettings::resolve_interval). If the file
    /// cannot be used, the last connection string stays in use, and a warning says so.
    pub url_file: Option<PathBuf>,

    /// The name of the setting that holds the connection string, for messages. Default: `DATABASE_URL`.
    pub variable: String,

    /// The role to look for. If none of the servers has it, one of them is used with the role that it has.
    pub role: Role,

    /// How many connections the pool may open. The tracker's connection is one more. Default: 16.
    ///
    /// 16 connections keep two cores and a disk busy. A primary with PostgreSQL's default of 100 connections has room for
    /// six such nodes. If all are in use, a call waits until its deadline and then fails as
    /// [not sent](Error::is_not_sent). Streams use at most half of the connections.
    pub pool_size: usize,

    /// How many interactive transactions may be open at a time, between 1 and `pool_size`. Further ones wait for a place
    /// as long as a call may take, and then fail as [overloaded](Error::is_overloaded). Default: three quarters of
    /// `pool_size`. Transactions and streams together take no more than that either, so that single statements always
    /// find a connection; with a higher value they may take that many.
    pub max_transactions: Option<usize>,

    /// How many bytes of rows one forwarded call may return. Default: 15 MiB, which fits into a message of 16 MiB.
    ///
    /// If a write returns more, it is [committed](Error::is_committed) and its rows are dropped. A step of a transaction
    /// that returns more is [misuse](Error::is_misuse), and so is a larger row in a stream.
    pub max_rows_bytes: usize,

    /// By what the servers tell positions. Default: `None`, which asks each server. It tells them by transaction if it is
    /// Amazon Aurora (`aurora_version()` exists), or if it refuses one of the functions that tell places in the log and
    /// timelines to this role. All nodes should use one kind, since a replica that tells positions by transaction cannot
    /// show places in the log to be reached; the primary answers such reads.
    ///
    /// With [`PositionKind::Lsn`] a server that refuses such a function cannot be used.
    pub positions: Option<PositionKind>,
}

impl Config {
    /// Returns the configuration for a connection string. A server with this role is preferred.
    pub fn new(url: impl Into<String>, role: Role) -> Self {
        Self {
            url: url.into(),
            url_file: None,
            variable: "DATABASE_URL".into(),
            role,
            pool_size: POOL_SIZE,
            max_transactions: None,
            max_rows_bytes: MAX_ROWS_BYTES,
            positions: None,
        }
    }

    /// Returns the configuration for the connection string in a file, which is [read again](Self::url_file). A server with
    /// this role is preferred.
    pub fn from_file(path: impl Into<PathBuf>, role: Role) -> Self {
        Self { url_file: Some(path.into()), ..Self::new("", role) }.with_variable("DATABASE_URL_FILE")
    }

    /// Reads the connection string.
    ///
    /// # Errors
    ///
    /// `is_configuration` if it is not valid, or if its file cannot be read.
    pub(crate) fn string(&self) -> Result<ConnectionString> {
        match &self.url_file {
            Some(path) => ConnectionString::in_file(path, &self.variable),
            None => ConnectionString::parse(&self.url, &self.variable),
        }
    }

    /// Sets the name of the setting that holds the connection string, for messages.
    #[must_use]
    pub fn with_variable(mut self, variable: impl Into<String>) -> Self {
        self.variable = variable.into();
        self
    }

    /// Sets how many connections the pool may open, at least one.
    #[must_use]
    pub fn with_pool_size(mut self, pool_size: usize) -> Self {
        self.pool_size = pool_size.max(1);
        self
    }

    /// Sets how many interactive transactions may be open at a time, at least one.
    #[must_use]
    pub fn with_max_transactions(mut self, max_transactions: usize) -> Self {
        self.max_transactions = Some(max_transactions);
        self
    }

    /// Sets how many bytes of rows one forwarded call may return.
    #[must_use]
    pub fn with_max_rows_bytes(mut self, max_rows_bytes: usize) -> Self {
        self.max_rows_bytes = max_rows_bytes;
        self
    }

    /// Sets by what the servers tell positions. `None` asks each server.
    #[must_use]
    pub fn with_positions(mut self, positions: impl Into<Option<PositionKind>>) -> Self {
        self.positions = positions.into();
        self
    }

    fn executor(&self, pool: Pool, tracker: &Tracker) -> Executor {
        Executor::new(pool, tracker.clone(), self.max_rows_bytes, self.transaction_limit())
    }

    fn transaction_limit(&self) -> usize {
        self.max_transactions.unwrap_or(self.pool_size * 3 / 4).clamp(1, self.pool_size)
    }
}

impl fmt::Debug for Config {
    /// Leaves out the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("variable", &self.variable)
            .field("role", &self.role)
            .field("pool_size", &self.pool_size)
            .field("max_transactions", &self.max_transactions)
            .field("max_rows_bytes", &self.max_rows_bytes)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Connects, asks the database for its role, and starts its tracker.
    ///
    /// If the connection string stands for several addresses, the first one that has the expected role is used from then
    /// on, else the first one that answers, with a warning. A replica that does not answer is not an error: the primary
    /// answers the reads until the replica does.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if the connection string is invalid, if a file that it names cannot be
    /// used, if a host name cannot be resolved, or if a primary does not answer or is
    /// [behind a pooler or a load balancer](Config#poolers-and-load-balancers) that cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: connections that were opened are closed.
    pub async fn connect(config: Config) -> Result<Self> {
        let (mut first_error, mut silent, mut other) = (None, None, None);
        for address in Address::resolve_string(&config.string()?, &config.variable).await? {
            let pool = Pool::with_alarm(address, config.pool_size, config.role, config.positions, Arc::default());
            match pool.introduce(Instant::now() + pool.address().opening_timeout()).await {
                Ok(server) if server.role == config.role => {
                    info!(address = %pool.address(), role = %server.role, "connected to the database");
                    return Ok(Self::of(config, pool));
                }
                Ok(_) => other = other.or(Some(pool)),
                Err(error) => {
                    first_error.get_or_insert(error);
                    silent.get_or_insert(pool);
                }
            }
        }
        if let Some(pool) = other {
            let (variable, wanted) = (&config.variable, config.role);
            warn!(variable, address = %pool.address(), %wanted, "no server has the expected role: using this one");
            return Ok(Self::of(config, pool));
        }
        let (Some(error), Some(pool)) = (first_error, silent) else {
            return Err(Error::configuration(format!("the host in {} has no address: check it", config.variable)));
        };
        if config.role == Role::Primary {
            return Err(unusable(&config.variable, error));
        }
        let message = crate::error::function::with_causes(&error);
        warn!(variable = config.variable, error = message, "the replica does not answer: reads go to the primary");
        Ok(Self::of(config, pool))
    }

    /// Returns the server at this address, without connecting to it. `alarm` is that of its [`Pool`].
    pub(crate) fn at(address: Address, config: Config, alarm: Arc<Notify>) -> Self {
        let pool = Pool::with_alarm(address, config.pool_size, config.role, config.positions, alarm);
        Self::of(config, pool)
    }

    /// Returns the configuration that the database was connected with.
    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Returns the tracker of this database.
    pub fn tracker(&self) -> &Tracker {
        &self.0.tracker
    }

    /// Returns the role that the database last reported. `None` if it never answered.
    pub fn role(&self) -> Option<Role> {
        // The pool or the tracker may see a promotion first, and a primary does not become a replica again.
        let tracked = self.0.tracker.known_state().map(|state| state.role);
        match (tracked, self.0.pool.server()) {
            (Some(Role::Primary), _) => Some(Role::Primary),
            (_, Some(server)) => Some(server.role),
            (tracked, None) => tracked,
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Returns the timeline that the server last reported. `None` if it is not known.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        let tracked = self.0.tracker.known_state().map(|state| state.position.timeline);
        tracked.max(self.0.pool.server().and_then(|server| server.timeline))
    }

    /// Returns a number that changes if another server may have taken the place of this one, or if it was started again. A
    /// read relied on one server if it finds the same number at its end.
    pub(crate) fn generation(&self) -> u64 {
        self.0.pool.known().generation()
    }

    /// Returns a number that changes if another server may have taken the place of this one.
    pub(crate) fn moves(&self) -> u64 {
        self.0.pool.known().moves()
    }

    /// Returns whether the address is spread over several servers, so that each connection has to be asked by itself.
    pub(crate) fn is_spread(&self) -> bool {
        self.0.pool.known().is_spread()
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// Returns the executor of SQL that peers send: with connections of its own if peers have a login.
    pub(crate) fn executor_for(&self, login: Option<&Login>) -> &Executor {
        let Some(login) = login else { return self.executor() };
        let pool = &self.0.pool;
        self.0
            .forwarded
            .get_or_init(|| self.0.config.executor(pool.of_login(login), &self.0.tracker).with_own_pool(pool.clone()))
    }

    /// Checks that peers can log in, and that their user cannot become that of this node. Skips what it cannot ask.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if PostgreSQL refuses the login, or if the user has the rights of the
    /// node's own.
    pub(crate) async fn check_login(&self, login: &Login) -> Result<()> {
        let deadline = Instant::now() + self.0.pool.address().opening_timeout();
        let (user, place) = (login.user(), self.0.pool.address());
        let Ok(own) = self.0.pool.connection(deadline).await else { return Ok(()) };
        let connection = match self.0.pool.of_login(login).connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => {
                let refused = database_error(&error).is_some_and(|error| error.code().code().starts_with("28"));
                let message = format!("{place} refuses the user {user:?}, as whom the SQL of other nodes runs");
                if refused {
                    return Err(
                        Error::configuration(format!("{message}: check its name and password")).with_source(error)
                    );
                }
                warn!(error = crate::error::function::with_causes(&error), user, "the SQL of other nodes cannot run");
                return Ok(());
            }
        };
        let asked = async {
            let own: String = own.query_one("select session_user::text", &[]).await?.try_get(0)?;
            let can: bool = connection.query_one(HAS_RIGHTS_OF, &[&own]).await?.try_get(0)?;
            Ok::<_, tokio_postgres::Error>(can.then_some(own))
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(Some(own))) => Err(Error::configuration(format!(
                "the user {user:?}, as whom the SQL of other nodes runs, is a superuser or may become {own:?}, the user of \
                 this node: take these rights away, or name another user"
            ))),
            Ok(Ok(None)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                warn!(%place, user, "the database did not say which rights the user of other nodes has");
                Ok(())
            }
        }
    }

    /// Returns a handle that does not keep the database open.
    pub(crate) fn downgrade(&self) -> WeakDatabase {
        WeakDatabase(Arc::downgrade(&self.0))
    }

    fn of(config: Config, pool: Pool) -> Self {
        let tracker = Tracker::follow(pool.address().clone(), Arc::clone(pool.known()));
        let executor = config.executor(pool.clone(), &tracker);
        Self(Arc::new(DatabaseInner { config, pool, tracker, executor, forwarded: OnceLock::new() }))
    }
}

impl WeakDatabase {
    pub(crate) fn upgrade(&self) -> Option<Database> {
        self.0.upgrade().map(Database)
    }

    pub(crate) fn is(&self, database: &Database) -> bool {
        self.0.as_ptr() == Arc::as_ptr(&database.0)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl fmt::Debug for WeakDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakDatabase")
    }
}

impl Database {
    /// Returns the position of a primary. A replica has no position for callers, since nothing is committed there.
    pub(crate) async fn current_position(&self) -> Option<Position> {
        self.0.executor.probe(Instant::now() + PROBE_TIMEOUT).await.position()
    }

    /// Returns the last known state for `Describe`, without asking the server. `name` is the name of the database.
    pub(crate) fn described(&self, name: &str) -> proto::DatabaseState {
        let role = match self.role() {
            Some(Role::Primary) => proto::database_state::Role::Primary,
            Some(Role::Replica) => proto::database_state::Role::Replica,
            None => proto::database_state::Role::Unspecified,
        };
        let position = self.0.tracker.known_state().map(|state| state.position.to_proto(name));
        proto::DatabaseState { database: name.into(), role: role.into(), position }
    }
}

impl fmt::Debug for DatabaseInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("config", &self.config).field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Returns the error for a setting whose servers cannot be used.
pub(crate) fn unusable(variable: &str, error: Error) -> Error {
    if fault(&error).is_some() {
        return Error::configuration(format!("{variable} is wrong: {error}")).with_source(error);
    }
    Error::configuration(format!("{error}: check that PostgreSQL runs there and that {variable} is right"))
        .with_source(error)
}

/// Returns what is wrong with the address, if that made a connection fail.
pub(crate) fn fault(error: &Error) -> Option<&Fault> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Returns what PostgreSQL says, if that made a connection fail.
fn database_error(error: &Error) -> Option<&DatabaseError> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the user may become `$1`; a superuser may. By `SET ROLE` it can use all rights of a role of which it is a member.
/// <https://www.postgresql.org/docs/current/sql-set-role.html>
const HAS_RIGHTS_OF: &str = "select pg_catalog.pg_has_role(session_user, $1::text::name, 'member')";

/// The default of [`Config::pool_size`].
pub(crate) const POOL_SIZE: usize = 16;

/// The default of [`Config::max_rows_bytes`]: a message of 16 MiB, less room for everything but the rows.
pub(crate) const MAX_ROWS_BYTES: usize = 15 * 1024 * 1024;

/// How long the answer of a named function waits for the position: long enough to open a new connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
