//! The databases of a node that is about to start.

use std::path::PathBuf;

use homing_postgres::{Databases, Error, Options, PositionKind, ReplicaList, Replicas, Repo, Result, Role};
use homing_rpc::Rpc;
use tracing::warn;

use crate::config::Config;
use crate::config::database::variable;
use crate::config::values::file_variable;

/// The databases of the node. One that has neither a primary nor a replica here is included.
#[derive(Debug)]
pub(crate) struct Connected {
    unnamed: Replicas,
    named: Vec<(String, Replicas)>,
}

impl Connected {
    pub(crate) async fn connect(config: &Config) -> Result<Self> {
        // The rest of a message is for everything but the rows.
        let max_rows_bytes = config.max_message_bytes / 16 * 15;
        let positions = config.replica_settings.positions;
        let unnamed = Place {
            database_url: &config.database_url,
            database_url_file: &config.database_url_file,
            database_variable: "DATABASE_URL".into(),
            replica_url: &config.replica_url,
            replica_variable: "HOMING_REPLICA_URL".into(),
            replicas: &config.replicas,
            pool_size: config.pool_size,
            max_transactions: config.max_transactions,
            max_rows_bytes,
            positions,
        };
        let unnamed = unnamed.connect(config).await?;
        let mut named = Vec::new();
        for (name, settings) in &config.databases {
            homing_postgres::check_database_name(name)?;
            let place = Place {
                database_url: &settings.database_url,
                database_url_file: &settings.database_url_file,
                database_variable: variable(name, "DATABASE_URL"),
                replica_url: &settings.replica_url,
                replica_variable: variable(name, "REPLICA_URL"),
                replicas: &settings.replicas,
                pool_size: settings.pool_size,
                max_transactions: settings.max_transactions,
                max_rows_bytes,
                positions,
            };
            named.push((name.clone(), place.connect(config).await?));
        }
        Ok(Self { unnamed, named })
    }

    /// Returns the databases that peers may use.
    pub(crate) fn databases(&self) -> Result<Databases> {
        let databases = Databases::new().with("", self.unnamed.clone())?;
        self.named.iter().try_fold(databases, |databases, (name, replicas)| databases.with(name, replicas.clone()))
    }

    /// Returns the handle of the application.
    pub(crate) fn repo(self, rpc: Rpc, options: Options) -> Result<Repo> {
        let repo = Repo::new(rpc, self.unnamed, options);
        self.named.into_iter().try_fold(repo, |repo, (name, replicas)| repo.and_database(&name, replicas))
    }
}

/// The settings of one database, and the variables that they come from.
struct Place<'a> {
    database_url: &'a Option<String>,
    database_url_file: &'a Option<PathBuf>,
    database_variable: String,
    replica_url: &'a Option<String>,
    replica_variable: String,
    replicas: &'a Option<ReplicaList>,
    pool_size: usize,
    max_transactions: Option<usize>,
    max_rows_bytes: usize,
    positions: Option<PositionKind>,
}

impl Place<'_> {
    /// Connects to the servers that the node reads from, and in the primary region to the primary.
    async fn connect(self, config: &Config) -> Result<Replicas> {
        let topology = &config.topology;
        let primary = if topology.is_primary_region() { Some(self.primary()?) } else { None };
        let list = match (self.replicas, self.replica_url) {
            (Some(list), _) => list.clone(),
            (None, Some(text)) => {
                let mut others = config.replica_regions.clone();
                others.push(topology.primary_region().clone());
                ReplicaList::parse(text, &self.replica_variable)?.in_regions(topology.region(), &others)
            }
            (None, None) => ReplicaList::none(),
        };
        if primary.is_none() && self.replicas.is_none() && self.replica_url.is_none() {
            let (region, variable) = (topology.region(), &self.replica_variable);
            warn!(%region, variable, "no replica in this region: reads go to the primary region; set the variable to read here");
        }
        let mut settings = config.replica_settings.clone().with_pool_size(self.pool_size);
        (settings.max_transactions, settings.max_rows_bytes) = (self.max_transactions, self.max_rows_bytes);
        Replicas::start(primary, &list, settings.with_region(topology.region().clone())).await
    }

    fn primary(&self) -> Result<homing_postgres::Config> {
        let variable = &self.database_variable;
        let settings = match (self.database_url, self.database_url_file) {
            (Some(url), _) => homing_postgres::Config::new(url, Role::Primary).with_variable(variable),
            (None, Some(path)) => {
                homing_postgres::Config::from_file(path, Role::Primary).with_variable(file_variable(variable))
            }
            (None, None) => {
                return Err(Error::configuration(format!(
                    "the primary region has no database: set {variable} to the connection string of the primary, as in \
                     postgres://user:password@host:5432/database, or {} to the path of a file with it",
                    file_variable(variable)
                )));
            }
        };
        let mut settings = settings.with_pool_size(self.pool_size).with_max_rows_bytes(self.max_rows_bytes);
        (settings.max_transactions, settings.positions) = (self.max_transactions, self.positions);
        Ok(settings)
    }
}
