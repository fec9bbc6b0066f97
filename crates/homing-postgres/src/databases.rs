//! [`Databases`], what a node has next to it for others to use.

mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use homing_proto::v1 as proto;
use homing_rpc::{BoxFuture, Positions, States};

use crate::error::{Error, Result};
use crate::replicas::Replicas;
use crate::scope::DatabaseName;

/// The databases next to this node, by name. Cheap to clone.
///
/// The unnamed one is what a node with a single database has; see [`Repo::with_database`](crate::Repo::with_database).
#[derive(Clone, Default)]
pub struct Databases(Arc<BTreeMap<DatabaseName, Replicas>>);

impl Databases {
    /// No database.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more; the unnamed one has an empty name.
    ///
    /// # Errors
    ///
    /// Misuse: the name is taken, or has other characters than lower-case letters, digits and underscores.
    pub fn with(self, name: &str, replicas: impl Into<Replicas>) -> Result<Self> {
        let name = if name.is_empty() { DatabaseName::default() } else { DatabaseName::new(name)? };
        let mut databases = Arc::unwrap_or_clone(self.0);
        if databases.contains_key(&name) {
            return Err(taken(&name));
        }
        databases.insert(name, replicas.into());
        Ok(Self(Arc::new(databases)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn database(&self, name: &DatabaseName) -> Option<&Replicas> {
        self.0.get(name)
    }
}

impl Positions for Databases {
    /// One for each that is the primary: nothing can have been committed on a replica. One that cannot be asked has an
    /// empty position, since nobody knows what was committed there.
    fn current(&self) -> BoxFuture<'_, Vec<proto::Position>> {
        Box::pin(async move {
            let positions = self.0.iter().map(|(name, replicas)| async move {
                let member = replicas.serving()?;
                let position = match member.database().current().await.pop() {
                    None if !member.is_primary() => return None,
                    position => position.unwrap_or_default(),
                };
                Some(proto::Position { database: name.as_str().into(), ..position })
            });
            join_all(positions).await.into_iter().flatten().collect()
        })
    }
}

impl States for Databases {
    fn states(&self) -> Vec<proto::DatabaseState> {
        let states = self.0.iter().flat_map(|(name, replicas)| {
            let states = replicas.serving().map(|member| member.database().states()).unwrap_or_default();
            states.into_iter().map(|state| {
                let position = state.position.map(|at| proto::Position { database: name.as_str().into(), ..at });
                proto::DatabaseState { database: name.as_str().into(), position, ..state }
            })
        });
        states.collect()
    }
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, database)| (name.as_str(), database))).finish()
    }
}

/// Two databases of one name.
pub(crate) fn taken(name: &DatabaseName) -> Error {
    Error::misuse(match name.as_str() {
        "" => "there is an unnamed database already: give this one a name".into(),
        name => format!("there is a database named {name:?} already: give one of the two another name"),
    })
}
