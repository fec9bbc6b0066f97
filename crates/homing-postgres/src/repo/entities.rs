//! Calls with entities.

use tokio_postgres::types::ToSql;

use super::Repo;
use crate::engine::execute::{Output, Parameters, all_rows, only};
use crate::engine::operation::Operation;
use crate::entity::parameters::{chunks, key_of};
use crate::entity::{Entity, FromRow, Insert, queries, unknown_column};
use crate::error::{Error, Result};
use crate::reading::plan::OnLocalPrimary;
use crate::reading::reader::Reader;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::row::Row;
use crate::statement::{sql, values};
use crate::transaction::statements::run;
use crate::writing::rows::RowsRequest;
use crate::writing::writer::Writer;

/// # Entities
///
/// Writes return the row as it is stored, with the values that the database filled in. Reads take the SQL that follows
/// the table name: `repo.all::<User>("where age > $1 order by name", &[&18])`.
impl Repo {
    /// Stores a new row, and returns it as it is stored.
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
    /// Any of the [four fates](Error). If a trigger or a rule kept the row from being stored,
    /// [`is_not_found`](Error::is_not_found) and [`is_committed`](Error::is_committed) hold: what the trigger did instead
    /// is committed.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn insert<I: Insert>(&self, new: &I) -> Result<I::Entity> {
        let sql = queries::insert::<I>(1);
        self.write(Operation::on::<I::Entity>("insert"), &sql, &new.values(), |output| {
            stored(&output)?.ok_or_else(not_stored::<I::Entity>)
        })
        .await
    }

    /// Stores new rows, all or none, in one transaction and one round trip. Returns them as they are stored.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error). If a trigger or a rule kept some of the rows from being stored,
    /// [`is_committed`](Error::is_committed) holds: the others are committed, with what the trigger did instead, and
    /// [`take_value`](Error::take_value) returns them.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
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
        self.write_all(Operation::on::<I::Entity>("insert_all"), &statements, |outputs| {
            all_stored(&all_rows(outputs), new.len())
        })
        .await
    }

    /// Reads a row again, and returns it as it is stored now.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); [`is_not_found`](Error::is_not_found) if the table no longer has a row with that
    /// key.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn reload<T: Entity + Sync>(&self, entity: &T) -> Result<T> {
        let sql = queries::select_by::<T>(T::KEY);
        self.read(Operation::on::<T>("reload"), &sql, &key_of(entity), Writes::No, the_one).await
    }

    /// Returns the row with that key, or `None` if the table has no such row.
    ///
    /// # Errors
    ///
    /// - [`is_not_sent`](Error::is_not_sent) if no database answered.
    /// - [`is_rejected`](Error::is_rejected) if PostgreSQL refuses the statement, and [`is_decode`](Error::is_decode)
    ///   if a column is not of its field's type.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn get<T: Entity>(&self, key: T::Key) -> Result<Option<T>> {
        let sql = queries::select_by::<T>(T::KEY);
        self.read(Operation::on::<T>("get"), &sql, &T::key_values(&key), Writes::No, one_or_none).await
    }

    /// Returns the row whose columns have these values: `repo.get_by::<User>(&[("name", &"Ada")])`.
    ///
    /// Values are compared with `=`, so NULL never matches.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); [`is_too_many_rows`](Error::is_too_many_rows) if several rows match;
    /// [`is_misuse`](Error::is_misuse) if the entity does not have one of the columns, or if `columns` is empty.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn get_by<T: Entity>(&self, columns: &[(&str, &(dyn ToSql + Sync))]) -> Result<Option<T>> {
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = names.iter().find(|name| !T::COLUMNS.contains(name)) {
            return Err(unknown_column::<T>(unknown));
        }
        if names.is_empty() {
            return Err(Error::misuse("get_by needs a column: use one or all for any row"));
        }
        let values: Vec<_> = columns.iter().map(|(_, value)| *value).collect();
        self.read(Operation::on::<T>("get_by"), &queries::select_by::<T>(&names), &values, Writes::No, one_or_none)
            .await
    }

    /// Returns the one row that `suffix` selects.
    ///
    /// # Errors
    ///
    /// Those of [`all`](Self::all); [`is_not_found`](Error::is_not_found) if `suffix` selects no row,
    /// [`is_too_many_rows`](Error::is_too_many_rows) if it selects several.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn one<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<T> {
        self.read(Operation::on::<T>("one"), &queries::select::<T>(suffix), parameters, Writes::Yes, the_one).await
    }

    /// Returns the rows that `suffix` selects; an empty `suffix` selects all rows.
    ///
    /// # Errors
    ///
    /// - [`is_not_sent`](Error::is_not_sent) if no database could answer, and [`is_misuse`](Error::is_misuse) if a
    ///   parameter does not fit or a pooled connection cannot keep the statement.
    /// - [`is_rejected`](Error::is_rejected) if PostgreSQL refuses the statement, and [`is_decode`](Error::is_decode)
    ///   if a column is not of its field's type.
    /// - Any of the [four fates](Error) if `suffix` calls a volatile function: the statement is a write then.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn all<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<Vec<T>> {
        self.read(Operation::on::<T>("all"), &queries::select::<T>(suffix), parameters, Writes::Yes, all_of).await
    }

    /// Returns whether `suffix` selects a row.
    ///
    /// # Errors
    ///
    /// Those of [`all`](Self::all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn exists<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<bool> {
        self.read(Operation::on::<T>("exists"), &queries::exists::<T>(suffix), parameters, Writes::Yes, scalar).await
    }

    /// Returns how many rows `suffix` selects.
    ///
    /// # Errors
    ///
    /// Those of [`all`](Self::all).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn count<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<i64> {
        self.read(Operation::on::<T>("count"), &queries::count::<T>(suffix), parameters, Writes::Yes, scalar).await
    }
}

