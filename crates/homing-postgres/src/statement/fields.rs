//! [`Fields`], the columns of a row that are the fields of a struct.

use std::borrow::Cow;

use tokio_postgres::types::FromSql;

use super::row::Row;
use crate::error::{Error, Result};

/// The columns of a row that are the fields of a struct, in the order of the fields. The derive macros read with it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Fields<'a> {
    row: &'a Row,
    /// The name of the struct.
    of: &'static str,
    places: Cow<'a, [usize]>,
}

impl<'a> Fields<'a> {
    /// Finds the columns with these names.
    ///
    /// # Errors
    ///
    /// [`is_decode`](Error::is_decode) if a column does not exist, or if several columns have its name.
    pub fn of(row: &'a Row, of: &'static str, names: &'static [&'static str]) -> Result<Self> {
        let places = row.shared_columns().places(names).map_err(|wrong| Error::decode(wrong).reading(of))?;
        Ok(Self { row, of, places })
    }

    /// Returns the value of a field, by its index in the names.
    ///
    /// # Errors
    ///
    /// Those of [`Row::try_get`], with the name of the struct.
    pub fn get<T: FromSql<'a>>(&self, field: usize) -> Result<T> {
        self.row.try_get(self.places[field]).map_err(|error| error.reading(self.of))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_postgres::types::{ToSql, Type};

    use super::*;
    use crate::statement::columns::Column;
    use crate::statement::values;

    const NAMES: &[&str] = &["name", "id"];

    /// A row whose values are the places of its columns.
    fn row(columns: &[&str]) -> Row {
        let values: Vec<i64> = (0..).take(columns.len()).collect();
        let values: Vec<_> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let list = values::encode(&values, &vec![Type::INT8; columns.len()]).unwrap();
        let columns = columns.iter().map(|name| Column::new(name, Type::INT8)).collect();
        Row::all_forwarded(&Arc::new(columns), vec![list]).unwrap().remove(0)
    }

    fn read(row: &Row, names: &'static [&'static str]) -> Result<Vec<i64>> {
        let fields = Fields::of(row, "User", names)?;
        (0..names.len()).map(|field| fields.get(field)).collect()
    }

    #[test]
    fn fields_are_found_by_name() {
        let row = row(&["id", "age", "name"]);
        assert_eq!(read(&row, NAMES).unwrap(), [2, 0]);
        assert_eq!(read(&row, NAMES).unwrap(), [2, 0]);
        // Other structs, whose places the columns do not keep.
        assert_eq!(read(&row, &["age", "id"]).unwrap(), [1, 0]);
        assert_eq!(read(&row, &["id"]).unwrap(), [0]);
    }

    #[test]
    fn errors_name_struct_and_columns() {
        let message = |columns: &[&str]| {
            let error = read(&row(columns), NAMES).unwrap_err();
            assert!(error.is_decode());
            error.to_string()
        };
        assert_eq!(message(&["id", "nick"]), "cannot read User: column \"name\" does not exist: the row has id, nick");
        assert_eq!(message(&[]), "cannot read User: column \"name\" does not exist: the row has no columns");
        assert_eq!(
            message(&["id", "name", "id"]),
            "cannot read User: column \"id\" is there more than once, so give each a name of its own (AS): the row has \
             id, name, id"
        );
        let row = row(&["id", "name"]);
        assert_eq!(
            Fields::of(&row, "User", NAMES).unwrap().get::<i32>(0).unwrap_err().to_string(),
            "cannot read User: column \"name\" has PostgreSQL's type int8, which cannot be read as i32"
        );
    }
}
