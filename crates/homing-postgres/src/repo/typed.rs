//! Calls with SQL that the application wrote, whose rows are structs.

use super::Repo;
use super::entities::{all_of, one_or_none, only_one};
use crate::engine::execute::Parameters;
use crate::entity::FromRow;
use crate::error::Result;

/// # Raw SQL with rows as structs
///
/// The rows of a join, an aggregate or a projection are structs with [`FromRow`]; entities have it too. Each field is the
/// column of the same name, whatever the order of the columns. Columns without a field are ignored, so `select *` is
/// enough for an entity.
impl Repo {
    /// Runs a statement like [`query`](Self::query), and returns its rows as structs.
    ///
    /// ```no_run
    /// # use homing_postgres::{FromRow, Repo, Result};
    /// # async fn example<Order: FromRow + Send + 'static>(repo: Repo) -> Result<()> {
    /// let sql = "select c.name, count(*) as orders from customers c join orders o on o.customer = c.id group by c.id";
    /// let orders: Vec<Order> = repo.query_as(sql, &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query); [`is_decode`](crate::Error::is_decode) if the column of a field does not exist, if several
    /// columns have its name, or if its value does not fit. A statement that writes is committed in this case.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_as<T>(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        self.raw("query_as", sql, parameters, |output| all_of(output.rows)).await
    }

    /// Runs a statement like [`query_one`](Self::query_one), and returns its one row as a struct.
    ///
    /// # Errors
    ///
    /// Those of [`query_one`](Self::query_one) and [`query_as`](Self::query_as).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_one_as<T>(&self, sql: &str, parameters: &Parameters<'_>) -> Result<T>
    where
        T: FromRow + Send + 'static,
    {
        self.raw("query_one_as", sql, parameters, |output| only_one(output.rows)).await
    }

    /// Runs a statement like [`query_opt`](Self::query_opt), and returns its one row as a struct, or `None` if it returns
    /// no row.
    ///
    /// # Errors
    ///
    /// Those of [`query_opt`](Self::query_opt) and [`query_as`](Self::query_as).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_opt_as<T>(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Option<T>>
    where
        T: FromRow + Send + 'static,
    {
        self.raw("query_opt_as", sql, parameters, |output| one_or_none(output.rows)).await
    }
}
