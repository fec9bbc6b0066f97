//! Rows that arrive while they are read.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};

use crate::entity::Entity;
use crate::error::Result;
use crate::statement::row::{Column, Row};

/// The rows of [`Repo::stream`](crate::Repo::stream): a [`Stream`] of them, which also has a
/// [`next`](Self::next) of its own.
///
/// It ends after the last row, or after an error. Rows that came before an error are rows of the result, but not all of
/// them. Dropped, the statement is cancelled.
pub struct RowStream {
    columns: Arc<[Column]>,
    rows: BoxStream<'static, Result<Row>>,
}

impl RowStream {
    pub(crate) fn new(columns: Arc<[Column]>, rows: BoxStream<'static, Result<Row>>) -> Self {
        Self { columns, rows }
    }

    /// The columns of its rows, in order; also if there is none.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next row; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The rows cannot be read any further. Nothing was changed: the stream may be begun again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no row is lost.
    pub async fn next(&mut self) -> Option<Result<Row>> {
        StreamExt::next(self).await
    }
}

impl Stream for RowStream {
    type Item = Result<Row>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Row>>> {
        self.rows.poll_next_unpin(context)
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// The entities of [`Repo::stream_all`](crate::Repo::stream_all): a [`Stream`] of them, which also has a
/// [`next`](Self::next) of its own.
///
/// As [`RowStream`]. A row that is no `T` is an error, and is followed by the next row.
pub struct EntityStream<T> {
    rows: RowStream,
    entity: PhantomData<fn() -> T>,
}

impl<T: Entity> EntityStream<T> {
    pub(crate) fn new(rows: RowStream) -> Self {
        Self { rows, entity: PhantomData }
    }

    /// The next entity; `None` after the last one.
    ///
    /// # Errors
    ///
    /// As [`RowStream::next`]; [`is_decode`](crate::Error::is_decode) if the row is no `T`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no row is lost.
    pub async fn next(&mut self) -> Option<Result<T>> {
        StreamExt::next(self).await
    }
}

impl<T: Entity> Stream for EntityStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let row = self.rows.poll_next_unpin(context);
        row.map(|row| row.map(|row| row.and_then(|row| T::from_row(&row))))
    }
}

impl<T> fmt::Debug for EntityStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntityStream").field(&self.rows).finish()
    }
}
