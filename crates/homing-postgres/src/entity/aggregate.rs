//! One value of many rows.

use tokio_postgres::types::{FromSql, Type};

use crate::error::{Error, Result};
use crate::statement::numeric::Numeric;
use crate::statement::row::Row;

/// One value of a column's values in many rows. For [`Repo::aggregate`](crate::Repo::aggregate).
///
/// NULLs are left out, as everywhere in PostgreSQL.
///
/// ```
/// use homing_postgres::Aggregate;
///
/// Aggregate::max("age");
/// Aggregate::count("city").distinct(); // how many cities there are
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it says what to compute; give it to `aggregate`"]
pub struct Aggregate {
    function: &'static str,
    column: String,
    distinct: bool,
}

impl Aggregate {
    /// How many values are not NULL: an `i64`, and never `None`.
    pub fn count(column: impl Into<String>) -> Self {
        Self::new("count", column)
    }

    /// The sum: an `i64` for every integer type, the column's own type for floating point numbers.
    pub fn sum(column: impl Into<String>) -> Self {
        Self::new("sum", column)
    }

    /// The average: an `f64`.
    pub fn avg(column: impl Into<String>) -> Self {
        Self::new("avg", column)
    }

    /// The smallest value, of the column's own type.
    pub fn min(column: impl Into<String>) -> Self {
        Self::new("min", column)
    }

    /// The largest value, of the column's own type.
    pub fn max(column: impl Into<String>) -> Self {
        Self::new("max", column)
    }

    /// Takes equal values once.
    pub fn distinct(self) -> Self {
        Self { distinct: true, ..self }
    }

    fn new(function: &'static str, column: impl Into<String>) -> Self {
        Self { function, column: column.into(), distinct: false }
    }

    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    /// `sum("age")`
    pub(crate) fn call(&self, column: &str) -> String {
        let distinct = if self.distinct { "distinct " } else { "" };
        format!("{}({distinct}{column})", self.function)
    }
}

/// The value of the row's only column.
///
/// PostgreSQL sums `bigint` up as `numeric`, and so are its averages of integers. Where `V` cannot be read from that, but
/// from `bigint` or `double precision`, the number is converted here; a sum that does not fit is an error.
pub(crate) fn value<V: for<'a> FromSql<'a>>(row: &Row) -> Result<Option<V>> {
    if row.columns().first().is_none_or(|column| column.type_() != &Type::NUMERIC) || V::accepts(&Type::NUMERIC) {
        return row.try_get(0);
    }
    let Some(numeric) = row.try_get::<_, Option<Numeric>>(0)? else {
        return Ok(None);
    };
    let converted = if V::accepts(&Type::INT8) {
        let whole = numeric.to_i64().ok_or_else(|| {
            let about = numeric.to_f64();
            Error::decode(format!("{about} is no whole number within the bounds of bigint: read it as f64"))
        })?;
        V::from_sql(&Type::INT8, &whole.to_be_bytes())
    } else if V::accepts(&Type::FLOAT8) {
        V::from_sql(&Type::FLOAT8, &numeric.to_f64().to_be_bytes())
    } else {
        // Says what it is and what cannot be read from it.
        return row.try_get(0);
    };
    converted.map(Some).map_err(|error| Error::decode("the aggregate cannot be read").with_source(error))
}
