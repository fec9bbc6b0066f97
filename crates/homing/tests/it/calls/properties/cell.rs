//! One value on its way.

use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

use bytes::BytesMut;
use homing::Row;
use homing::types::{FromSql, ToSql, Type};
use postgres_types::{IsNull, to_sql_checked};

/// A value of a column.
#[derive(Clone)]
pub(super) struct Cell {
    value: Arc<dyn Value>,
    comparison: Comparison,
}

/// How the stored value has to resemble the sent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Both have the same bits, and so has the value that is read.
    Bits,

    /// Both read as the same value: PostgreSQL stores it in a form of its own.
    Value,

    /// The value was sent as text, but is not stored as text.
    None,
}

pub(super) trait Value: ToSql + Debug + Send + Sync {
    fn as_parameter(&self) -> &(dyn ToSql + Sync);
    fn is_read_from(&self, row: &Row, column: usize) -> bool;
    fn bits_read_from(&self, row: &Row, column: usize) -> Bits;
}

impl<T> Value for T
where
    T: ToSql + Debug + Send + Sync + PartialEq + for<'a> FromSql<'a>,
{
    fn as_parameter(&self) -> &(dyn ToSql + Sync) {
        self
    }

    fn is_read_from(&self, row: &Row, column: usize) -> bool {
        row.get::<_, T>(column) == *self
    }

    fn bits_read_from(&self, row: &Row, column: usize) -> Bits {
        Bits::of(&row.get::<_, T>(column), row.columns()[column].type_())
    }
}

impl Cell {
    pub(super) fn new(value: impl Value + 'static, comparison: Comparison) -> Self {
        Self { value: Arc::new(value), comparison }
    }

    pub(super) fn parameter(&self) -> &(dyn ToSql + Sync) {
        self.value.as_parameter()
    }

    /// Compares the sent value with the stored one.
    pub(super) fn check(&self, row: &Row, column: usize) -> Result<(), String> {
        let stored: Bits = row.get(column);
        let Self { value, comparison } = self;
        match comparison {
            Comparison::Bits => {
                let sent = Bits::of(value.as_parameter(), row.columns()[column].type_());
                if sent != stored {
                    return Err(format!("{value:?} was sent as {sent:?} and stored as {stored:?}"));
                }
                let read = value.bits_read_from(row, column);
                if read != stored {
                    return Err(format!("{value:?} was stored as {stored:?} and reads as {read:?}"));
                }
            }
            Comparison::Value if !value.is_read_from(row, column) => {
                return Err(format!("{value:?} was stored as {stored:?}, which reads differently"));
            }
            Comparison::Value | Comparison::None => {}
        }
        Ok(())
    }
}

impl fmt::Debug for Cell {
    /// On one line: there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.value)
    }
}

/// A value of any type, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Option<Vec<u8>>);

impl Bits {
    fn of(value: &(dyn ToSql + Sync), ty: &Type) -> Self {
        let mut out = BytesMut::new();
        match value.to_sql_checked(ty, &mut out).unwrap() {
            IsNull::No => Self(Some(out.to_vec())),
            IsNull::Yes => Self(None),
        }
    }
}

impl<'a> FromSql<'a> for Bits {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Bits {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0 {
            Some(bits) => {
                out.extend_from_slice(bits);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
