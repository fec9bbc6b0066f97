//! Calls that compute one value from many rows.

use tokio_postgres::types::FromSql;

use super::Repo;
use crate::engine::execute::Parameters;
use crate::engine::operation::Operation;
use crate::entity::aggregate::Aggregate;
use crate::entity::{Entity, aggregate, queries, unknown_column};
use crate::error::{Error, Result};
use crate::statement::kind::Writes;

/// # Aggregates
impl Repo {
    /// Returns the count, sum, average, minimum or maximum of a column in the rows that `suffix` selects.
    ///
    /// Returns `None` if there are no rows, or if the column is NULL in all of them.
    ///
    /// ```no_run
    /// # use homing_postgres::{Aggregate, Entity, Repo, Result};
    /// # async fn example<User: Entity>(repo: Repo) -> Result<()> {
    /// let oldest: Option<i32> = repo.aggregate::<User, _>(Aggregate::max("age"), "", &[]).await?;
    /// let years = repo.aggregate::<User, i64>(Aggregate::sum("age"), "where name like $1", &[&"A%"]).await?;
    /// let mean = repo.aggregate::<User, f64>(Aggregate::avg("age"), "", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The type `V` of the value depends on the type of the column:
    ///
    /// | column | `count` | `sum` | `avg` | `min`, `max` |
    /// |---|---|---|---|---|
    /// | `smallint`, `integer`, `bigint` | `i64` | `i64` | `f64` | the column's |
    /// | `numeric` | `i64` | `f64`, or `i64` if it is whole | `f64` | `f64`, or `i64` if it is whole |
    /// | `real` | `i64` | `f32` | `f64` | `f32` |
    /// | `double precision` | `i64` | `f64` | `f64` | `f64` |
    /// | others that PostgreSQL can add or compare | `i64` | the column's | the column's | the column's |
    ///
    /// PostgreSQL's own result may be a `numeric` (the sum of `bigint`, the average of integers). A `numeric` can be
    /// read as an `i64` if it is exactly one, as an `f64`, which is rounded to the nearest, and as any type that reads
    /// `numeric`, such as that of `rust_decimal` with the feature of that name.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the entity does not have the column, or if a parameter does not fit;
    /// [`is_decode`](Error::is_decode) if the value cannot be read as a `V`. Otherwise like [`all`](Self::all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn aggregate<T: Entity, V: for<'a> FromSql<'a> + Send + 'static>(
        &self,
        aggregate: Aggregate,
        suffix: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<V>> {
        if !T::COLUMNS.contains(&aggregate.column()) {
            return Err(unknown_column::<T>(aggregate.column()));
        }
        let sql = queries::aggregate::<T>(&aggregate, suffix);
        self.read(Operation::on::<T>("aggregate"), &sql, parameters, Writes::Yes, |rows| {
            aggregate::value(rows.first().ok_or_else(|| Error::decode("the aggregate returned no row"))?)
        })
        .await
    }
}
