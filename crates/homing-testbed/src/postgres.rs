//! One PostgreSQL server.

pub(crate) mod binaries;
mod cluster;
mod everywhere;
mod options;
mod replica;
mod server;
mod settings;
mod start;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rustix::process::Signal;
use tokio::{sync::Mutex, time::sleep};
use tokio_postgres::{Client, NoTls};

pub use self::options::{Fsync, PostgresOptions};
use self::{cluster::Cluster, server::Server};
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::process::log::LogFile;
use crate::wait::within;

/// A PostgreSQL server with its own data directory, log and port.
///
/// It listens on 127.0.0.1 only, trusts all clients, and has the superuser `postgres`. It needs no
/// async runtime while it runs, so one server in a `static` may serve all tests of a program. The
/// server and its data go away when the program ends, however it ends.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use homing_testbed::Postgres;
///
/// let primary = Postgres::start().await?;
/// primary.connect().await?.batch_execute("create table users (id int8 primary key)").await?;
///
/// let replica = Postgres::options().with_name("syd").start_replica_of(&primary).await?;
/// replica.caught_up_with(&primary).await?;
/// let rows = replica.connect().await?.query("select id from users", &[]).await?;
/// assert!(rows.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// The drop ends the server at once (PostgreSQL's immediate shutdown).
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    /// The options of the start. A replica of this server inherits them.
    options: PostgresOptions,
    /// `None` while stopped. Locked while the server starts or ends.
    server: Mutex<Option<Server>>,
}

/// A way to [stop](Postgres::stop) a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Ends all sessions and writes a checkpoint. A primary first waits until its connected replicas
    /// have received everything. Over a cut link that takes until `wal_sender_timeout` (60 s).
    Fast,
    /// Ends at once, and recovers at the next start.
    Immediate,
}

impl Postgres {
    /// Returns the default options, to change them before a start.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// Starts a primary with the default options.
    ///
    /// # Errors
    ///
    /// - [`is_postgres_missing`](Error::is_postgres_missing) if PostgreSQL is not installed.
    /// - [`is_misuse`](Error::is_misuse) if `HOMING_PG_BIN` is wrong, or if this process is root and
    ///   PostgreSQL cannot run as another user.
    /// - [`is_exited`](Error::is_exited), with the end of its log, if the server ends at its start.
    /// - [`is_timed_out`](Error::is_timed_out) if the server is not ready in time.
    /// - An I/O error, for which no predicate holds, if the system refuses a port, a file or a
    ///   process.
    pub async fn start() -> Result<Self> {
        Self::options().start().await
    }

    /// Returns the name of the server. It is the `application_name` of a replica's connection to its
    /// primary, and the beginning of the name of the server's folder.
    pub fn name(&self) -> &str {
        self.options.name()
    }

    /// Returns the server's address. It does not change, even if the server is stopped and started.
    pub fn address(&self) -> SocketAddr {
        self.cluster.address()
    }

    /// Returns the connection URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// Returns the connection URL of another database of this server.
    ///
    /// If the variable `HOMING_TEST_TLS` is `1`, all servers have certificates, unless their options say something about TLS,
    /// and URLs ask for `sslmode=verify-full`. So a test suite can run with TLS everywhere.
    pub fn database_url(&self, database: &str) -> String {
        let url = format!("postgres://postgres@{}/{database}", self.address());
        match &self.options.root {
            Some(root) => format!("{url}?sslmode=verify-full&sslrootcert={}", root.display()),
            None => url,
        }
    }

