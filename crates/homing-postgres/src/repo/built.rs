//! Calls with statements built by sea-query.

use sea_query::{DeleteStatement, SelectStatement, UpdateStatement};

use super::Repo;
use super::entities::{all_of, scalar, the_one};
use crate::entity::Entity;
use crate::entity::built::Built;
use crate::entity::built::Sql;
use crate::error::{Error, Result};
use crate::statement::kind::Writes;
use crate::statement::row::Row;

/// # Statements built with sea-query
///
/// With the feature `sea-query`. [`Begin`](crate::Begin) begins a statement about an entity; sea-query adds conditions and
/// order. Values travel as parameters, never inside the SQL. A number is written as the type of number that PostgreSQL
/// expects in its place, if it fits.
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
    /// The rows that a statement selects. Begin it with [`Begin::select`](crate::Begin::select).
    ///
    /// # Errors
    ///
    /// Misuse if its columns are not those of the entity. See [`Error`] for the others.
    pub async fn all_built<T: Entity>(&self, select: &SelectStatement) -> Result<Vec<T>> {
        let of = |rows: Vec<Row>| check_columns::<T>(&rows).and_then(|()| all_of(rows));
        self.selected("all_built", select, of).await
    }

    /// The one row that a statement selects. Begin it with [`Begin::select`](crate::Begin::select).
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is none, [`is_too_many_rows`](Error::is_too_many_rows) if there
    /// are several; misuse if its columns are not those of the entity. See [`Error`] for the others.
    pub async fn one_built<T: Entity>(&self, select: &SelectStatement) -> Result<T> {
        let of = |rows: Vec<Row>| check_columns::<T>(&rows).and_then(|()| the_one(rows));
        self.selected("one_built", select, of).await
    }

    /// Whether a statement selects a row.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn exists_built(&self, select: &SelectStatement) -> Result<bool> {
        let sql = Sql::of(select);
        let exists = format!("select exists (\n{}\n)", sql.text);
        self.read("exists_built", &exists, &sql.parameters(), Writes::Yes, scalar).await
    }

    /// How many rows a statement selects.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn count_built(&self, select: &SelectStatement) -> Result<i64> {
        let sql = Sql::of(select);
        let count = format!("select count(*) from (\n{}\n) as rows", sql.text);
        self.read("count_built", &count, &sql.parameters(), Writes::Yes, scalar).await
    }

    /// Changes rows. Returns how many there were. Begin the statement with [`Begin::update`](crate::Begin::update).
    ///
    /// # Errors
    ///
    /// Misuse if the statement sets nothing. See [`Error`] for the others.
    pub async fn update_all_built(&self, update: &UpdateStatement) -> Result<u64> {
        if update.get_values().is_empty() {
            return Err(Error::misuse("the update sets nothing: give it a value for a column"));
        }
        self.changed("update_all_built", update).await
    }

    /// Deletes rows. Returns how many there were. Begin the statement with [`Begin::delete`](crate::Begin::delete).
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn delete_all_built(&self, delete: &DeleteStatement) -> Result<u64> {
        self.changed("delete_all_built", delete).await
    }

    /// The rows of a statement, as [`query`](Self::query).
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn query_built(&self, statement: &impl Built) -> Result<Vec<Row>> {
        let sql = Sql::of(statement);
        self.query(&sql.text, &sql.parameters()).await
    }

    /// The one row of a statement, as [`query_one`](Self::query_one).
    ///
    /// # Errors
    ///
    /// As [`query_one`](Self::query_one).
    pub async fn query_one_built(&self, statement: &impl Built) -> Result<Row> {
        let sql = Sql::of(statement);
        self.query_one(&sql.text, &sql.parameters()).await
    }

    /// The one row of a statement, or none, as [`query_opt`](Self::query_opt).
    ///
    /// # Errors
    ///
    /// As [`query_opt`](Self::query_opt).
    pub async fn query_opt_built(&self, statement: &impl Built) -> Result<Option<Row>> {
        let sql = Sql::of(statement);
        self.query_opt(&sql.text, &sql.parameters()).await
    }

    /// Runs a statement and returns how many rows it affected, as [`execute`](Self::execute).
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub async fn execute_built(&self, statement: &impl Built) -> Result<u64> {
        let sql = Sql::of(statement);
        self.execute(&sql.text, &sql.parameters()).await
    }

    async fn selected<T>(
        &self,
        operation: &'static str,
        select: &SelectStatement,
        read: impl FnOnce(Vec<Row>) -> Result<T>,
    ) -> Result<T> {
        let sql = Sql::of(select);
        self.read(operation, &sql.text, &sql.parameters(), Writes::Yes, read).await
    }

    async fn changed(&self, operation: &'static str, statement: &impl Built) -> Result<u64> {
        let sql = Sql::of(statement);
        crate::statement::sql::destination(&sql.text)?;
        self.write(operation, &sql.text, &sql.parameters(), |output| Ok(output.rows_affected)).await
    }
}

/// Fields are read by position, so the columns have to be those of the entity and in their order.
fn check_columns<T: Entity>(rows: &[Row]) -> Result<()> {
    let Some(row) = rows.first() else { return Ok(()) };
    if row.columns().iter().map(|column| column.name()).eq(T::COLUMNS.iter().copied()) {
        return Ok(());
    }
    let selected: Vec<_> = row.columns().iter().map(|column| column.name()).collect();
    Err(Error::misuse(format!(
        "the statement selects {} and {} has {}: begin it with `select()` of the entity",
        selected.join(", "),
        T::TABLE,
        T::COLUMNS.join(", ")
    )))
}
