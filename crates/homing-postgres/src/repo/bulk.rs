//! Calls that change many rows at once.

use super::Repo;
use crate::engine::execute::Parameters;
use crate::engine::operation::Operation;
use crate::entity::{Entity, queries};
use crate::error::{Error, Result};
use crate::statement::sql;

/// # Many rows at once
///
/// Assignments and conditions are SQL with parameters. Both share one numbering: `$1` in the assignments is the same
/// value as `$1` in the condition. An empty condition means every row.
impl Repo {
    /// Changes the rows that `suffix` selects, and returns their number. If the entity has a version, it is counted, and not
    /// compared.
    ///
    /// ```no_run
    /// # use homing_postgres::{Entity, Repo, Result};
    /// # async fn example<User: Entity>(repo: Repo) -> Result<()> {
    /// let birthdays = repo.update_all::<User>("age = age + $1", "where name like $2", &[&1, &"A%"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error); [`is_misuse`](Error::is_misuse) if `set` is empty or a parameter does not fit.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn update_all<T: Entity>(&self, set: &str, suffix: &str, parameters: &Parameters<'_>) -> Result<u64> {
        if set.trim().is_empty() {
            return Err(Error::misuse("update_all sets nothing: give it assignments such as \"age = age + 1\""));
        }
        let statement = queries::update_all::<T>(set, suffix);
        self.change(Operation::on::<T>("update_all"), &statement, parameters).await
    }

    /// Deletes the rows that `suffix` selects, and returns their number.
    ///
    /// ```no_run
    /// # use homing_postgres::{Entity, Repo, Result};
    /// # async fn example<User: Entity>(repo: Repo) -> Result<()> {
    /// let gone = repo.delete_all::<User>("where age > $1", &[&130]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error); [`is_misuse`](Error::is_misuse) if a parameter does not fit.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn delete_all<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<u64> {
        self.change(Operation::on::<T>("delete_all"), &queries::delete_all::<T>(suffix), parameters).await
    }

    /// Runs a statement that writes, and returns how many rows it affected.
    pub(super) async fn change(
        &self,
        operation: Operation<'_>,
        statement: &str,
        parameters: &Parameters<'_>,
    ) -> Result<u64> {
        // The statement goes to the primary in any case. The call only refuses what a pooled connection cannot keep.
        sql::destination(statement).map_err(|error| operation.with_sql(statement).locate(error))?;
        self.write(operation, statement, parameters, |output| Ok(output.rows_affected)).await
    }
}