    /// Returns the [`tokio_postgres::Config`] of a connection to the database `postgres`.
    pub fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.address().ip().to_string())
            .port(self.address().port())
            .user("postgres")
            .dbname("postgres")
            .application_name("homing-testbed");
        config
    }

    /// Opens a connection to the database `postgres`. A task on the current runtime drives the
    /// connection, and ends with the client.
    ///
    /// # Errors
    ///
    /// A database error if the server is stopped or refuses the connection. If it refuses,
    /// [`db`](Error::db) says why.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed.
    pub async fn connect(&self) -> Result<Client> {
        self.connect_to("postgres").await
    }

    /// Opens a [connection](Self::connect) to another database of this server.
    ///
    /// # Errors
    ///
    /// A database error if the server is stopped or refuses the connection. If it refuses,
    /// [`db`](Error::db) says why.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed.
    pub async fn connect_to(&self, database: &str) -> Result<Client> {
        let connected = self.config().dbname(database).connect(NoTls).await;
        let (client, connection) = connected.map_err(|error| self.failed("connect to the database", error))?;
        // The connection ends with its client. The client's calls report its errors.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Creates an empty database and returns its URL, for a test that shares the server with others.
    /// On a replica the database appears once it is replayed.
    ///
    /// # Errors
    ///
    /// A database error if the server is stopped. With [`db`](Error::db), if the database exists
    /// already or the server is a replica.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the database may or may not exist.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let statement = format!("create database {}", settings::identifier(name));
        self.run("create a database", &statement).await?;
        Ok(self.database_url(name))
    }

    /// Changes settings with `ALTER SYSTEM` and reloads them.
    ///
    /// When this returns, new connections have the settings. Existing connections get them with their
    /// next statements. Settings that PostgreSQL only reads at its start need a
    /// [`stop`](Self::stop) and a [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) if a name cannot be the name of a setting.
    /// - A database error if the server is stopped. With [`db`](Error::db), if it rejects a setting.
    /// - [`is_timed_out`](Error::is_timed_out) if it has not reloaded the settings after 30 s.
    ///
    /// Settings before a wrong one are changed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the settings may be changed.
    pub async fn reconfigure(&self, settings: &[(&str, &str)]) -> Result<()> {
        let client = self.connect().await?;
        let failed = |error| self.failed("change a setting", error);
        for (name, value) in settings {
            if !settings::is_name(name) {
                return Err(settings::not_a_setting(name));
            }
            let statement = format!("alter system set {name} to {}", settings::literal(value));
            client.batch_execute(&statement).await.map_err(failed)?;
        }
        self.reload().await
    }

    /// Replaces the certificate that the server shows. When this returns, new connections get it.
    ///
    /// # Errors
    ///
    /// - A database error if the server is stopped.
    /// - [`is_timed_out`](Error::is_timed_out) if it has not read the certificate after 30 s.
    /// - An I/O error, for which no predicate holds, if a file cannot be written.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the certificate may be replaced.
    pub async fn renew_certificate(&self, certificate: &Certificate) -> Result<()> {
        self.cluster.write_certificate(certificate)?;
        self.reload().await
    }

    /// Makes the server read its settings and certificates again, and waits until it has.
    async fn reload(&self) -> Result<()> {
        let client = self.connect().await?;
        let failed = |error| self.failed("reload the settings", error);
        // The postmaster reloads a moment later, and a new session starts with its load time. The clock
        // is read first, in a separate statement, because the postmaster may also reload at once.
        let now = client.query_one("select clock_timestamp()::text", &[]).await;
        let asked: String = now.and_then(|row| row.try_get(0)).map_err(failed)?;
        client.batch_execute("select pg_reload_conf()").await.map_err(failed)?;
        let query = format!("select pg_conf_load_time() >= {}::timestamptz", settings::literal(&asked));
        let reloaded = async {
            while !self.ask::<bool>("reload the settings", &query).await? {
                sleep(RELOAD_POLL_INTERVAL).await;
            }
            Ok(())
        };
        let complaint = format!("PostgreSQL {} has not reloaded its settings", self.name());
        within(RELOAD_TIMEOUT, &complaint, reloaded).await
    }

    /// Sets how large a file the server may write, from its next [start](Self::start_again) on. What would make a file larger
    /// fails, as on a full disk. Default: `None`, no limit.
    ///
    /// Files of the write-ahead log have 16 MiB: a limit below that ends the server at its next one.
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.cluster.limit_files(bytes);
    }

    /// Returns the server's log. With the setting `log_statement = 'all'` it has every statement.
    pub fn log(&self) -> LogFile {
        self.cluster.log()
    }

    /// Returns the path of the server's data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.cluster.data()
    }

    /// Ends the server and waits until it has ended. Does nothing if it is stopped.
    ///
    /// # Errors
    ///
    /// An I/O error if the server cannot be signalled. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server still ends.
    pub async fn stop(&self, shutdown: Shutdown) -> Result<()> {
        self.end(match shutdown {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        })
        .await
    }

    /// Kills the server with SIGKILL, as if its machine had lost power, and waits for its end. After
    /// [`start_again`](Self::start_again) it has everything that was durable before.
    ///
    /// # Errors
    ///
    /// An I/O error if the server cannot be signalled. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server still ends.
    pub async fn kill(&self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    /// Starts a stopped server with the same data and port, and waits until it accepts connections.
    /// Does nothing if it runs.
    ///
    /// # Errors
    ///
    /// - [`is_exited`](Error::is_exited), with the end of its log, if the server ends at its start.
    /// - [`is_timed_out`](Error::is_timed_out) if it does not accept connections after 60 s.
    /// - An I/O error, for which no predicate holds, if the process cannot be started.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a server that is not ready yet ends.
    pub async fn start_again(&self) -> Result<()> {
        let mut server = self.server.lock().await;
        if server.as_ref().is_none_or(Server::has_ended) {
            *server = Some(Server::start(&self.cluster).await?);
        }
        Ok(())
    }

    fn running(cluster: Cluster, options: PostgresOptions, server: Server) -> Self {
        Self { cluster, options, server: Mutex::new(Some(server)) }
    }

    async fn end(&self, signal: Signal) -> Result<()> {
        let mut server = self.server.lock().await;
        if let Some(running) = server.as_ref() {
            running.end(signal).await?;
        }
        *server = None;
        Ok(())
    }

    /// Runs one statement on a new connection. `action` completes the message "cannot ... on".
    pub(crate) async fn run(&self, action: &str, statement: &str) -> Result<()> {
        let client = self.connect().await?;
        client.batch_execute(statement).await.map_err(|error| self.failed(action, error))
    }

    /// Asks for one value on a new connection. `action` completes the message "cannot ... on".
    async fn ask<T>(&self, action: &str, query: &str) -> Result<T>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let client = self.connect().await?;
        let row = client.query_one(query, &[]).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| self.failed(action, error))
    }

    fn failed(&self, action: &str, error: tokio_postgres::Error) -> Error {
        let (name, address) = (self.name(), self.address());
        Error::database(format!("cannot {action} on PostgreSQL {name} at {address}"), error)
    }
}

/// Short, because tests wait for it.
const RELOAD_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Longer than a reload takes on a busy machine.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
