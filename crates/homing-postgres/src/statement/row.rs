//! [`Row`], a row of a local or a forwarded result.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::types::FromSql;

use super::columns::{Column, Columns, place};
use super::values;
use super::values::Raw;
use crate::error::{Error, Result};

/// A row of a result.
///
/// A value is decoded when it is read, as any type that implements [`FromSql`]. It makes no difference whether the local
/// replica or the primary answered.
#[derive(Clone)]
pub struct Row {
    columns: Arc<Columns>,
    values: Values,
}

/// The values of a row. A local row stays as the driver returned it, so no value is copied before it is read.
#[derive(Clone)]
enum Values {
    Local(Arc<tokio_postgres::Row>),
    Forwarded(Arc<[Option<Bytes>]>),
}

impl Row {
    pub(crate) fn local(columns: &Arc<Columns>, row: tokio_postgres::Row) -> Self {
        Self { columns: Arc::clone(columns), values: Values::Local(Arc::new(row)) }
    }

    /// The rows that another node sent, each a list of values.
    pub(crate) fn all_forwarded(columns: &Arc<Columns>, lists: Vec<Bytes>) -> Result<Vec<Self>> {
        lists.into_iter().map(|list| Self::forwarded(columns, list)).collect()
    }

    fn forwarded(columns: &Arc<Columns>, list: Bytes) -> Result<Self> {
        let values = values::split(list, columns.len())
            .ok_or_else(|| Error::decode("the primary sent a row that is not a list of that many values"))?;
        Ok(Self { columns: Arc::clone(columns), values: Values::Forwarded(values.into()) })
    }

    /// Returns the columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn shared_columns(&self) -> &Columns {
        &self.columns
    }

    /// Returns the number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Returns whether the row has no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns the value of a column, by index (from zero) or by name. NULL can be read as an `Option`.
    ///
    /// # Panics
    ///
    /// Panics if the column does not exist, if several columns have the name, or if the value cannot be read as a `T`. Use [`try_get`](Self::try_get) if the
    /// statement is not your own.
    #[track_caller]
    pub fn get<'a, I, T>(&'a self, column: I) -> T
    where
        I: RowIndex,
        T: FromSql<'a>,
    {
        match self.try_get(column) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the value of a column, by index (from zero) or by name. NULL can be read as an `Option`.
    ///
    /// # Errors
    ///
    /// [`is_decode`](Error::is_decode) if the column does not exist, if several columns have the name, if the type cannot
    /// be read as a `T`, or if the value is NULL and `T` is not an `Option`.
    pub fn try_get<'a, I, T>(&'a self, column: I) -> Result<T>
    where
        I: RowIndex,
        T: FromSql<'a>,
    {
        let index = column.index(&self.columns)?;
        let described = &self.columns[index];
        if !T::accepts(described.type_()) {
            return Err(Error::decode(format!(
                "column {:?} has PostgreSQL's type {}, which cannot be read as {}",
                described.name(),
                described.type_(),
                std::any::type_name::<T>()
            )));
        }
        let bytes = self.bytes(index);
        T::from_sql_nullable(described.type_(), bytes).map_err(|error| {
            let (name, ty) = (described.name(), described.type_());
            let wanted = std::any::type_name::<T>();
            let message = match bytes {
                Some(_) => format!("column {name:?} of type {ty} cannot be read as {wanted}"),
                None => format!("column {name:?} is NULL, which cannot be read as {wanted}: read it as an Option"),
            };
            Error::decode(message).with_source(error)
        })
    }

    fn bytes(&self, index: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Local(row) => row.get::<_, Raw<'_>>(index).0,
            Values::Forwarded(values) => values[index].as_deref(),
        }
    }
}

impl fmt::Debug for Row {
    /// Shows the names and types, but never the values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// The index or the name of a column.
///
/// The trait is sealed: it is implemented for `usize` and `&str` only.
pub trait RowIndex: private::Sealed {
    /// Returns the index of the column.
    ///
    /// # Errors
    ///
    /// [`is_decode`](Error::is_decode) if the column does not exist, or if several columns have the name.
    fn index(&self, columns: &[Column]) -> Result<usize>;
}

impl RowIndex for usize {
    fn index(&self, columns: &[Column]) -> Result<usize> {
        if *self < columns.len() {
            return Ok(*self);
        }
        Err(Error::decode(format!("column {self} does not exist: the row has {} columns", columns.len())))
    }
}

impl RowIndex for &str {
    fn index(&self, columns: &[Column]) -> Result<usize> {
        place(columns, self).map_err(Error::decode)
    }
}

mod private {
    #[expect(unnameable_types, reason = "a trait that cannot be named is sealed")]
    pub trait Sealed {}
    impl Sealed for usize {}
    impl Sealed for &str {}
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::*;

    fn row() -> Row {
        let columns = [Column::new("id", Type::INT8), Column::new("name", Type::TEXT)];
        let list = values::encode(&[&7_i64, &Option::<&str>::None], &[Type::INT8, Type::TEXT]);
        Row::forwarded(&Arc::new(columns.into_iter().collect()), list.unwrap()).unwrap()
    }

    #[test]
    fn values_are_found_by_index_and_name() {
        assert_eq!(row().get::<_, i64>(0), 7);
        assert_eq!(row().get::<_, Option<String>>("name"), None);
    }

    #[test]
    fn mistakes_name_the_columns() {
        let message = |error: Error| {
            assert!(error.is_decode());
            error.to_string()
        };
        assert_eq!(message(row().try_get::<_, i64>(2).unwrap_err()), "column 2 does not exist: the row has 2 columns");
        assert_eq!(
            message(row().try_get::<_, i64>("age").unwrap_err()),
            "column \"age\" does not exist: the row has id, name"
        );
        assert_eq!(
            message(row().try_get::<_, i32>(0).unwrap_err()),
            "column \"id\" has PostgreSQL's type int8, which cannot be read as i32"
        );
        assert_eq!(
            message(row().try_get::<_, &str>(1).unwrap_err()),
            "column \"name\" is NULL, which cannot be read as &str: read it as an Option"
        );
    }

    #[test]
    fn name_of_two_columns_is_refused() {
        let columns = ["id", "name", "id"].map(|name| Column::new(name, Type::INT8));
        assert_eq!("name".index(&columns).unwrap(), 1);
        assert_eq!(
            "id".index(&columns).unwrap_err().to_string(),
            "column \"id\" is there more than once, so give each a name of its own (AS): the row has id, name, id"
        );
    }

    #[test]
    fn debug_hides_the_values() {
        assert!(!format!("{:?}", row()).contains('7'));
    }
}
