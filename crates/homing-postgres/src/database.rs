use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_proto::v1 as proto;
use homing_rpc::{BoxFuture, Positions, States};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::connection::address::Address;
use crate::connection::pool::{Pool, Server};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::position::Position;
use crate::position::role::Role;
use crate::tracker::Tracker;

/// The database next to this node: the primary itself or a replica of it. Cheap to clone.
///
/// One address, one pool, one [`Tracker`]: a position is only meaningful on the server it was read from.
#[derive(Clone, Debug)]
pub struct Database(Arc<DatabaseInner>);

/// A database that may be gone by now.
#[derive(Clone, Default)]
pub(crate) struct WeakDatabase(Weak<DatabaseInner>);

struct DatabaseInner {
    config: Config,
    pool: Pool,
    tracker: Tracker,
    executor: Executor,
}

/// Where the database is, and how much may be asked of it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The connection string.
    pub url: String,

    /// Where the connection string comes from, for messages. Default: `DATABASE_URL`.
    pub variable: String,

    /// What the database has to be when the node starts. Default: [`Role::Primary`].
    pub role: Role,

    /// The connections that are opened at most, besides the tracker's one. Default: 16, which keeps two cores and a
    /// disk busy; a primary with its default of 100 connections has room for six such nodes.
    pub pool_size: usize,

    /// How many interactive transactions may be open at a time; the next one is answered with *overloaded* at once. Never
    /// more than `pool_size`. Default: three quarters of `pool_size`, so that single statements always get through.
    pub max_transactions: Option<usize>,

    /// How many bytes of rows one forwarded call may return. Default: 15 MiB, which fits into a message of 16 MiB.
    pub max_rows_bytes: usize,
}

impl Config {
    /// The database of the connection string, which has to be of that role.
    pub fn new(url: impl Into<String>, role: Role) -> Self {
        Self {
            url: url.into(),
            variable: "DATABASE_URL".into(),
            role,
            pool_size: POOL_SIZE,
            max_transactions: None,
            max_rows_bytes: MAX_ROWS_BYTES,
        }
    }

    /// Names the setting that the connection string comes from.
    #[must_use]
    pub fn with_variable(mut self, variable: impl Into<String>) -> Self {
        self.variable = variable.into();
        self
    }

    /// Sets the number of connections; at least one.
    #[must_use]
    pub fn with_pool_size(mut self, pool_size: usize) -> Self {
        self.pool_size = pool_size.max(1);
        self
    }

    /// Sets how many interactive transactions may be open at a time; at least one.
    #[must_use]
    pub fn with_max_transactions(mut self, max_transactions: usize) -> Self {
        self.max_transactions = Some(max_transactions);
        self
    }

    fn max_transactions(&self) -> usize {
        self.max_transactions.unwrap_or(self.pool_size * 3 / 4).clamp(1, self.pool_size)
    }
}

impl fmt::Debug for Config {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("variable", &self.variable)
            .field("role", &self.role)
            .field("pool_size", &self.pool_size)
            .field("max_transactions", &self.max_transactions)
            .field("max_rows_bytes", &self.max_rows_bytes)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Connects, asks the database what it is, and starts its tracker.
    ///
    /// Where the connection string stands for several addresses, the first one that answers is taken and kept. A
    /// replica that does not answer does not stop the node: reads are answered by the primary until it does.
    ///
    /// # Errors
    ///
    /// Configuration: the connection string is none, a name cannot be resolved, a primary does not answer, or the
    /// database is not of the expected role.
    ///
    /// # Cancel safety
    ///
    /// What was opened is closed.
    pub async fn connect(config: Config) -> Result<Self> {
        let addresses = Address::resolve(&config.url, &config.variable).await?;
        Self::connect_to_one_of(addresses, config).await
    }

