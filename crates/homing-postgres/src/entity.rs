pub(crate) mod aggregate;
#[cfg(feature = "sea-query")]
pub(crate) mod built;
pub(crate) mod conflict;
pub(crate) mod parameters;
pub(crate) mod queries;

use tokio_postgres::types::ToSql;

use crate::error::{Error, Result};
use crate::statement::row::Row;

/// A struct that is stored as a row of a table. Implemented by `#[derive(Entity)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "not an entity",
    note = "write `#[derive(homing::Entity)]` above the struct"
)]
pub trait Entity: Sized + Send + 'static {
    /// The type of the key: that of the key's field, or a tuple where there are several.
    type Key: Send + Sync;

    /// The table; `schema.table` where it is not found by the search path.
    const TABLE: &'static str;

    /// The columns, in the order of the fields.
    const COLUMNS: &'static [&'static str];

    /// The columns of the key; each is one of [`COLUMNS`](Self::COLUMNS).
    const KEY: &'static [&'static str];

    /// The columns that the database computes: read with the others, never written by an update. Each is one of
    /// [`COLUMNS`](Self::COLUMNS), and none of [`KEY`](Self::KEY).
    const READ_ONLY: &'static [&'static str] = &[];

    /// Reads a row whose columns are [`COLUMNS`](Self::COLUMNS).
    ///
    /// # Errors
    ///
    /// [`is_decode`](crate::Error::is_decode) where a column is of another type than its field.
    fn from_row(row: &Row) -> Result<Self>;

    /// The values of a key, in the order of [`KEY`](Self::KEY).
    fn key_values(key: &Self::Key) -> Vec<&(dyn ToSql + Sync)>;

    /// The values of the fields, in the order of [`COLUMNS`](Self::COLUMNS).
    fn values(&self) -> Vec<&(dyn ToSql + Sync)>;
}

/// The columns to write for a new row: what the database fills in by itself is left out. Implemented by
/// `#[derive(Insert)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the columns of a new row",
    label = "does not implement `Insert`",
    note = "write `#[derive(homing::Insert)]` and `#[insert(into = …)]` above the struct"
)]
pub trait Insert: Sync {
    /// The stored row.
    type Entity: Entity;

    /// The columns to write, in the order of the fields. None at all stores a row of defaults.
    const COLUMNS: &'static [&'static str];

    /// The values of the fields, in the order of [`COLUMNS`](Self::COLUMNS).
    fn values(&self) -> Vec<&(dyn ToSql + Sync)>;
}

/// The error for a column that the entity does not have.
pub(crate) fn unknown_column<T: Entity>(unknown: &str) -> Error {
    Error::misuse(format!("{} has no column {unknown:?}: it has {}", T::TABLE, T::COLUMNS.join(", ")))
}

/// A reference to new columns is new columns: what takes them by value does not have to consume them.
impl<I: Insert> Insert for &I {
    type Entity = I::Entity;

    const COLUMNS: &'static [&'static str] = I::COLUMNS;

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        (**self).values()
    }
}
