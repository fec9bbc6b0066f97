//! Calls that change one row.

use super::Repo;
use super::entities::stored;
use crate::engine::execute::{Output, Parameters};
use crate::engine::operation::Operation;
use crate::entity::parameters::key_of;
use crate::entity::{Entity, queries};
use crate::error::{Error, Result};
use crate::writing::writer::Writer;

/// # Changes of one row
impl Repo {
    /// Stores all fields of an existing row, except read-only ones. Returns the row as it is stored afterwards.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error); [`is_not_found`](Error::is_not_found) if the table has no row with that key. If a
    /// trigger or a rule kept the row as it is, [`is_committed`](Error::is_committed) holds too: what the trigger did
    /// instead is committed.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn update<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let (sql, parameters) = queries::update::<T>();
        let values = entity.values();
        let parameters: Vec<_> = parameters.into_iter().map(|index| values[index]).collect();
        self.change_row(Operation::on::<T>("update"), &sql, &parameters).await
    }

    /// Deletes a row, and returns it as it was stored.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error); [`is_not_found`](Error::is_not_found) if the table has no row with that key. If a
    /// trigger or a rule kept the row as it is, [`is_committed`](Error::is_committed) holds too: what the trigger did
    /// instead is committed.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn delete<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let sql = queries::delete::<T>();
        self.change_row(Operation::on::<T>("delete"), &sql, &key_of(entity)).await
    }
}

impl Repo {
    /// Runs a statement that changes the row with one key. If there is no such row, PostgreSQL says whether anything else
    /// was written, by a trigger.
    async fn change_row<T: Entity>(
        &self,
        operation: Operation<'_>,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<T> {
        let changed = |output: Output| stored(&output)?.ok_or_else(not_changed::<T>);
        let (engine, operation) = (&self.engine, operation.with_sql(sql));
        if self.transaction.is_some() {
            return self.write(operation, sql, parameters, changed).await;
        }
        engine.reported(operation, Writer::new(engine, operation.name).write_or_read(sql, parameters, changed)).await
    }
}

fn not_changed<T: Entity>() -> Error {
    let message = "no row has this key, or a trigger kept the row as it is";
    Error::not_found(format!("{} did not return the row: {message}", T::TABLE))
}
