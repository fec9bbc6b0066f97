//! Calls with statements that were built with sea-query.

use sea_query::{DeleteStatement, SelectStatement, UpdateStatement};

use super::Repo;
use super::entities::{all_of, only_one, scalar};
use crate::engine::operation::Operation;
use crate::entity::FromRow;
use crate::entity::built::{Built, Sql};
use crate::error::{Error, Result};
use crate::statement::kind::Writes;
use crate::statement::row::Row;

/// # Statements built with sea-query
///
/// These calls need the feature `sea-query`. [`Begin`](crate::Begin) begins a statement about an entity, and sea-query
/// adds conditions and order. Values travel as parameters, never inside the SQL. A number is sent as the numeric type
/// that PostgreSQL expects in its place, if it fits.
///
/// ```no_run
/// use homing_postgres::sea_query::{Expr, ExprTrait, Order};
/// use homing_postgres::{Begin, Entity, Repo, Result};
///
/// # async fn example<User: Entity>(repo: Repo) -> Result<()> {
/// let adults: Vec<User> =
///     repo.all_built(User::select().and_where(Expr::col("age").gt(18)).order_by("name", Order::Asc)).await?;
/// let changed = repo.update_all_built(User::update().value("age", 18).and_where(Expr::col("age").lt(18))).await?;
/// # Ok(())
/// # }
/// ```
impl Repo {
    /// Returns the rows that a statement selects, as entities or other structs with [`FromRow`]. For entities, begin it
    /// with [`Begin::select`](crate::Begin::select).
    ///
    /// # Errors
    ///
    /// Those of [`all`](Self::all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn all_built<T: FromRow + Send + 'static>(&self, select: &SelectStatement) -> Result<Vec<T>> {
        self.selected(Operation::new("all_built"), select, all_of).await
    }

    /// Returns the one row that a statement selects, as in [`all_built`](Self::all_built).
    ///
    /// # Errors
    ///
    /// Those of [`one`](Self::one).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn one_built<T: FromRow + Send + 'static>(&self, select: &SelectStatement) -> Result<T> {
        self.selected(Operation::new("one_built"), select, only_one).await
    }

    /// Returns whether a statement selects a row.
    ///
    /// # Errors
    ///
    /// Those of [`all`](Self::all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn exists_built(&self, select: &SelectStatement) -> Result<bool> {
        let sql = Sql::of(select);
        let exists = format!("select exists (\n{}\n)", sql.text);
        self.read(Operation::new("exists_built"), &exists, &sql.parameters(), Writes::Yes, scalar).await
    }

    /// Returns how many rows a statement selects.
    ///
    /// # Errors
    ///
    /// Those of [`all`](Self::all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn count_built(&self, select: &SelectStatement) -> Result<i64> {
        let sql = Sql::of(select);
        let count = format!("select count(*) from (\n{}\n) as rows", sql.text);
        self.read(Operation::new("count_built"), &count, &sql.parameters(), Writes::Yes, scalar).await
    }

    /// Changes rows, and returns their number. Begin the statement with [`Begin::update`](crate::Begin::update).
    ///
    /// # Errors
    ///
    /// Those of [`update_all`](Self::update_all); [`is_misuse`](Error::is_misuse) if the statement sets nothing.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn update_all_built(&self, update: &UpdateStatement) -> Result<u64> {
        if update.get_values().is_empty() {
            return Err(Error::misuse("the update sets nothing: give it a value for a column"));
        }
        self.changed(Operation::new("update_all_built"), update).await
    }

    /// Deletes rows, and returns their number. Begin the statement with [`Begin::delete`](crate::Begin::delete).
    ///
    /// # Errors
    ///
    /// Those of [`delete_all`](Self::delete_all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn delete_all_built(&self, delete: &DeleteStatement) -> Result<u64> {
        self.changed(Operation::new("delete_all_built"), delete).await
    }

    /// Runs a statement and returns its rows, like [`query`](Self::query).
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_built(&self, statement: &impl Built) -> Result<Vec<Row>> {
        let sql = Sql::of(statement);
        self.query(&sql.text, &sql.parameters()).await
    }

    /// Runs a statement and returns its one row, like [`query_one`](Self::query_one).
    ///
    /// # Errors
    ///
    /// Those of [`query_one`](Self::query_one).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_one_built(&self, statement: &impl Built) -> Result<Row> {
        let sql = Sql::of(statement);
        self.query_one(&sql.text, &sql.parameters()).await
    }

    /// Runs a statement and returns its one row, if it has one, like [`query_opt`](Self::query_opt).
    ///
    /// # Errors
    ///
    /// Those of [`query_opt`](Self::query_opt).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_opt_built(&self, statement: &impl Built) -> Result<Option<Row>> {
        let sql = Sql::of(statement);
        self.query_opt(&sql.text, &sql.parameters()).await
    }

    /// Runs a statement and returns how many rows it affected, like [`execute`](Self::execute).
    ///
    /// # Errors
    ///
    /// Those of [`execute`](Self::execute).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn execute_built(&self, statement: &impl Built) -> Result<u64> {
        let sql = Sql::of(statement);
        self.execute(&sql.text, &sql.parameters()).await
    }

    async fn selected<T: Send + 'static>(
        &self,
        operation: Operation<'_>,
        select: &SelectStatement,
        read: impl FnOnce(Vec<Row>) -> Result<T> + Send,
    ) -> Result<T> {
        let sql = Sql::of(select);
        self.read(operation, &sql.text, &sql.parameters(), Writes::Yes, read).await
    }

    async fn changed(&self, operation: Operation<'_>, statement: &impl Built) -> Result<u64> {
        let sql = Sql::of(statement);
        self.change(operation, &sql.text, &sql.parameters()).await
    }
}