impl Repo {
    /// Runs a statement that reads, and decodes its rows with `read`. A statement with SQL of the application may write
    /// after all: `writes` says so, and it is sent to the primary once, like a write.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        operation: Operation<'_>,
        sql: &str,
        parameters: &Parameters<'_>,
        writes: Writes,
        read: impl FnOnce(Vec<Row>) -> Result<T> + Send,
    ) -> Result<T> {
        let (engine, operation) = (&self.engine, operation.with_sql(sql));
        if let Some(handle) = &self.transaction {
            let statements = &[(sql, parameters)][..];
            let read = |outputs| read(only(outputs).rows);
            return Box::pin(run(engine, handle, operation, statements, Writes::Maybe, read)).await;
        }
        self.read_or_write(operation, sql, parameters, writes, OnLocalPrimary::Read, |output| read(output.rows)).await
    }

    /// Runs a statement that reads as far as its words tell, and decodes its output with `read`.
    pub(super) async fn read_or_write<T: Send + 'static>(
        &self,
        operation: Operation<'_>,
        sql: &str,
        parameters: &Parameters<'_>,
        writes: Writes,
        on_local_primary: OnLocalPrimary,
        read: impl FnOnce(Output) -> Result<T> + Send,
    ) -> Result<T> {
        let engine = &self.engine;
        let runs_on = match check(sql, parameters).map_err(|error| operation.locate(error))? {
            RunsOn::Any if engine.descriptions().writes(sql) != Writes::Yes => RunsOn::Any,
            _ => RunsOn::Primary,
        };
        let mut request = RowsRequest::new(operation.name, sql, parameters, writes, on_local_primary, read);
        let read = Reader::new(engine, runs_on, on_local_primary).read(operation.name, &mut request);
        engine.reported(operation, read).await
    }

    /// Runs one statement that writes, and decodes its output with `read`.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: Operation<'_>,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T> + Send,
    ) -> Result<T> {
        self.write_all(operation, &[(sql, parameters)], |outputs| read(only(outputs))).await
    }

    /// Runs statements that write in one transaction, and decodes their outputs with `read`.
    pub(super) async fn write_all<T: Send + 'static>(
        &self,
        operation: Operation<'_>,
        statements: &[(&str, &Parameters<'_>)],
        read: impl FnOnce(Vec<Output>) -> Result<T> + Send,
    ) -> Result<T> {
        let (engine, operation) = (&self.engine, operation.with_sql(statements.first().map_or("", |(sql, _)| *sql)));
        if let Some(handle) = &self.transaction {
            return Box::pin(run(engine, handle, operation, statements, Writes::Yes, read)).await;
        }
        engine.reported(operation, Writer::new(engine, operation.name).write(statements, read)).await
    }
}

/// Returns where a statement runs. Refuses what no server can run.
pub(super) fn check(sql: &str, parameters: &Parameters<'_>) -> Result<RunsOn> {
    values::check_parameter_count(parameters.len())?;
    sql::destination(sql)
}

pub(super) fn stored<T: Entity>(output: &Output) -> Result<Option<T>> {
    output.rows.first().map(T::from_row).transpose()
}

pub(super) fn not_stored<T: Entity>() -> Error {
    let message = "a trigger or a rule kept the row from being stored there, and may have stored it elsewhere";
    Error::not_found(format!("{} did not return the row: {message}", T::TABLE))
}

fn missing<T: Entity>() -> Error {
    Error::not_found(format!("{} has no row that matches", T::TABLE))
}

/// Decodes the only row, which has to exist.
pub(super) fn the_one<T: Entity>(rows: Vec<Row>) -> Result<T> {
    T::from_row(&at_most_one(rows)?.ok_or_else(missing::<T>)?)
}

/// Decodes the only row, if there is one.
pub(super) fn one_or_none<T: FromRow>(rows: Vec<Row>) -> Result<Option<T>> {
    at_most_one(rows)?.as_ref().map(T::from_row).transpose()
}

/// Decodes the only row of a statement of the application.
pub(super) fn only_one<T: FromRow>(rows: Vec<Row>) -> Result<T> {
    one_or_none(rows)?.ok_or_else(|| Error::not_found("the statement returned no row"))
}

pub(super) fn all_of<T: FromRow>(rows: Vec<Row>) -> Result<Vec<T>> {
    rows.iter().map(T::from_row).collect()
}

/// Decodes the stored rows, which have to be as many as were given.
pub(super) fn all_stored<T: Entity>(rows: &[Row], given: usize) -> Result<Vec<T>> {
    let stored: Vec<T> = rows.iter().map(T::from_row).collect::<Result<_>>()?;
    if stored.len() == given {
        return Ok(stored);
    }
    let message = format!(
        "{} returned {} rows for the {given} that were given: a trigger or a rule kept rows from being stored there, and \
         may have stored them elsewhere",
        T::TABLE,
        stored.len()
    );
    Err(Error::rejected(message).with_value(stored))
}

pub(super) fn scalar<T>(rows: Vec<Row>) -> Result<T>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    rows.first().ok_or_else(|| Error::decode("the statement returned no row"))?.try_get(0)
}

/// Returns the only row, or `None` if there are no rows.
pub(super) fn at_most_one(mut rows: Vec<Row>) -> Result<Option<Row>> {
    let row = rows.pop();
    if rows.is_empty() {
        return Ok(row);
    }
    Err(Error::too_many_rows(format!("the statement returned {} rows, but at most one was expected", rows.len() + 1)))
}
