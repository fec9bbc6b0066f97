//! Starts a server from its options, as a primary or as a replica.

use super::binaries::Binaries;
use super::cluster::Cluster;
use super::everywhere::Everywhere;
use super::options::PostgresOptions;
use super::server::Server;
use super::{Postgres, replica, settings};
use crate::error::{Error, Result};
use crate::network::port::Port;
use crate::process::scratch::Scratch;
use crate::process::user::User;
use crate::wait::unblocked;

impl PostgresOptions {
    /// Creates a primary, starts it and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// - [`is_postgres_missing`](Error::is_postgres_missing) if PostgreSQL is not installed.
    /// - [`is_misuse`](Error::is_misuse) if the server cannot have its name, if a setting cannot have
    ///   its name, if there is an upstream, or if this process is root and PostgreSQL cannot run as
    ///   another user.
    /// - [`is_exited`](Error::is_exited), with the end of its log, if `initdb` fails or the server
    ///   ends at its start.
    /// - [`is_timed_out`](Error::is_timed_out) if it does not accept connections after 60 s.
    /// - An I/O error, for which no predicate holds, if the system refuses a port, a file or a
    ///   process.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server ends and its files are removed.
    pub async fn start(self) -> Result<Postgres> {
        if self.upstream.is_some() {
            return Err(Error::misuse("a primary has no upstream; call start_replica_of, or set no upstream"));
        }
        let (options, mut cluster) = self.prepare("primary").await?;
        cluster.initialize(&settings::of_server(&options)).await?;
        cluster.secure(&options)?;
        let server = Server::first_start(&mut cluster).await?;
        Ok(Postgres::running(cluster, options, server))
    }

    /// Copies `primary`, starts the copy as its streaming replica, and waits until the replica accepts
    /// connections and streams. The primary may be a replica itself.
    ///
    /// # Errors
    ///
    /// - [`is_postgres_missing`](Error::is_postgres_missing) if PostgreSQL is not installed.
    /// - [`is_misuse`](Error::is_misuse) if the server or a setting cannot have its name, or if this
    ///   process is root and PostgreSQL cannot run as another user.
    /// - [`is_exited`](Error::is_exited), with the end of its log, if `pg_basebackup` fails (for
    ///   example because the primary is stopped) or the server ends at its start.
    /// - [`is_timed_out`](Error::is_timed_out) if it does not accept connections after 60 s, or does
    ///   not stream 30 s later.
    /// - An I/O error, for which no predicate holds, if the system refuses a port, a file or a
    ///   process.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server ends and its files are removed.
    pub async fn start_replica_of(mut self, primary: &Postgres) -> Result<Postgres> {
        let inherited = &primary.options;
        self.binaries = self.binaries.or_else(|| inherited.binaries.clone());
        self.max_connections = self.max_connections.or(inherited.max_connections);
        self.fsync = self.fsync.or(inherited.fsync);
        self.settings.splice(0..0, inherited.settings.iter().cloned());
        self.root = self.root.or_else(|| inherited.root.clone());
        let upstream = self.upstream.unwrap_or(primary.address());

        let (options, mut cluster) = self.prepare("replica").await?;
        let settings = settings::of_replica(&options, upstream);
        cluster.copy(primary.address(), &settings).await?;
        cluster.secure(&options)?;
        let server = Server::first_start(&mut cluster).await?;
        let replica = Postgres::running(cluster, options, server);
        replica::wait_until_streaming(&replica).await?;
        Ok(replica)
    }

    /// Prepares a start. This looks for users and programs, which blocks.
    async fn prepare(self, default_name: &'static str) -> Result<(Self, Cluster)> {
        let scratch = Scratch::given_or_new(self.scratch.clone()).await?;
        unblocked(move || {
            let options = self.completed(default_name)?;
            let cluster = options.cluster(scratch)?;
            Ok((options, cluster))
        })
        .await
    }

    /// Fills in the options that a start needs, and checks the others.
    fn completed(mut self, default_name: &str) -> Result<Self> {
        let name = self.name.get_or_insert_with(|| default_name.to_owned());
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(Error::misuse(format!(
                "{name:?} cannot be the name of a PostgreSQL server; use letters, digits, `-` and `_`"
            )));
        }
        settings::check_names(&self.settings)?;
        if self.binaries.is_none() {
            self.binaries = Some(Binaries::find()?);
        }
        match Everywhere::wanted()? {
            Some(everywhere) if !self.settings.iter().any(|(name, _)| name == "ssl") => {
                self.root = Some(everywhere.root());
                Ok(self.with_certificate(&everywhere.issue()?))
            }
            _ => Ok(self),
        }
    }

    fn cluster(&self, scratch: Scratch) -> Result<Cluster> {
        let binaries = self.binaries.clone().expect("completed options have binaries");
        Cluster::create(scratch, self.name(), binaries, User::for_postgres()?, Port::reserve()?)
    }
}
