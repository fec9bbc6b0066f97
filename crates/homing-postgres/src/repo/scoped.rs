//! Handles for other databases and schemas of the node.

use std::sync::Arc;

use super::Repo;
use crate::databases::taken;
use crate::engine::ScopedDatabase;
use crate::error::{Error, Result};
use crate::primary::Primary;
use crate::replicas::Replicas;
use crate::scope::schema::Schema;
use crate::scope::{DatabaseName, Scope};

/// # Databases and tenants
///
/// A node may have several databases, each with its own primary, replicas and positions. Their primaries are in one
/// region. A handle is for one database: the unnamed one, unless [`with_database`](Repo::with_database) chose another.
/// Statements run with the `search_path` of the database role, unless [`with_schema`](Repo::with_schema) chose a
/// schema. A named function runs in the database and schema of its caller's handle.
impl Repo {
    /// Adds a database of the node, and returns a handle that knows it. Existing clones of the handle do not know it,
    /// so databases are added while a node is set up.
    ///
    /// `replicas` are the servers of this database that this node reads from; `None` in a region without any.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the name is taken, or has characters other than lower-case letters, digits
    /// and underscores.
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

    /// Returns a handle for another database of the node, with the same session, options and schema. The unnamed
    /// database has the empty name.
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
    /// [`is_misuse`](Error::is_misuse) if the node has no database with that name, or if this handle belongs to a
    /// transaction of another database.
    pub fn with_database(&self, name: &str) -> Result<Self> {
        let known = self.catalog.iter().find(|(known, _)| known.as_str() == name);
        let (database, scoped) = known.ok_or_else(|| self.no_database(name))?;
        if self.in_transaction() && name != self.database_name() {
            return Err(Error::misuse(format!(
                "a transaction belongs to one database, and this one does not belong to {name:?}: use a handle outside \
                 the transaction"
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

    /// Returns the name of this handle's database, which is empty for the unnamed one.
    pub fn database_name(&self) -> &str {
        self.engine.database_name()
    }

    /// Returns the names of the node's databases in order. The unnamed database has the empty name and comes first.
    pub fn database_names(&self) -> impl Iterator<Item = &str> {
        self.catalog.keys().map(DatabaseName::as_str)
    }

    /// Returns a handle whose calls run in a schema: entity calls, raw SQL, scripts and named functions, on replicas
    /// and on the primary.
    ///
    /// Each statement runs in a transaction that begins with `SET LOCAL search_path` to exactly this schema. The
    /// command is sent along with the statement, so it costs no further round trip and leaves nothing behind on the
    /// pooled connection. Names in another schema, `public` included, have to be qualified: `public.users`. Statements
    /// that PostgreSQL refuses inside a transaction, such as `VACUUM`, fail through this handle too; run them through a
    /// handle without a schema, and qualify their names.
    ///
    /// If the schema does not exist, the first call fails with PostgreSQL's `invalid_schema_name` (3F000) before
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
    /// [`is_misuse`](Error::is_misuse) if the name is empty, is longer than 63 bytes, contains a zero byte or begins
    /// with `pg_`.
    pub fn with_schema(&self, name: &str) -> Result<Self> {
        let schema = Schema::new(name)?;
        Ok(self.in_schema(Some(&schema)))
    }

    /// Returns a handle whose calls run with the `search_path` of the database role.
    #[must_use]
    pub fn without_schema(&self) -> Self {
        self.in_schema(None)
    }

    /// Returns the schema that [`with_schema`](Self::with_schema) chose, if any.
    pub fn schema(&self) -> Option<&str> {
        self.engine.schema()
    }

    /// Returns a handle for the database and schema of a caller, as they travel with the call of a named function.
    #[doc(hidden)]
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        let Scope { database, schema } = Scope::from_wire(scope)?;
        Ok(self.with_database(database.as_str())?.in_schema(schema.as_ref()))
    }

    fn in_schema(&self, schema: Option<&Schema>) -> Self {
        self.with(|engine| *engine = engine.in_schema(schema))
    }

    fn no_database(&self, name: &str) -> Error {
        let shown: String = name.chars().take(80).collect();
        let names: Vec<_> = self.catalog.keys().map(DatabaseName::as_str).filter(|name| !name.is_empty()).collect();
        let known = if names.is_empty() { "only the unnamed one".to_owned() } else { names.join(", ") };
        Error::misuse(format!("this node has no database named {shown:?}, it has {known}: see HOMING_DATABASES"))
    }
}
