//! [`Entity`], [`Insert`], [`FromRow`] and [`update::Update`], the structs that are rows, and the SQL of their calls.

pub(crate) mod aggregate;
#[cfg(feature = "sea-query")]
pub(crate) mod built;
pub(crate) mod conflict;
pub(crate) mod parameters;
pub(crate) mod queries;
pub(crate) mod update;

use tokio_postgres::types::ToSql;

use crate::error::{Error, Result};
use crate::statement::row::Row;

/// A struct that is read from the columns of a row, by their names. `#[derive(FromRow)]` implements it for the rows of
/// joins, aggregates and projections, `#[derive(Entity)]` for those of a table.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a row",
    label = "does not implement `FromRow`",
    note = "write `#[derive(homing::FromRow)]` above a struct with a field for each column"
)]
pub trait FromRow: Sized {
    /// Reads a row. Its columns may have any order, and there may be more of them than fields.
    ///
    /// # Errors
    ///
    /// [`is_decode`](crate::Error::is_decode) if the column of a field does not exist, if several columns have its name,
    /// or if its type or NULL does not fit the field.
    fn from_row(row: &Row) -> Result<Self>;
}

/// A struct that is stored as a row of a table. `#[derive(Entity)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "not an entity",
    note = "write `#[derive(homing::Entity)]` above the struct"
)]
pub trait Entity: FromRow + Send + 'static {
    /// The type of the key: the type of the key's field, or a tuple if the key has several fields.
    type Key: Send + Sync;

    /// The table, as `schema.table` if it is not on the search path.
    const TABLE: &'static str;

    /// The columns, in the order of the fields.
    const COLUMNS: &'static [&'static str];

    /// The columns of the key. Each is one of [`COLUMNS`](Self::COLUMNS).
    const KEY: &'static [&'static str];

    /// The columns that the database computes. They are read with the others, and an update does not write them. Each
    /// is one of [`COLUMNS`](Self::COLUMNS) and not one of [`KEY`](Self::KEY).
    const READ_ONLY: &'static [&'static str] = &[];

    /// The column that counts the changes of a row, if there is one: an integer that every update raises by one. An update
    /// or a deletion of an entity writes nothing if the stored row has another version. It is one of
    /// [`COLUMNS`](Self::COLUMNS), and neither one of [`KEY`](Self::KEY) nor of [`READ_ONLY`](Self::READ_ONLY).
    const VERSION: Option<&'static str> = None;

    /// Returns the values of a key, in the order of [`KEY`](Self::KEY).
    fn key_values(key: &Self::Key) -> Vec<&(dyn ToSql + Sync)>;

    /// Returns the values of the fields, in the order of [`COLUMNS`](Self::COLUMNS).
    fn values(&self) -> Vec<&(dyn ToSql + Sync)>;
}

/// A struct with the columns of a new row, without those that the database fills in. `#[derive(Insert)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the columns of a new row",
    label = "does not implement `Insert`",
    note = "write `#[derive(homing::Insert)]` and `#[insert(into = …)]` above the struct"
)]
pub trait Insert: Sync {
    /// The stored row.
    type Entity: Entity;

    /// The columns to write, in the order of the fields. An empty list stores a row of defaults.
    const COLUMNS: &'static [&'static str];

    /// Returns the values of the fields, in the order of [`COLUMNS`](Self::COLUMNS).
    fn values(&self) -> Vec<&(dyn ToSql + Sync)>;
}

/// Returns the error for a column that the entity does not have.
pub(crate) fn unknown_column<T: Entity>(unknown: &str) -> Error {
    Error::misuse(format!("{} has no column {unknown:?}: its columns are {}", T::TABLE, T::COLUMNS.join(", ")))
}

/// Refuses a column that an update cannot replace.
pub(crate) fn check_written<T: Entity>(name: &str) -> Result<()> {
    if T::KEY.contains(&name) {
        return Err(Error::misuse(format!("{name:?} is part of the key of {} and cannot be replaced", T::TABLE)));
    }
    if T::READ_ONLY.contains(&name) {
        return Err(Error::misuse(format!("{name:?} of {} is read only and cannot be replaced", T::TABLE)));
    }
    check_version::<T>(name)
}

/// Refuses the version, which every update counts.
pub(crate) fn check_version<T: Entity>(name: &str) -> Result<()> {
    if T::VERSION != Some(name) {
        return Ok(());
    }
    Err(Error::misuse(format!(
        "{name:?} is the version of {}, which each update counts, and cannot be replaced",
        T::TABLE
    )))
}

/// Lets calls that take the columns of a new row by value also take a reference.
impl<I: Insert> Insert for &I {
    type Entity = I::Entity;

    const COLUMNS: &'static [&'static str] = I::COLUMNS;

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        (**self).values()
    }
}
