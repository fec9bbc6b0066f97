//! One value of many rows.

use tokio_postgres::types::FromSql;

use super::Repo;
use crate::engine::execute::Parameters;
use crate::entity::aggregate::Aggregate;
use crate::entity::unknown_column;
use crate::entity::{Entity, aggregate, queries};
use crate::error::{Error, Result};
use crate::statement::kind::Writes;

/// # Aggregates
impl Repo {
    /// The count, sum, average, minimum or maximum of a column in the rows that `suffix` leaves. `None` if there is no
    /// value: no row, or NULL in all of them.
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
    /// | column | `count` | `sum` | `avg` | `min`, `max` |
    /// |---|---|---|---|---|
    /// | `smallint`, `integer`, `bigint` | `i64` | `i64` | `f64` | the column's |
    /// | `numeric` | `i64` | `f64`, or `i64` where it is whole | `f64` | the same |
    /// | `real` | `i64` | `f32` | `f64` | `f32` |
    /// | `double precision` | `i64` | `f64` | `f64` | `f64` |
    /// | others that PostgreSQL can add or compare | `i64` | the column's | the column's | the column's |
    ///
    /// PostgreSQL's own result may be a `numeric` (the sum of `bigint`, the average of integers). It can be read as an
    /// `i64`, exactly or not at all; as an `f64`, rounded to the nearest; and as any type that is read from `numeric`, such
    /// as `rust_decimal`'s with the feature of that name.
    ///
    /// # Errors
    ///
    /// Misuse if the entity has no such column; [`is_decode`](Error::is_decode) if the value cannot be read as a `V`. See
    /// [`Error`] for the others.
    pub async fn aggregate<T: Entity, V: for<'a> FromSql<'a>>(
        &self,
        aggregate: Aggregate,
        suffix: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<V>> {
        if !T::COLUMNS.contains(&aggregate.column()) {
            return Err(unknown_column::<T>(aggregate.column()));
        }
        let sql = queries::aggregate::<T>(&aggregate, suffix);
        self.read("aggregate", &sql, parameters, Writes::Yes, |rows| {
            aggregate::value(rows.first().ok_or_else(|| Error::decode("the aggregate returned no row"))?)
        })
        .await
    }
}
