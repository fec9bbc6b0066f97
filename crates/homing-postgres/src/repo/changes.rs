//! Calls that change one row.

use homing_proto::v1 as proto;
use tokio::time::Instant;

use super::Repo;
use super::entities::stored;
use crate::engine::Engine;
use crate::engine::execute::{Output, Parameters, Statements, only};
use crate::engine::operation::Operation;
use crate::entity::parameters::identity_of;
use crate::entity::update::{self, Update, outdated};
use crate::entity::{Entity, queries};
use crate::error::{Error, Result};
use crate::reading::on_primary::read_from_primary;
use crate::statement::description::StatementDescription;
use crate::statement::kind::Writes;
use crate::statement::values;
use crate::transaction::statements::run;
use crate::writing::writer::Writer;

/// # Changes of one row
///
/// [`update`](Self::update) writes all columns as they were read, perhaps from a replica that lags. So it takes back what
/// other callers have changed since. [`update_columns`](Self::update_columns) writes the given columns only.
///
/// If the entity has a *version* (`#[entity(version)]`), a call with an outdated entity fails with
/// [`is_outdated`](Error::is_outdated), and writes nothing. All entity calls that change rows add one to the version. SQL
/// of your own has to do that itself.
impl Repo {
    /// Stores all fields of an existing row, except read-only ones. Returns the row as it is stored afterwards.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error); [`is_not_found`](Error::is_not_found) if the table has no row with that key,
    /// [`is_outdated`](Error::is_outdated) if the stored row has another version than the entity. If a trigger or a rule
    /// kept the row as it is, [`is_not_found`](Error::is_not_found) holds too. What the trigger did instead is rolled back
    /// if the call compares a version; otherwise it is committed, and [`is_committed`](Error::is_committed) says so.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn update<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let (sql, parameters) = queries::update::<T>();
        let values = entity.values();
        let parameters: Vec<_> = parameters.into_iter().map(|index| values[index]).collect();
        let identity = T::VERSION.map(|_| identity_of(entity));
        self.change_row(Operation::on::<T>("update"), &sql, &parameters, identity.as_deref()).await
    }

    /// Stores the given columns of the row with a key, and leaves its other columns as they are. Returns the row as it is
    /// stored afterwards. If there is nothing to store, the row stays unchanged.
    ///
    /// ```no_run
    /// # use homing_postgres::{Entity, Repo, Result, Update};
    /// # async fn example<User: Entity<Key = i64>, EditUser: Update<Entity = User>>(repo: Repo, edit: EditUser) -> Result<()> {
    /// let user: User = repo.update_columns(7, &edit).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`update`](Self::update); [`is_misuse`](Error::is_misuse), before anything is sent, if a column is part of
    /// the key, read only or the version, or if a version is given and the entity has none.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn update_columns<U: Update>(&self, key: <U::Entity as Entity>::Key, update: &U) -> Result<U::Entity> {
        let (sql, parameters) = (update::statement(update)?, update::parameters(&key, update));
        let identity = update.version().map(|version| {
            let mut identity = U::Entity::key_values(&key);
            identity.push(version);
            identity
        });
        self.change_row(Operation::on::<U::Entity>("update_columns"), &sql, &parameters, identity.as_deref()).await
    }

    /// Deletes a row, and returns it as it was stored.
    ///
    /// # Errors
    ///
    /// Those of [`update`](Self::update).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn delete<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let sql = queries::delete::<T>();
        let parameters = identity_of(entity);
        let identity = T::VERSION.map(|_| &*parameters);
        self.change_row(Operation::on::<T>("delete"), &sql, &parameters, identity).await
    }

    /// Runs a statement that changes the row with one key. `identity` is the key and the version that the row has to have,
    /// if it has to have one.
    async fn change_row<T: Entity>(
        &self,
        operation: Operation<'_>,
        sql: &str,
        parameters: &Parameters<'_>,
        identity: Option<&Parameters<'_>>,
    ) -> Result<T> {
        let (engine, operation) = (&self.engine, operation.with_sql(sql));
        let writer = Writer::new(engine, operation.name);
        match (&self.transaction, identity) {
            (None, None) => {
                // If there is no such row, PostgreSQL says whether anything else was written, by a trigger.
                let changed = writer.write_or_read(sql, parameters, |output| changed(&output));
                engine.reported(operation, changed).await
            }
            (None, Some(identity)) => {
                let change = async {
                    let (started, deadline) = (Instant::now(), engine.deadline());
                    match writer.write(&OneRow { sql, parameters }, |outputs| changed(&only(outputs))).await {
                        Err(error) if error.is_not_found() => {
                            let engine = Engine { until: Some(deadline), ..engine.clone() };
                            Err(why_not_changed::<T>(&engine, operation.name, started, identity).await)
                        }
                        answered => answered,
                    }
                };
                engine.reported(operation, change).await
            }
            (Some(_), None) => self.write(operation, sql, parameters, |output| changed(&output)).await,
            (Some(handle), Some(identity)) => {
                let why = queries::has_version::<T>();
                let statements = [(sql, parameters), (&*why, identity)];
                let read = |outputs: Vec<Output>| match changed(&outputs[0]) {
                    Err(error) if error.is_not_found() => Err(explained::<T>(&outputs[1])),
                    changed => changed,
                };
                Box::pin(run(engine, handle, operation, &statements[..], Writes::Yes, read)).await
            }
        }
    }
}

/// A statement that is rolled back unless it changes one row.
struct OneRow<'a> {
    sql: &'a str,
    parameters: &'a Parameters<'a>,
}

impl Statements for OneRow<'_> {
    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.sql)
    }

    fn encode(&self, descriptions: &[StatementDescription]) -> Result<Vec<proto::Statement>> {
        let encode = |description: &StatementDescription| {
            let parameters = values::encode(self.parameters, &description.parameters)?;
            Ok(description.statement_of_rows(self.sql, parameters, 1))
        };
        descriptions.iter().map(encode).collect()
    }
}

fn changed<T: Entity>(output: &Output) -> Result<T> {
    stored(output)?.ok_or_else(not_changed::<T>)
}

/// Asks the primary why a change, which was rolled back, found no row with its key and version.
async fn why_not_changed<T: Entity>(
    engine: &Engine,
    operation: &'static str,
    started: Instant,
    identity: &Parameters<'_>,
) -> Error {
    let sql = queries::has_version::<T>();
    let read = read_from_primary(engine, operation, started, &sql, identity).await;
    match read.and_then(|read| read.value) {
        Ok(row) => explained::<T>(&row),
        Err(unexplained) => outdated::<T>().with_source(unexplained),
    }
}

/// Returns why a change found no row with its key and version. `row` says whether the row with the key has the version.
fn explained<T: Entity>(row: &Output) -> Error {
    match row.rows.first().map(|row| row.try_get::<_, Option<bool>>(0)) {
        Some(Ok(Some(false) | None)) => outdated::<T>(),
        Some(Err(error)) => error,
        // A trigger kept the row, or it does not exist.
        Some(Ok(Some(true))) | None => not_changed::<T>(),
    }
}

fn not_changed<T: Entity>() -> Error {
    let message = "no row has this key, or a trigger kept the row as it is";
    Error::not_found(format!("{} did not return the row: {message}", T::TABLE))
}
