//! The steps of a batch, and the parameters that they pass to later steps.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::types::ToSql;

/// A step of a [`Batch`](crate::Batch) with a result of type `T`.
///
/// Later steps refer to the columns of its row with [`column`](Self::column).
/// [`BatchResults::take`](crate::BatchResults::take) finds its result.
pub struct Step<T> {
    pub(super) batch: BatchId,
    pub(super) index: usize,
    name: Arc<str>,
    result: PhantomData<fn() -> T>,
}

impl<T> Step<T> {
    pub(super) fn new(batch: BatchId, index: usize, name: Arc<str>) -> Self {
        Self { batch, index, name, result: PhantomData }
    }

    /// Returns the name of the step.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a parameter for a later step: the value that a column of this step's first row will have.
    ///
    /// If this step returns no row, the batch is rolled back. The column has to have the parameter's type; if it does
    /// not, cast the parameter to the type of the column: `$1::int4`.
    pub fn column(&self, column: impl Into<String>) -> Parameter<'static> {
        Parameter(ParameterKind::Column(ColumnOf { batch: self.batch, step: self.index, column: column.into() }))
    }
}

impl<T> Clone for Step<T> {
    fn clone(&self) -> Self {
        Self::new(self.batch, self.index, Arc::clone(&self.name))
    }
}

impl<T> fmt::Debug for Step<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Step").field(&self.name).finish()
    }
}

/// A parameter of a step: a value, or a column of an earlier step's row ([`Step::column`]).
///
/// `into` makes a parameter from every value that implements [`ToSql`]; [`params!`](crate::params) makes a list of
/// them.
pub struct Parameter<'a>(pub(super) ParameterKind<'a>);

pub(super) enum ParameterKind<'a> {
    Value(Box<dyn ToSql + Send + Sync + 'a>),
    Column(ColumnOf),
}

/// A column of a step's first row.
#[derive(Debug, Clone)]
pub(super) struct ColumnOf {
    pub(super) batch: BatchId,
    pub(super) step: usize,
    pub(super) column: String,
}

impl<'a, T: ToSql + Send + Sync + 'a> From<T> for Parameter<'a> {
    fn from(value: T) -> Self {
        Self(ParameterKind::Value(Box::new(value)))
    }
}

impl fmt::Debug for Parameter<'_> {
    /// Does not write the value, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ParameterKind::Value(_) => f.write_str("Value"),
            ParameterKind::Column(column) => column.fmt(f),
        }
    }
}

/// Makes the parameters of a step: `params![7, name, author.column("id")]`.
///
/// ```
/// # use homing_postgres::{Batch, Result, params};
/// # fn example() -> Result<()> {
/// let mut batch = Batch::new();
/// let author = batch.query_one("author", "insert into authors (name) values ($1) returning id", params!["Ada"])?;
/// batch.execute("counter", "update counters set n = n + $1 where author = $2", params![1_i64, author.column("id")])?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[macro_export]
macro_rules! params {
    ($($parameter:expr),* $(,)?) => {
        ::std::vec![$($crate::Parameter::from($parameter)),*]
    };
}

/// The id of the batch that a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchId(u64);

impl BatchId {
    pub(super) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}
