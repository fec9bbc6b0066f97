//! What can be chosen before a server starts.

use std::net::SocketAddr;

use super::{Postgres, binaries::Binaries, cluster::Cluster, replica, server::Server, settings};
use crate::{
    error::{Error, Result},
    network::port::Port,
    process::{scratch::Scratch, user::User},
    wait::unblocked,
};

/// Options of a PostgreSQL server; see [`Postgres::options`].
///
/// Defaults: the name `primary` or `replica`, installed binaries as [`Binaries::find`] finds them,
/// a [`Scratch`] of its own, 100 connections, `fsync` on, and small buffers. A replica takes its
/// primary's binaries, connections, fsync and further settings unless it is given others.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a server is started with them"]
pub struct PostgresOptions {
    name: Option<String>,
    binaries: Option<Binaries>,
    scratch: Option<Scratch>,
    upstream: Option<SocketAddr>,
    max_connections: Option<u16>,
    fsync: Option<Fsync>,
    settings: Vec<(String, String)>,
}

/// Whether PostgreSQL waits for the disk at each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// As in production: figures measured on such a server mean something. The default.
    #[default]
    On,
    /// Faster. Data survives [`Postgres::kill`], but not a crash of the machine.
    Off,
}

impl PostgresOptions {
    /// Names the server: see [`Postgres::name`]. Letters, digits, `-` and `_`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Uses these programs. Default: [`Binaries::find`], or the primary's.
    pub fn with_binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// Puts the server's folder into this scratch, to be removed with it. Default: one of its own.
    pub fn with_scratch(mut self, scratch: &Scratch) -> Self {
        self.scratch = Some(scratch.clone());
        self
    }

    /// Makes a replica stream from this address instead of its primary's, such as that of a
    /// [`Relay`](crate::Relay) standing for the network between the two. Only the stream: the
    /// first copy is taken straight from the primary, so that a slow link does not slow the start.
    pub fn with_upstream(mut self, address: SocketAddr) -> Self {
        self.upstream = Some(address);
        self
    }

    /// `max_connections`. Default: 100. A replica's must not be below its primary's.
    pub fn with_max_connections(mut self, connections: u16) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Whether to wait for the disk. Default: [`Fsync::On`].
    pub fn with_fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = Some(fsync);
        self
    }

    /// Any other setting of `postgresql.conf`, such as `log_statement` with the value `all`. The
    /// last one of a name counts, also against what this crate sets.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Creates a primary, starts it and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// [`is_postgres_missing`](Error::is_postgres_missing) without PostgreSQL,
    /// [`is_misuse`](Error::is_misuse) for an option that cannot be, and
    /// [`is_exited`](Error::is_exited) with the end of its log if the server does not come up.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left when the future is dropped.
    pub async fn start(self) -> Result<Postgres> {
        if self.upstream.is_some() {
            return Err(Error::misuse("a primary has no upstream; start_replica_of takes one"));
        }
        let (options, mut cluster) = self.prepare("primary").await?;
        cluster.initialize(&settings::of_server(&options)).await?;
        let server = Server::first_start(&mut cluster).await?;
        Ok(Postgres::running(cluster, options, server))
    }

    /// Copies `primary` (which may be a replica itself), starts the copy as its streaming replica
    /// and waits until it accepts connections and streams.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and [`is_timed_out`](Error::is_timed_out) if the replica does
    /// not begin to stream within 30 s.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left when the future is dropped.
    pub async fn start_replica_of(mut self, primary: &Postgres) -> Result<Postgres> {
        let inherited = &primary.options;
        self.binaries = self.binaries.or_else(|| inherited.binaries.clone());
        self.max_connections = self.max_connections.or(inherited.max_connections);
        self.fsync = self.fsync.or(inherited.fsync);
        self.settings.splice(0..0, inherited.settings.iter().cloned());
        let upstream = self.upstream.unwrap_or(primary.address());

        let (options, mut cluster) = self.prepare("replica").await?;
        let settings = settings::of_replica(&options, upstream);
        cluster.copy(primary.address(), &settings).await?;
        let server = Server::first_start(&mut cluster).await?;
        let replica = Postgres::running(cluster, options, server);
        replica::wait_until_streaming(&replica).await?;
        Ok(replica)
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(super) fn max_connections(&self) -> u16 {
        self.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS)
    }

    pub(super) fn fsync(&self) -> Fsync {
        self.fsync.unwrap_or_default()
    }

    pub(super) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Looks for users and programs by running some, which blocks.
    async fn prepare(self, default_name: &'static str) -> Result<(Self, Cluster)> {
        let scratch = Scratch::given_or_new(self.scratch.clone()).await?;
        unblocked(move || {
            let options = self.completed(default_name)?;
            let cluster = options.cluster(scratch)?;
            Ok((options, cluster))
        })
        .await
    }

    /// Fills in what is needed to start and checks the rest.
    fn completed(mut self, default_name: &str) -> Result<Self> {
        let name = self.name.get_or_insert_with(|| default_name.to_owned());
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(Error::misuse(format!(
                "{name:?} cannot name a PostgreSQL server; use letters, digits, `-` and `_`"
            )));
        }
        settings::check_names(&self.settings)?;
        if self.binaries.is_none() {
            self.binaries = Some(Binaries::find()?);
        }
        Ok(self)
    }

    fn cluster(&self, scratch: Scratch) -> Result<Cluster> {
        let binaries = self.binaries.clone().expect("completed options have binaries");
        Cluster::create(scratch, self.name(), binaries, User::for_postgres()?, Port::reserve()?)
    }
}

/// PostgreSQL's own default.
const DEFAULT_MAX_CONNECTIONS: u16 = 100;
