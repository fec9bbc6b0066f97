//! The databases next to a node that is about to start.

use homing_postgres::{Database, Databases, Error, Options, Repo, Result, Role};
use homing_rpc::{Region, Rpc};
use tracing::warn;

use crate::Config;
use crate::database_config::variable;

/// The databases next to the node, those that it has none of included.
#[derive(Debug)]
pub(crate) struct Connected {
    unnamed: Option<Database>,
    named: Vec<(String, Option<Database>)>,
}

impl Connected {
    pub(crate) async fn connect(config: &Config) -> Result<Self> {
        let is_home = config.topology.is_primary_region();
        let region = config.topology.region();
        let unnamed = if is_home {
            Place { url: &config.database_url, variable: "DATABASE_URL".into(), role: Role::Primary }
        } else {
            Place { url: &config.replica_url, variable: "HOMING_REPLICA_URL".into(), role: Role::Replica }
        };
        let unnamed = unnamed.connect(config.pool_size, region).await?;
        let mut named = Vec::new();
        for (name, settings) in &config.databases {
            homing_postgres::check_database_name(name)?;
            let place = if is_home {
                let variable = variable(name, "DATABASE_URL");
                Place { url: &settings.database_url, variable, role: Role::Primary }
            } else {
                let variable = variable(name, "REPLICA_URL");
                Place { url: &settings.replica_url, variable, role: Role::Replica }
            };
            named.push((name.clone(), place.connect(settings.pool_size, region).await?));
        }
        Ok(Self { unnamed, named })
    }

    /// What peers may use.
    pub(crate) fn databases(&self) -> Result<Databases> {
        let mut databases = Databases::new();
        if let Some(database) = &self.unnamed {
            databases = databases.with("", database.clone())?;
        }
        for (name, database) in &self.named {
            if let Some(database) = database {
                databases = databases.with(name, database.clone())?;
            }
        }
        Ok(databases)
    }

    /// The handle of the application.
    pub(crate) fn repo(self, rpc: Rpc, options: Options) -> Result<Repo> {
        let repo = Repo::new(rpc, self.unnamed, options);
        self.named.into_iter().try_fold(repo, |repo, (name, database)| repo.and_database(&name, database))
    }
}

/// Where a database ought to be.
struct Place<'a> {
    url: &'a Option<String>,
    variable: String,
    role: Role,
}

impl Place<'_> {
    async fn connect(self, pool_size: usize, region: &Region) -> Result<Option<Database>> {
        let Self { url, variable, role } = self;
        match (url, role) {
            (Some(url), _) => {
                let settings = homing_postgres::Config::new(url, role).with_variable(variable);
                Ok(Some(Database::connect(settings.with_pool_size(pool_size)).await?))
            }
            (None, Role::Replica) => {
                warn!(%region, variable, "no replica here: reads go to the primary region; set the variable to read here");
                Ok(None)
            }
            (None, Role::Primary) => Err(Error::configuration(format!(
                "there is no database: set {variable} to the connection string of the primary, as in \
                 postgres://user:password@host:5432/database"
            ))),
        }
    }
}
