//! Calls with entities.

use tokio_postgres::types::ToSql;

use super::Repo;
use crate::engine::execute::{Output, Parameters, only};
use crate::entity::parameters::{chunks, key_of};
use crate::entity::{Entity, Insert, queries, unknown_column};
use crate::error::{Error, Result};
use crate::reading::plan::OnLocalPrimary;
use crate::reading::query::RowsRequest;
use crate::reading::reader::Reader;
use crate::statement::kind::Writes;
use crate::statement::row::Row;
use crate::statement::{sql, values};
use crate::transaction::statements::run;
use crate::writing::writer::Writer;

/// # Entities
///
/// Writes return the row as it is stored, with what the database filled in. Reads take SQL that follows the table:
/// `repo.all::<User>("where age > $1 order by name", &[&18])`.
impl Repo {
    /// Stores a new row.
    ///
    /// ```no_run
    /// # use homing_postgres::{Entity, Insert, Repo, Result};
    /// # async fn example<User: Entity, NewUser: Insert<Entity = User>>(repo: Repo, new: NewUser) -> Result<()> {
    /// let user: User = repo.insert(&new).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn insert<I: Insert>(&self, new: &I) -> Result<I::Entity> {
        let sql = queries::insert::<I>(1);
        self.write("insert", &sql, &new.values(), |output| stored(&output)?.ok_or_else(not_stored::<I::Entity>)).await
    }

    /// Stores new rows, all or none, in one transaction and one round trip.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn insert_all<I: Insert>(&self, new: &[I]) -> Result<Vec<I::Entity>> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let chunks = chunks(new);
        let statements: Vec<(String, Vec<&(dyn ToSql + Sync)>)> = chunks
            .iter()
            .map(|chunk| (queries::insert::<I>(chunk.len()), chunk.iter().flat_map(Insert::values).collect()))
            .collect();
        let statements: Vec<(&str, &Parameters<'_>)> =
            statements.iter().map(|(sql, values)| (sql.as_str(), values.as_slice())).collect();
        self.write_all("insert_all", &statements, |outputs| {
            outputs.iter().flat_map(|output| &output.rows).map(I::Entity::from_row).collect()
        })
        .await
    }

    /// Stores all fields of a row that exists, except those that are read only. Returns it as it is stored now.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is no row of that key. See [`Error`] for the others.
    pub async fn update<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let (sql, parameters) = queries::update::<T>();
        let values = entity.values();
        let parameters: Vec<_> = parameters.into_iter().map(|index| values[index]).collect();
        self.write("update", &sql, &parameters, |output| stored(&output)?.ok_or_else(missing::<T>)).await
    }

    /// Deletes a row. Returns it as it was.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is no row of that key. See [`Error`] for the others.
    pub async fn delete<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let sql = queries::delete::<T>();
        self.write("delete", &sql, &key_of(entity), |output| stored(&output)?.ok_or_else(missing::<T>)).await
    }

    /// The row as it is stored now.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is no row of that key any more. See [`Error`] for the others.
    pub async fn reload<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let sql = queries::select_by::<T>(T::KEY);
        self.read("reload", &sql, &key_of(entity), Writes::No, the_one).await
    }

    /// The row of that key.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn get<T: Entity>(&self, key: T::Key) -> Result<Option<T>> {
        let sql = queries::select_by::<T>(T::KEY);
        self.read("get", &sql, &T::key_values(&key), Writes::No, one_or_none).await
    }

    /// The row whose columns have these values: `repo.get_by::<User>(&[("name", &"Ada")])`. A value is compared with
    /// `=`, so NULL never matches.
    ///
    /// # Errors
    ///
    /// [`is_too_many_rows`](Error::is_too_many_rows) if there are several; misuse if a column is none of the entity's,
    /// or none is given. See [`Error`] for the others.
    pub async fn get_by<T: Entity>(&self, columns: &[(&str, &(dyn ToSql + Sync))]) -> Result<Option<T>> {
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = names.iter().find(|name| !T::COLUMNS.contains(name)) {
            return Err(unknown_column::<T>(unknown));
        }
        if names.is_empty() {
            return Err(Error::misuse("get_by needs a column: use one or all for any row"));
        }
        let values: Vec<_> = columns.iter().map(|(_, value)| *value).collect();
        self.read("get_by", &queries::select_by::<T>(&names), &values, Writes::No, one_or_none).await
    }

    /// The one row that `suffix` leaves.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is none, [`is_too_many_rows`](Error::is_too_many_rows) if there
    /// are several. See [`Error`] for the others.
    pub async fn one<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<T> {
        self.read("one", &queries::select::<T>(suffix), parameters, Writes::Yes, the_one).await
    }

    /// The rows that `suffix` leaves; empty for all.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn all<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<Vec<T>> {
        self.read("all", &queries::select::<T>(suffix), parameters, Writes::Yes, all_of).await
    }

    /// Whether `suffix` leaves a row.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn exists<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<bool> {
        self.read("exists", &queries::exists::<T>(suffix), parameters, Writes::Yes, scalar).await
    }

    /// How many rows `suffix` leaves.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn count<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<i64> {
        self.read("count", &queries::count::<T>(suffix), parameters, Writes::Yes, scalar).await
    }
}

