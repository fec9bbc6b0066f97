//! [`RowStream`], rows that arrive while they are read.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::entity::FromRow;
use crate::error::{Error, Result};
use crate::statement::columns::{Column, Columns};
use crate::statement::row::Row;

/// The rows of [`Repo::stream`](crate::Repo::stream), or the structs of [`Repo::stream_as`](crate::Repo::stream_as) and
/// [`Repo::stream_all`](crate::Repo::stream_all), as a [`Stream`] with a [`next`](Self::next) of its own.
///
/// The stream ends after the last row or after an error. Rows before an error belong to the result, but they are not
/// all of it. A row that cannot be read as a `T` is an error too, but does not end the stream. Dropping the stream cancels
/// the statement.
pub struct RowStream<T = Row> {
    columns: Arc<Columns>,
    rows: BoxStream<'static, Result<T>>,
    /// Names the stream in its errors.
    subject: Option<String>,
}

/// Some rows, and whether they are the last ones.
pub(crate) type Rows = (Vec<Row>, bool);

/// The server, the peer or the cursor that rows or other items come from.
pub(crate) trait RowSource<T = Row>: Send + 'static {
    /// Returns the next rows. After the last ones or an error it is not called again.
    fn next(&mut self) -> impl Future<Output = Result<(Vec<T>, bool)>> + Send;
}

impl RowStream {
    /// Returns a stream of the first rows, followed by those of the source.
    pub(crate) fn new(columns: Arc<Columns>, first: Rows, source: impl RowSource) -> Self {
        Self { columns, rows: chunked(first, source), subject: None }
    }

    /// Names the stream in its errors.
    pub(crate) fn about(self, subject: Option<String>) -> Self {
        Self { subject, ..self }
    }

    /// Reads each row as a `T`.
    pub(crate) fn read_as<T: FromRow>(self) -> RowStream<T> {
        let rows = self.rows.map(|row| row.and_then(|row| T::from_row(&row))).boxed();
        RowStream { columns: self.columns, rows, subject: self.subject }
    }
}

impl<T> RowStream<T> {
    /// Returns the columns of the rows in order, even if there are no rows. In a transaction, columns that changed since the
    /// statement was described appear in the rows only.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the next row, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`is_not_sent`](crate::Error::is_not_sent) if the connection was lost, and
    /// [`is_rejected`](crate::Error::is_rejected) if PostgreSQL ended the statement. Nothing was changed: the stream
    /// may be begun again. [`is_decode`](crate::Error::is_decode) if the row cannot be read as a `T`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no row is lost.
    pub async fn next(&mut self) -> Option<Result<T>> {
        StreamExt::next(self).await
    }
}

/// Returns a stream of the first items, followed by those of the source.
pub(super) fn chunked<T: Send + 'static>(
    first: (Vec<T>, bool),
    source: impl RowSource<T>,
) -> BoxStream<'static, Result<T>> {
    let (first, last) = first;
    let rest = stream::try_unfold((!last).then_some(source), |source| async move {
        let Some(mut source) = source else { return Ok(None) };
        let (items, last) = source.next().await?;
        Ok(Some((items, (!last).then_some(source))))
    });
    let chunks = stream::iter([Ok::<_, Error>(first)]).chain(rest);
    chunks.map_ok(|items| stream::iter(items.into_iter().map(Ok))).try_flatten().boxed()
}

impl<T> Stream for RowStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let row = self.rows.poll_next_unpin(context);
        row.map_err(|error| match &self.subject {
            Some(subject) => error.about(subject),
            None => error,
        })
    }
}

impl<T> fmt::Debug for RowStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("columns", &self.columns).finish_non_exhaustive()
    }
}