    /// As [`connect`](Self::connect), where it is known what the connection string stands for.
    pub(crate) async fn connect_to_one_of(addresses: Vec<Address>, config: Config) -> Result<Self> {
        let mut first_error = None;
        let mut first_pool = None;
        for address in addresses {
            let pool = Pool::new(address, config.pool_size);
            match pool.ask(Instant::now() + CONNECT_TIMEOUT).await {
                Ok(server) => {
                    check_role(&config, server, pool.address())?;
                    info!(address = %pool.address(), role = %server.role, "connected to the database");
                    return Ok(Self::of(config, pool));
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                    first_pool.get_or_insert(pool);
                }
            }
        }
        let (Some(error), Some(pool)) = (first_error, first_pool) else {
            return Err(Error::configuration(format!("{} stands for no address", config.variable)));
        };
        if config.role == Role::Primary {
            return Err(unreachable(&config, &error).with_source(error));
        }
        let message = crate::error::function::with_causes(&error);
        warn!(variable = config.variable, error = message, "no replica here: reads go to the primary until it answers");
        Ok(Self::of(config, pool))
    }

    /// The server at this address, not asked anything yet.
    pub(crate) fn at(address: Address, config: Config) -> Self {
        let pool = Pool::new(address, config.pool_size);
        Self::of(config, pool)
    }

    /// What it was connected with.
    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// What follows the write-ahead log of this database.
    pub fn tracker(&self) -> &Tracker {
        &self.0.tracker
    }

    /// What the database was when it was last asked. `None` if it never answered.
    pub fn role(&self) -> Option<Role> {
        // A promotion is seen by whoever asks first, and nothing leads back.
        let tracked = self.0.tracker.state().borrow().as_ref().map(|state| state.role);
        match (tracked, self.0.pool.server()) {
            (Some(Role::Primary), _) => Some(Role::Primary),
            (_, Some(server)) => Some(server.role),
            (tracked, None) => tracked,
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// A handle that does not keep it open.
    pub(crate) fn downgrade(&self) -> WeakDatabase {
        WeakDatabase(Arc::downgrade(&self.0))
    }

    fn of(config: Config, pool: Pool) -> Self {
        let tracker = Tracker::spawn(pool.address().config().clone());
        let executor = Executor::new(pool.clone(), config.max_rows_bytes, config.max_transactions());
        Self(Arc::new(DatabaseInner { config, pool, tracker, executor }))
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

impl Positions for Database {
    /// On a replica there is none: nothing can have been committed there.
    fn current(&self) -> BoxFuture<'_, Vec<proto::Position>> {
        Box::pin(async move {
            let probed = self.0.executor.probe(Instant::now() + PROBE_TIMEOUT).await;
            probed.position().map(Position::into).into_iter().collect()
        })
    }
}

impl States for Database {
    fn states(&self) -> Vec<proto::DatabaseState> {
        let role = match self.role() {
            Some(Role::Primary) => proto::database_state::Role::Primary,
            Some(Role::Replica) => proto::database_state::Role::Replica,
            None => proto::database_state::Role::Unspecified,
        };
        let position = self.0.tracker.state().borrow().as_ref().map(|state| state.position.into());
        vec![proto::DatabaseState { database: String::new(), role: role.into(), position }]
    }
}

impl fmt::Debug for DatabaseInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("config", &self.config).field("pool", &self.pool).finish_non_exhaustive()
    }
}

pub(crate) fn check_role(config: &Config, server: Server, address: &Address) -> Result<()> {
    let variable = &config.variable;
    match (config.role, server.role) {
        (Role::Primary, Role::Replica) => Err(Error::configuration(format!(
            "{variable} leads to a replica at {address}, and this is the primary region: set it to the primary's \
             database, or set HOMING_PRIMARY_REGION to the region where the primary is"
        ))),
        (Role::Replica, Role::Primary) => Err(Error::configuration(format!(
            "{variable} leads to a primary at {address}, and this is not the primary region: set it to a streaming \
             replica, or set HOMING_PRIMARY_REGION to this region if that database is the primary now"
        ))),
        (Role::Primary, Role::Primary) | (Role::Replica, Role::Replica) => Ok(()),
    }
}

fn unreachable(config: &Config, error: &Error) -> Error {
    Error::configuration(format!("{error}: check that PostgreSQL runs there and that {} is right", config.variable))
}

pub(crate) const POOL_SIZE: usize = 16;
const MAX_ROWS_BYTES: usize = 15 * 1024 * 1024;

/// For all attempts at one address.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A function's answer waits for this: as long as for a connection that has to be opened anew.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