impl Repo {
    /// Runs a statement that only reads, and makes of its rows what the caller asked for. With SQL of the application's own
    /// in it that is only probable: then it is sent once, like a write.
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        writes: Writes,
        read: impl FnOnce(Vec<Row>) -> Result<T>,
    ) -> Result<T> {
        let engine = &self.engine;
        if let Some(handle) = &self.transaction {
            let statements = &[(sql, parameters)][..];
            let read = |outputs| read(only(outputs).rows);
            return Box::pin(run(engine, handle, operation, statements, Writes::Maybe, read)).await;
        }
        let runs_on = sql::destination(sql)?;
        values::check_parameter_count(parameters.len())?;
        let mut request = RowsRequest::new(operation, sql, parameters, writes, read);
        let read = Reader::new(engine, runs_on, OnLocalPrimary::Read).read(operation, &mut request);
        engine.reported(operation, read).await
    }

    /// Runs one statement that writes, and makes of its output what the caller asked for.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<T> {
        self.write_all(operation, &[(sql, parameters)], |outputs| read(only(outputs))).await
    }

    /// Runs statements that write, in one transaction.
    pub(super) async fn write_all<T: Send + 'static>(
        &self,
        operation: &'static str,
        statements: &[(&str, &Parameters<'_>)],
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Result<T> {
        let engine = &self.engine;
        if let Some(handle) = &self.transaction {
            return Box::pin(run(engine, handle, operation, statements, Writes::Yes, read)).await;
        }
        engine.reported(operation, Writer::new(engine, operation).write(statements, read)).await
    }
}

pub(super) fn stored<T: Entity>(output: &Output) -> Result<Option<T>> {
    output.rows.first().map(T::from_row).transpose()
}

pub(super) fn not_stored<T: Entity>() -> Error {
    Error::not_found(format!("a trigger kept {} from storing the row", T::TABLE))
}

pub(super) fn missing<T: Entity>() -> Error {
    Error::not_found(format!("{} has no such row", T::TABLE))
}

/// The one entity that there has to be.
pub(super) fn the_one<T: Entity>(rows: Vec<Row>) -> Result<T> {
    T::from_row(&at_most_one(rows)?.ok_or_else(missing::<T>)?)
}

/// The one entity, if there is one.
pub(super) fn one_or_none<T: Entity>(rows: Vec<Row>) -> Result<Option<T>> {
    at_most_one(rows)?.as_ref().map(T::from_row).transpose()
}

pub(super) fn all_of<T: Entity>(rows: Vec<Row>) -> Result<Vec<T>> {
    rows.iter().map(T::from_row).collect()
}

pub(super) fn scalar<T>(rows: Vec<Row>) -> Result<T>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    rows.first().ok_or_else(|| Error::decode("the statement returned no row"))?.try_get(0)
}

/// The only row.
pub(super) fn at_most_one(mut rows: Vec<Row>) -> Result<Option<Row>> {
    let row = rows.pop();
    if rows.is_empty() {
        return Ok(row);
    }
    Err(Error::too_many_rows("there are several rows where at most one was asked for"))
}
