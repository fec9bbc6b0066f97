//! [`Aggregate`], one value computed from many rows.

use tokio_postgres::types::{FromSql, Type};

use crate::error::{Error, Result};
use crate::statement::numeric::Numeric;
use crate::statement::row::Row;

/// One value computed from a column of many rows. For [`Repo::aggregate`](crate::Repo::aggregate).
///
/// NULLs are ignored, as in all aggregates of PostgreSQL.
///
/// ```
/// use homing_postgres::Aggregate;
///
/// Aggregate::max("age");
/// Aggregate::count("city").distinct(); // how many cities there are
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass it to `aggregate`"]
pub struct Aggregate {
    function: &'static str,
    column: String,
    distinct: bool,
}

impl Aggregate {
    /// Counts the values that are not NULL. The result is an `i64` and never `None`.
    pub fn count(column: impl Into<String>) -> Self {
        Self::new("count", column)
    }

    /// Computes the sum. The result is an `i64` for integers, and has the column's type for floating-point numbers.
    pub fn sum(column: impl Into<String>) -> Self {
        Self::new("sum", column)
    }

    /// Computes the average, an `f64`.
    pub fn avg(column: impl Into<String>) -> Self {
        Self::new("avg", column)
    }

    /// Finds the smallest value, which has the column's type.
    pub fn min(column: impl Into<String>) -> Self {
        Self::new("min", column)
    }

    /// Finds the largest value, which has the column's type.
    pub fn max(column: impl Into<String>) -> Self {
        Self::new("max", column)
    }

    /// Counts equal values only once.
    pub fn distinct(self) -> Self {
        Self { distinct: true, ..self }
    }

    fn new(function: &'static str, column: impl Into<String>) -> Self {
        Self { function, column: column.into(), distinct: false }
    }

    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    /// Returns the function call, for example `sum("age")`.
    pub(crate) fn call(&self, column: &str) -> String {
        let distinct = if self.distinct { "distinct " } else { "" };
        format!("{}({distinct}{column})", self.function)
    }
}

/// Returns the value of the row's only column.
///
/// In PostgreSQL, the sum of `bigint` values and the average of integers are `numeric`. If `V` cannot be read from
/// `numeric`, but from `bigint` or `double precision`, the number is converted. A sum that does not fit is an error.
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
            Error::decode(format!("{about} is not a whole number in the range of bigint: read it as f64"))
        })?;
        V::from_sql(&Type::INT8, &whole.to_be_bytes())
    } else if V::accepts(&Type::FLOAT8) {
        V::from_sql(&Type::FLOAT8, &numeric.to_f64().to_be_bytes())
    } else {
        // The error names the two types.
        return row.try_get(0);
    };
    converted.map(Some).map_err(|error| Error::decode("cannot read the aggregate").with_source(error))
}
