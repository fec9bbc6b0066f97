//! [`Entity`], [`Insert`] and [`FromRow`], the structs that are rows, and the SQL of their calls.

pub(crate) mod aggregate;
#[cfg(feature = "sea-query")]
pub(crate) mod built;
pub(crate) mod conflict;
pub(crate) mod parameters;
pub(crate) mod queries;

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

/// Lets calls that take the columns of a new row by value also take a reference.
impl<I: Insert> Insert for &I {
    type Entity = I::Entity;

    const COLUMNS: &'static [&'static str] = I::COLUMNS;

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        (**self).values()
    }
}
