//! Handles for other databases of the node, and for other schemas and settings.

use std::fmt::Display;
use std::sync::Arc;

use super::Repo;
use crate::databases::taken;
use crate::engine::ScopedDatabase;
use crate::error::{Error, Result};
use crate::primary::Primary;
use crate::replicas::Replicas;
use crate::scope::schema::Schema;
use crate::scope::settings::Settings;
use crate::scope::{DatabaseName, LocalSettings, Scope};

/// # Databases and tenants
///
/// A node may have several databases, each with its own primary, replicas and positions. Their primaries are in one
/// region. A handle is for one database: the unnamed one, unless [`with_database`](Repo::with_database) chose another.
/// Statements run with the `search_path` of the database role, unless [`with_schema`](Repo::with_schema) chose a
/// schema, and with the settings of the role, unless [`with_setting`](Repo::with_setting) chose others. A named function
/// runs in the database and schema of its caller's handle, and with its settings.
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
        let scope = Scope { database: name.clone(), local: LocalSettings::default() };
        let primary = Primary::new(self.engine.rpc().clone(), replicas.into(), scope);
        catalog.insert(name, Arc::new(ScopedDatabase::new(primary)));
        Ok(Self { catalog: Arc::new(catalog), ..self })
    }

    /// Returns a handle for another database of the node, with the same session, options, schema and settings. The
    /// unnamed database has the empty name.
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
            engine.scoped = scoped.with_local(engine.primary().local());
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

    /// Returns a handle whose calls run with a setting of PostgreSQL, such as the user or tenant that a policy of
    /// row-level security asks for: entity calls, raw SQL, batches, streams, scripts, transactions and named functions, on
    /// replicas and on the primary.
    ///
    /// `name` is a name of your own with a dot in it, such as `app.user`, or one of `application_name`, `lock_timeout`,
    /// `role`, `statement_timeout` and `work_mem`. Other settings of PostgreSQL belong to the role or the database, because
    /// some of them change the meaning of statements that are prepared already. `value` is PostgreSQL's text for the value.
    /// A handle may have several settings; a later value replaces an earlier one of the same name.
    ///
    /// Each statement runs in a transaction that begins with `set_config(name, value, true)`. The name and the value are
    /// parameters. The command is sent along with the statement, so it costs no further round trip and leaves nothing
    /// behind on the pooled connection. Statements that PostgreSQL refuses inside a transaction, such as `VACUUM`, fail
    /// through this handle. If PostgreSQL refuses the value, nothing else runs, and the call fails with PostgreSQL's error.
    ///
    /// A peer whose build does not know settings refuses the call: it never runs without them.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo, user: i64) -> homing_postgres::Result<()> {
    /// // create policy own on orders using (owner = nullif(current_setting('app.user', true), '')::bigint);
    /// let repo = repo.with_setting("app.user", user)?;
    /// let own = repo.query("select * from orders", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **Policies** should take an empty value for an absent one, as above. PostgreSQL remembers a name that was set
    ///   once on a connection, and its value there is empty afterwards.
    /// - **Policies do not hold** for superusers, for roles with `BYPASSRLS`, and for the owner of a table unless it says
    ///   `FORCE ROW LEVEL SECURITY`. Connect as another role, or set `role`.
    /// - **The SQL of the application** may change the value within its own transaction. A policy protects from a forgotten
    ///   condition, not from a caller that runs SQL of its own.
    /// - **In a transaction** the settings hold from its first statement to its end. Setting them takes the snapshot of a
    ///   transaction with [`Isolation::RepeatableRead`](crate::Isolation::RepeatableRead), so a `LOCK TABLE` in it comes
    ///   after the snapshot. Change a setting with `select set_config('app.user', $1, true)`.
    /// - **In a named function**, [`setting`](Self::setting) returns the caller's value, and
    ///   [`without_settings`](Self::without_settings) a handle that does not have it.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the name is not one of those above, if the value contains a zero byte, if the
    /// handle has more than 32 settings or 16 KiB of them, or if it belongs to a transaction.
    pub fn with_setting(&self, name: &str, value: impl Display) -> Result<Self> {
        let local = self.engine.primary().local();
        self.with_settings(local.settings.with(name, value.to_string())?)
    }

    /// Returns a handle whose calls run with the settings of the database role.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the handle has settings and belongs to a transaction.
    pub fn without_settings(&self) -> Result<Self> {
        self.with_settings(Settings::default())
    }

    /// Returns the value that [`with_setting`](Self::with_setting) gave a setting, if any.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.engine.primary().local().settings.value(name)
    }

    /// Returns a handle for the database and schema of a caller, and with its settings, as they travel with the call of a
    /// named function.
    #[doc(hidden)]
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        let Scope { database, local } = Scope::from_wire(scope)?;
        Ok(self.with_database(database.as_str())?.with_local(&local))
    }

    fn in_schema(&self, schema: Option<&Schema>) -> Self {
        self.with_local(&self.engine.primary().local().in_schema(schema))
    }

    fn with_settings(&self, settings: Settings) -> Result<Self> {
        let local = self.engine.primary().local();
        if self.in_transaction() && local.settings != settings {
            return Err(Error::misuse(
                "the settings of a transaction are those of the handle that began it: run select set_config($1, $2, true) \
                 in the transaction",
            ));
        }
        Ok(self.with_local(&local.with_settings(settings)))
    }

    fn with_local(&self, local: &LocalSettings) -> Self {
        self.with(|engine| *engine = engine.with_local(local))
    }

    fn no_database(&self, name: &str) -> Error {
        let shown: String = name.chars().take(80).collect();
        let names: Vec<_> = self.catalog.keys().map(DatabaseName::as_str).filter(|name| !name.is_empty()).collect();
        let known = if names.is_empty() { "only the unnamed one".to_owned() } else { names.join(", ") };
        Error::misuse(format!("this node has no database named {shown:?}, it has {known}: see HOMING_DATABASES"))
    }
}
