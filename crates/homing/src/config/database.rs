use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use homing_postgres::{Error, ReplicaList, Result};
use homing_rpc::{Region, Topology};

use super::replicas::{self, ReplicaPlace};
use super::values::{Lookup, text_or_file};

/// The settings of one of a node's named databases. See [`Config::with_database`](crate::Config::with_database).
#[derive(Clone)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// The connection string of the primary, or of the servers among which it is, as in
    /// [`Config::database_url`](crate::Config::database_url). Used in the primary region only, and required there.
    pub database_url: Option<String>,

    /// The path of a file with the connection string of the primary, as in
    /// [`Config::database_url_file`](crate::Config::database_url_file). Default: `None`.
    pub database_url_file: Option<PathBuf>,

    /// The connection strings of the replicas to read from, as in [`Config::replica_url`](crate::Config::replica_url).
    /// Default: `None`, so that reads go to the primary.
    pub replica_url: Option<String>,

    /// The replicas to read from, as a list that the application can change while the node runs. If set,
    /// [`replica_url`](Self::replica_url) is ignored.
    pub replicas: Option<ReplicaList>,

    /// The largest number of connections to each server. Default: 16.
    pub pool_size: usize,

    /// The largest number of interactive transactions that may be open on each server. Default: three quarters of
    /// [`pool_size`](Self::pool_size).
    pub max_transactions: Option<usize>,
}

impl DatabaseConfig {
    /// Returns the settings of a database without connection strings.
    pub fn new() -> Self {
        Self {
            database_url: None,
            database_url_file: None,
            replica_url: None,
            replicas: None,
            pool_size: DEFAULT_POOL_SIZE,
            max_transactions: None,
        }
    }

    /// Sets the connection string of the primary.
    #[must_use]
    pub fn with_database_url(self, url: impl Into<String>) -> Self {
        Self { database_url: Some(url.into()), ..self }
    }

    /// Sets the path of a file with the connection string of the primary.
    #[must_use]
    pub fn with_database_url_file(self, path: impl Into<PathBuf>) -> Self {
        Self { database_url_file: Some(path.into()), ..self }
    }

    /// Sets the connection strings of the replicas.
    #[must_use]
    pub fn with_replica_url(self, url: impl Into<String>) -> Self {
        Self { replica_url: Some(url.into()), ..self }
    }

    /// Sets how many interactive transactions may be open on each server: at least one, and no more than there are
    /// connections.
    #[must_use]
    pub fn with_max_transactions(self, max_transactions: usize) -> Self {
        Self { max_transactions: Some(max_transactions), ..self }
    }

    /// Sets the largest number of connections to each server; zero counts as one.
    #[must_use]
    pub fn with_pool_size(self, pool_size: usize) -> Self {
        Self { pool_size: pool_size.max(1), ..self }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DatabaseConfig {
    /// Leaves out the connection strings, which may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

/// Reads the databases that `HOMING_DATABASES` lists.
pub(crate) fn from_lookup(
    topology: &Topology,
    replica_regions: &[Region],
    lookup: &Lookup<'_>,
) -> Result<Vec<(String, DatabaseConfig)>> {
    let mut seen = BTreeSet::new();
    let mut databases = Vec::new();
    for name in listed(lookup) {
        homing_postgres::check_database_name(&name).map_err(|error| {
            Error::configuration(format!("{LIST}: {error}; separate the names with commas")).with_cause(error)
        })?;
        if !seen.insert(name.clone()) {
            return Err(Error::configuration(format!("{LIST} contains {name:?} twice: list each database once")));
        }
        let (database_url, database_url_file) = url(lookup, &[&variable(&name, "DATABASE_URL")])?;
        let replica_variable = variable(&name, "REPLICA_URL");
        let ReplicaPlace { url: replica_url, list: replicas } =
            replicas::place(lookup, &replica_variable, database_url.as_deref(), replica_regions, topology)?;
        let database =
            DatabaseConfig { database_url, database_url_file, replica_url, replicas, ..DatabaseConfig::new() };
        databases.push((name, database));
    }
    Ok(databases)
}

/// Returns the connection string of a primary, or the path of a file with it. The first variable that is set, by itself or with
/// `_FILE`, counts.
pub(super) fn url(lookup: &Lookup<'_>, variables: &[&str]) -> Result<(Option<String>, Option<PathBuf>)> {
    for variable in variables {
        match text_or_file(lookup, variable)? {
            (None, None) => {}
            found => return Ok(found),
        }
    }
    Ok((None, None))
}

/// Returns the names in `HOMING_DATABASES`.
pub(super) fn listed(lookup: &Lookup<'_>) -> Vec<String> {
    let list = lookup(LIST);
    list.iter().flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()).collect()
}

/// Returns the variable that holds a connection string of a named database.
pub(crate) fn variable(name: &str, what: &str) -> String {
    format!("{}{what}", prefix(name))
}

/// Returns the beginning of the names of a database's variables.
pub(super) fn prefix(name: &str) -> String {
    format!("HOMING_{}_", name.to_ascii_uppercase())
}

const LIST: &str = "HOMING_DATABASES";

pub(crate) const DEFAULT_POOL_SIZE: usize = 16;
