//! One PostgreSQL server.

pub(crate) mod binaries;
mod cluster;
mod options;
mod replica;
mod server;
mod settings;
mod start;

use std::{net::SocketAddr, path::PathBuf};

use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

pub use self::options::{Fsync, PostgresOptions};
use self::{cluster::Cluster, server::Server};
use crate::{
    error::{Error, Result},
    process::log::LogFile,
};

/// A running PostgreSQL server with a data directory, a log and a port of its own.
///
/// It listens on 127.0.0.1 only, trusts whoever connects, and has the superuser `postgres`. It
/// needs no async runtime while it runs, so one server may serve all tests of a program from a
/// `static`; when the program ends, however it ends, server and data go away.
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
/// Dropping it ends the server at once (PostgreSQL's immediate shutdown).
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    /// The options it was started with; a replica starts from its primary's.
    options: PostgresOptions,
    /// `None` while stopped.
    server: Mutex<Option<Server>>,
}

/// How [`Postgres::stop`] ends the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Ends sessions and writes a checkpoint. A primary first waits until its connected replicas
    /// have received everything, which takes until `wal_sender_timeout` (60 s) over a link that
    /// has been cut.
    Fast,
    /// Ends at once and recovers at the next start.
    Immediate,
}

impl Postgres {
    /// What can be chosen before a start.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// A primary with the default options.
    ///
    /// # Errors
    ///
    /// As [`PostgresOptions::start`].
    pub async fn start() -> Result<Self> {
        Self::options().start().await
    }

    /// Its name: `application_name` of a replica's connection to its primary, and the beginning
    /// of its folder's name.
    pub fn name(&self) -> &str {
        self.options.name()
    }

    /// Where it listens. The same for the whole life of this value, also while stopped.
    pub fn address(&self) -> SocketAddr {
        self.cluster.address()
    }

    /// The connection URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The connection URL of another database of this server.
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    /// The same as a [`tokio_postgres::Config`], for the database `postgres`.
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

    /// A new connection to the database `postgres`, driven by a task on the current runtime that
    /// ends with the client.
    ///
    /// # Errors
    ///
    /// If the server is stopped or refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn connect(&self) -> Result<Client> {
        self.connect_to("postgres").await
    }

    /// [`connect`](Self::connect) to another database of this server.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_to(&self, database: &str) -> Result<Client> {
        let connected = self.config().dbname(database).connect(NoTls).await;
        let (client, connection) = connected.map_err(|error| self.failed("connect to the database", error))?;
        // The connection ends with its client; what it fails with, the client's calls report.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Creates an empty database, for a test that shares the server with others, and gives its
    /// URL. On a replica it appears once replayed.
    ///
    /// # Errors
    ///
    /// If it exists already or the server is a replica.
    ///
    /// # Cancel safety
    ///
    /// The database may or may not exist when the future is dropped.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let statement = format!("create database {}", settings::identifier(name));
        self.run("create a database", &statement).await?;
        Ok(self.database_url(name))
    }

    /// Changes settings as `ALTER SYSTEM` does and reloads them. When this returns, new
    /// connections have them; existing ones take them over with their next statements, and those
    /// that PostgreSQL only reads when it starts need [`stop`](Self::stop) and
    /// [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// If the server is stopped or refuses a setting; settings before that one are changed.
    ///
    /// # Cancel safety
    ///
    /// Any number of the settings may be changed when the future is dropped.
    pub async fn reconfigure(&self, settings: &[(&str, &str)]) -> Result<()> {
        settings::reconfigure(self, settings).await
    }

    /// The server's log. With the setting `log_statement = 'all'` it has every statement.
    pub fn log(&self) -> LogFile {
        self.cluster.log()
    }

    /// The server's data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.cluster.data()
    }

    /// Ends the server and waits until it has ended. Nothing happens if it is stopped.
    ///
    /// # Errors
    ///
    /// If the server cannot be signalled.
    ///
    /// # Cancel safety
    ///
    /// The server goes on ending when the future is dropped.
    pub async fn stop(&self, shutdown: Shutdown) -> Result<()> {
        self.end(match shutdown {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        })
        .await
    }

    /// Kills the server as if its machine had lost power (SIGKILL), and waits for its end. What it
    /// had promised to keep is there after [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// If the server cannot be signalled.
    ///
    /// # Cancel safety
    ///
    /// The server goes on ending when the future is dropped.
    pub async fn kill(&self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    /// Starts a stopped server on the same data and port, and waits until it accepts connections.
    /// Nothing happens if it is running.
    ///
    /// # Errors
    ///
    /// [`is_exited`](Error::is_exited) with the end of its log if it does not come up.
    ///
    /// # Cancel safety
    ///
    /// A server that was not ready yet is killed when the future is dropped.
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

    /// Runs one statement on a connection of its own.
    pub(crate) async fn run(&self, action: &str, statement: &str) -> Result<()> {
        let client = self.connect().await?;
        client.batch_execute(statement).await.map_err(|error| self.failed(action, error))
    }

    /// Asks for one value on a connection of its own.
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
