//! Calls with entities.

use tokio_postgres::types::ToSql;

use super::Repo;
use super::raw::at_most_one;
use super::statement::Parameters;
use super::write::Output;
use crate::entity::unknown_column;
use crate::entity::{Entity, Insert, queries};
use crate::error::{Error, Result};
use crate::primary::Effect;
use crate::statement::row::Row;
use crate::statement::values::MAX_PARAMETERS;

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
        self.read("reload", &sql, &key_of(entity), Effect::Reads, the_one).await
    }

    /// The row of that key.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn get<T: Entity>(&self, key: T::Key) -> Result<Option<T>> {
        let sql = queries::select_by::<T>(T::KEY);
        self.read("get", &sql, &T::key_values(&key), Effect::Reads, one_or_none).await
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
        self.read("get_by", &queries::select_by::<T>(&names), &values, Effect::Reads, one_or_none).await
    }

    /// The one row that `suffix` leaves.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is none, [`is_too_many_rows`](Error::is_too_many_rows) if there
    /// are several. See [`Error`] for the others.
    pub async fn one<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<T> {
        self.read("one", &queries::select::<T>(suffix), parameters, Effect::Writes, the_one).await
    }

    /// The rows that `suffix` leaves; empty for all.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn all<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<Vec<T>> {
        self.read("all", &queries::select::<T>(suffix), parameters, Effect::Writes, all_of).await
    }

    /// Whether `suffix` leaves a row.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn exists<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<bool> {
        self.read("exists", &queries::exists::<T>(suffix), parameters, Effect::Writes, scalar).await
    }

    /// How many rows `suffix` leaves.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn count<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<i64> {
        self.read("count", &queries::count::<T>(suffix), parameters, Effect::Writes, scalar).await
    }
}

/// Chunks whose sizes are powers of two: a statement is prepared for each size, and there are few of them.
pub(super) fn chunks<I: Insert>(mut rows: &[I]) -> Vec<&[I]> {
    let most = match I::COLUMNS.len() {
        // `default values` stores one row.
        0 => 1,
        columns => (MAX_PARAMETERS / columns).clamp(1, MAX_ROWS),
    };
    let mut chunks = Vec::new();
    while !rows.is_empty() {
        let size = 1 << rows.len().min(most).ilog2();
        let (chunk, rest) = rows.split_at(size);
        chunks.push(chunk);
        rows = rest;
    }
    chunks
}

pub(super) fn key_of<T: Entity>(entity: &T) -> Vec<&(dyn ToSql + Sync)> {
    let values = entity.values();
    let index = |name: &&str| T::COLUMNS.iter().position(|column| column == name).expect("a key's column is a column");
    T::KEY.iter().map(|name| values[index(name)]).collect()
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

/// Beyond this a statement gains nothing by being longer.
const MAX_ROWS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    struct Wide;

    impl Entity for Wide {
        type Key = i32;
        const TABLE: &'static str = "wide";
        const COLUMNS: &'static [&'static str] = &["id"];
        const KEY: &'static [&'static str] = &["id"];

        fn from_row(_: &Row) -> Result<Self> {
            Ok(Self)
        }

        fn key_values(key: &i32) -> Vec<&(dyn ToSql + Sync)> {
            vec![key]
        }

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    struct NewWide<const COLUMNS: usize>;

    impl<const COLUMNS: usize> Insert for NewWide<COLUMNS> {
        type Entity = Wide;
        const COLUMNS: &'static [&'static str] = [""; 1600].split_at(COLUMNS).0;

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    fn sizes<const COLUMNS: usize>(rows: usize) -> Vec<usize> {
        let rows: Vec<_> = (0..rows).map(|_| NewWide::<COLUMNS>).collect();
        chunks(&rows).iter().map(|chunk| chunk.len()).collect()
    }

    #[test]
    fn chunks_are_powers_of_two_that_fit_into_a_message() {
        assert_eq!(sizes::<2>(1), [1]);
        assert_eq!(sizes::<2>(1000), [512, 256, 128, 64, 32, 8]);
        assert_eq!(sizes::<2>(2050), [1024, 1024, 2]);
        assert_eq!(sizes::<1600>(50), [32, 16, 2]);
        assert_eq!(sizes::<0>(3), [1, 1, 1]);
    }
}
