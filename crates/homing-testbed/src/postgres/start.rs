//! Starts a server from its options: as a primary, or as the replica of another.

use super::{
    Postgres, binaries::Binaries, cluster::Cluster, options::PostgresOptions, replica, server::Server, settings,
};
use crate::{
    error::{Error, Result},
    network::port::Port,
    process::{scratch::Scratch, user::User},
    wait::unblocked,
};

impl PostgresOptions {
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
