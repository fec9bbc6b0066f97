//! Handles for other databases and schemas of the node.

use std::sync::Arc;

use super::Repo;
use crate::databases::taken;
use crate::engine::ScopedDatabase;
use crate::error::{Error, Result};
use crate::primary::Primary;
use crate::replicas::Replicas;
use crate::scope::{DatabaseName, Schema, Scope};

/// # Databases and tenants
///
/// A node may hold several databases, each with its primary, its replicas and its positions; their primaries are in one
/// region. A handle is for one of them: the unnamed one, unless it comes from [`with_database`](Repo::with_database). In
/// it, calls run in the schema of the database role's `search_path`, unless the handle comes from
/// [`with_schema`](Repo::with_schema). Named functions get the database and the schema of their caller's handle.
impl Repo {
    /// A handle that knows one more database of the node. `database` is that next to this node; `None` where the region
    /// has none. For whoever sets a node up: handles that exist already do not learn of it.
    ///
    /// # Errors
    ///
    /// Misuse: the name is taken, or has other characters than lower-case letters, digits and underscores.
    pub fn and_database(self, name: &str, replicas: impl Into<Replicas>) -> Result<Self> {
        let name = DatabaseName::new(name)?;
        let mut catalog = Arc::unwrap_or_clone(self.catalog);
        if catalog.contains_key(&name) {
            return Err(taken(&name));
        }
        let scope = Scope { database: name.clone(), schema: None };
        let primary = Primary::new(self.engine.rpc().clone(), replicas.into(), scope);
        catalog.insert(name, Arc::new(ScopedDatabase::new(primary)));
        Ok(Self { catalog: Arc::new(catalog), ..self })
    }

    /// The same handle for another database of the node: the same session, options and schema. The empty name is that of
    /// the unnamed database.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let analytics = repo.with_database("analytics")?;
    /// analytics.execute("insert into visits default values", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Misuse: the node has no database of that name.
    pub fn with_database(&self, name: &str) -> Result<Self> {
        let known = self.catalog.iter().find(|(known, _)| known.as_str() == name);
        let (database, scoped) = known.ok_or_else(|| self.no_database(name))?;
        if self.in_transaction() && name != self.database_name() {
            return Err(Error::misuse(format!(
                "a transaction is of one database, and this one is not of {name:?}: use the handle outside of it"
            )));
        }
        Ok(self.with(|engine| {
            if name != engine.database_name() {
                engine.replica = None;
            }
            engine.session = engine.session.of(database);
            engine.scoped = scoped.in_schema(engine.primary().schema());
        }))
    }

    /// The name of this handle's database; empty for the unnamed one.
    pub fn database_name(&self) -> &str {
        self.engine.database_name()
    }

    /// The names of the node's databases, sorted; the unnamed one has an empty name and is the first.
    pub fn database_names(&self) -> impl Iterator<Item = &str> {
        self.catalog.keys().map(DatabaseName::as_str)
    }

    /// The same handle, whose calls run in a schema: entity calls, raw SQL, scripts and named functions, here and on the
    /// primary.
    ///
    /// Each statement runs in a transaction of its own that begins with `SET LOCAL search_path` to exactly this schema,
    /// sent along with the statement, so it takes no further round trip and leaves nothing behind on the pooled
    /// connection. What lives in another schema, `public` included, has to be written with its name: `public.users`.
    /// Statements that PostgreSQL refuses inside of a transaction, such as `VACUUM`, are refused here too; write them
    /// with the schema's name through a handle without a schema.
    ///
    /// Whether there is such a schema is seen by the first call: PostgreSQL's `invalid_schema_name` (3F000), before
    /// anything has run.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let tenant = repo.with_schema("tenant_7")?;
    /// tenant.execute("insert into orders default values", &[]).await?; // tenant_7.orders
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Misuse: the name is empty, longer than 63 bytes, contains a zero byte or begins with `pg_`.
    pub fn with_schema(&self, name: &str) -> Result<Self> {
        let schema = Schema::new(name)?;
        Ok(self.in_schema(Some(&schema)))
    }

    /// The same handle, whose calls run where the database role's `search_path` leads.
    #[must_use]
    pub fn without_schema(&self) -> Self {
        self.in_schema(None)
    }

    /// The schema of [`with_schema`](Self::with_schema).
    pub fn schema(&self) -> Option<&str> {
        self.engine.schema()
    }

    /// The same handle for the database and schema of a caller, as they travel with the call of a named function.
    #[doc(hidden)]
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        let Scope { database, schema } = Scope::from_wire(scope)?;
        Ok(self.with_database(database.as_str())?.in_schema(schema.as_ref()))
    }

    fn in_schema(&self, schema: Option<&Schema>) -> Self {
        Self { engine: self.engine.in_schema(schema), ..self.clone() }
    }

    fn no_database(&self, name: &str) -> Error {
        let shown: String = name.chars().take(80).collect();
        let names: Vec<_> = self.catalog.keys().map(DatabaseName::as_str).filter(|name| !name.is_empty()).collect();
        let known = if names.is_empty() { "only the unnamed one".to_owned() } else { names.join(", ") };
        Error::misuse(format!("this node has no database named {shown:?}: it has {known}; see HOMING_DATABASES"))
    }
}
