//! [`Databases`], the databases of a node, for its peers and its named functions.

mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use homing_proto::v1 as proto;
use homing_rpc::{BoxFuture, Expectations, Positions, States};
use tokio::time::Instant;
use tonic::Status;

use crate::connection::login::Login;
use crate::error::{Error, Result};
use crate::executor::{Failure, other_cluster};
use crate::position::{Position, SystemIdentifier};
use crate::replicas::Replicas;
use crate::scope::{DatabaseName, Scope};

/// The databases of a node, by name. Cheap to clone.
///
/// A node with a single database has the unnamed one, see [`Repo::with_database`](crate::Repo::with_database).
///
/// # Limits
///
/// - The settings name one primary region for all databases. After a failover to another region, the primary of each
///   database is found by itself.
/// - After a call of a named function, the next read in each other database of the node waits for its replica, whether
///   or not the function wrote there.
#[derive(Clone, Default)]
pub struct Databases {
    by_name: Arc<BTreeMap<DatabaseName, Replicas>>,
    forwarded_sql: ForwardedSql,
    forwarded_login: Option<Login>,
}

/// What becomes of SQL that peers send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ForwardedSql {
    #[default]
    Run,
    Refuse,
}

impl Databases {
    /// Creates an empty set of databases.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a database. The unnamed database has an empty name.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the name is taken, too long, or has characters other than lower-case letters,
    /// digits and underscores.
    pub fn with(self, name: &str, replicas: impl Into<Replicas>) -> Result<Self> {
        let name = if name.is_empty() { DatabaseName::default() } else { DatabaseName::new(name)? };
        let mut by_name = Arc::unwrap_or_clone(self.by_name);
        if by_name.contains_key(&name) {
            return Err(taken(&name));
        }
        by_name.insert(name, replicas.into());
        Ok(Self { by_name: Arc::new(by_name), ..self })
    }

    /// Refuses all SQL of peers, so that they can call named functions only. A peer may still ask how far the primary is, which
    /// read-your-writes needs. Callers in this process are not restricted.
    ///
    /// The refusal is [misuse](Error::is_misuse), before anything runs.
    #[must_use]
    pub fn with_functions_only(self) -> Self {
        Self { forwarded_sql: ForwardedSql::Refuse, ..self }
    }

    /// Tells whether the node has no database.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Runs the SQL of peers on connections of this login, in place of those of the connection strings: all of it, in every
    /// database, with transactions, scripts and copies. So PostgreSQL limits what a peer can do, and no statement leads back to
    /// the rights of the node, because the session is that of another user. Each server gets up to as many connections more as
    /// its pool has, when they are first needed.
    ///
    /// Named functions and callers in this process use the connection strings.
    #[must_use]
    pub fn with_forwarded_login(self, login: Login) -> Self {
        Self { forwarded_login: Some(login), ..self }
    }

    /// Checks the login of [`with_forwarded_login`](Self::with_forwarded_login), where a primary is here and answers.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if PostgreSQL refuses the login, or if its user may become that of the
    /// node.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connections are closed.
    pub async fn check_forwarded_login(&self) -> Result<()> {
        let Some(login) = &self.forwarded_login else { return Ok(()) };
        let primaries = self.by_name.values().filter_map(Replicas::local_primary);
        try_join_all(primaries.map(|member| async move { member.database().check_login(login).await })).await?;
        Ok(())
    }

    pub(crate) fn database(&self, name: &DatabaseName) -> Option<&Replicas> {
        self.by_name.get(name)
    }
}

// Hidden, like the next: its types are generated. `homing` gives the databases to the node.
#[doc(hidden)]
impl Positions for Databases {
    /// Returns a position for each database whose primary is here: nothing is committed on a replica. If a primary does
    /// not answer, its position is empty, because commits on it are unknown.
    fn current(&self) -> BoxFuture<'_, Vec<proto::Position>> {
        Box::pin(async move {
            let positions = self.by_name.iter().map(|(name, replicas)| async move {
                let member = replicas.serving()?;
                match member.database().current_position().await {
                    Some(position) => Some(position.to_proto(name.as_str())),
                    None if !member.is_primary() => None,
                    None => Some(proto::Position { database: name.as_str().into(), ..Default::default() }),
                }
            });
            join_all(positions).await.into_iter().flatten().collect()
        })
    }

    fn check<'a>(&'a self, scope: &'a str, expected: Expectations) -> BoxFuture<'a, Result<(), Status>> {
        let Expectations { session, cluster, key: _ } = expected;
        Box::pin(async move {
            if let Some(cluster) = cluster {
                self.check_cluster(scope, u64::from(cluster).into())?;
            }
            for (name, replicas) in self.by_name.iter() {
                let of_this = session.iter().filter(|position| position.database == name.as_str());
                let of_this: Vec<_> = of_this.filter_map(Position::from_proto).collect();
                if let (Some(member), false) = (replicas.serving(), of_this.is_empty()) {
                    let deadline = Instant::now() + CHECK_TIMEOUT;
                    member.database().executor().check_session(&of_this, deadline).await?;
                }
            }
            Ok(())
        })
    }
}

impl Databases {
    /// Compares the cluster of the database that a scope names with the one that a function's caller expects, as far as this
    /// node knows it.
    fn check_cluster(&self, scope: &str, expected: SystemIdentifier) -> Result<(), Failure> {
        let member = Scope::from_wire(scope).ok().and_then(|scope| self.database(&scope.database)?.serving());
        let Some(member) = member else { return Ok(()) };
        match member.database().pool().server() {
            Some(server) if server.system_identifier != expected => {
                Err(other_cluster(member.database().pool().address(), server.system_identifier, expected))
            }
            _ => Ok(()),
        }
    }
}

#[doc(hidden)]
impl States for Databases {
    fn states(&self) -> Vec<proto::DatabaseState> {
        let states = self.by_name.iter();
        states.filter_map(|(name, replicas)| Some(replicas.serving()?.database().described(name.as_str()))).collect()
    }
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_name.iter().map(|(name, database)| (name.as_str(), database))).finish()
    }
}

/// How long a function's caller waits for a connection that tells the history of a database. Its deadline may be earlier.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the error for two databases with one name.
pub(crate) fn taken(name: &DatabaseName) -> Error {
    Error::misuse(match name.as_str() {
        "" => "there is already an unnamed database: give this one a name".into(),
        name => format!("there is already a database named {name:?}: give this one another name"),
    })
}
