//! A transaction block, sent without waiting: how a statement sees the tables of one tenant, without the pooled connection
//! remembering.

use std::future::ready;
use std::pin::{Pin, pin};

use futures_util::FutureExt;
use futures_util::future::join4;
use tokio_postgres::{Error, Statement};

use super::pool::Connection;
use crate::scope::Schema;

/// A transaction, one with a schema begins with `SET LOCAL search_path`. Nothing is waited for: its beginning, the
/// statements and its end are sent one behind the other.
///
/// Rolled back when dropped before its end was sent, so that the connection can go back to the pool at any time.
pub(crate) struct Block<'a> {
    connection: &'a Connection,
    begin: BlockStart<'a>,
    is_open: bool,
}

/// What is known of the beginning.
enum BlockStart<'a> {
    Sent(Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>),
    Answered(Result<(), Error>),
    /// The answer was asked for.
    Told,
}

impl<'a> Block<'a> {
    /// Sends the beginning. Whether there is such a schema is told by [`begun`](Self::begun); until then whatever is
    /// sent behind it fails.
    pub(crate) fn begin(connection: &'a Connection, schema: Option<&'a Schema>) -> Self {
        connection.note_beginning();
        let mut begin = Box::pin(async move {
            let begun = connection.batch_execute(schema.map_or("BEGIN", Schema::begin)).await;
            connection.note_begun();
            begun
        });
        // The driver sends a message when its future is polled for the first time.
        let begin = match begin.as_mut().now_or_never() {
            Some(begun) => BlockStart::Answered(begun),
            None => BlockStart::Sent(begin),
        };
        Self { connection, begin, is_open: true }
    }

    /// A statement, prepared in this transaction or, on this connection, in an earlier one of the same schema.
    pub(crate) async fn statement(&mut self, schema: &Schema, sql: &str) -> Result<Statement, Error> {
        let sql = schema.tagged(sql);
        let connection = self.connection;
        match self.hearing(connection.statement(&sql)).await {
            Ok(statement) => Ok(statement),
            Err(error) => Err(self.cause(error).await),
        }
    }

    /// Does something on the connection, and hears meanwhile that the transaction has begun: until that is known, nothing is
    /// [cancelled](Connection::begun), and `work` may wait for a lock.
    pub(crate) async fn hearing<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let BlockStart::Sent(begin) = &mut self.begin {
            tokio::select! {
                biased;
                begun = begin => self.begin = BlockStart::Answered(begun),
                output = &mut work => return output,
            }
        }
        work.await
    }

    /// Whether the transaction has begun, in a schema that exists.
    pub(crate) async fn begun(&mut self) -> Result<(), Error> {
        if let BlockStart::Sent(begin) = &mut self.begin {
            self.begin = BlockStart::Answered(begin.await);
        }
        self.begin.take().await
    }

    /// Why a statement failed: where the transaction never began, all that follows fails because of that.
    pub(crate) async fn cause(&mut self, error: Error) -> Error {
        self.begun().await.err().unwrap_or(error)
    }

    /// Runs the last statement, with the commit right behind it.
    pub(crate) async fn finish<T, E: From<Error>>(self, last: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        Ok(self.finish_and_ask(last, ready(Ok(()))).await?.0)
    }

    /// The same with a question to the transaction in between. If that fails, so does the transaction.
    pub(crate) async fn finish_and_ask<T, E: From<Error>, A>(
        mut self,
        last: impl Future<Output = Result<T, E>>,
        question: impl Future<Output = Result<A, Error>>,
    ) -> Result<(T, A), E> {
        let begun = self.begin.take();
        // Polled in this order for the first time, which is when the last three are sent.
        let (begun, output, answer, committed) = join4(begun, last, question, self.commit()).await;
        begun?;
        let output = output?;
        // The commit of a transaction that has failed is answered like any other, and is none.
        let answer = answer?;
        committed?;
        Ok((output, answer))
    }

    /// Waits until it has begun, and leaves its end to the caller.
    pub(crate) async fn go_on(mut self) -> Result<(), Error> {
        self.begun().await?;
        self.is_open = false;
        Ok(())
    }

    /// Commits; a transaction in which something failed is rolled back.
    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.is_open = false;
        self.connection.batch_execute("COMMIT").await
    }
}

impl<'a> BlockStart<'a> {
    /// Whether the transaction has begun. An error is told once.
    fn take(&mut self) -> impl Future<Output = Result<(), Error>> + Send + use<'a> {
        let begin = std::mem::replace(self, Self::Told);
        async move {
            match begin {
                Self::Sent(begin) => begin.await,
                Self::Answered(begun) => begun,
                Self::Told => Ok(()),
            }
        }
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        if let BlockStart::Sent(_) = self.begin {
            // Nobody hears the answer any more.
            self.connection.note_begun();
        }
        if self.is_open {
            // Polled once it is sent, and nobody has to wait for the answer: whatever comes next on this connection comes
            // after it.
            let _ = self.connection.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// Prepares a statement, in a schema if there is one.
pub(crate) async fn prepare(connection: &Connection, schema: Option<&Schema>, sql: &str) -> Result<Statement, Error> {
    match schema {
        Some(schema) => Block::begin(connection, Some(schema)).statement(schema, sql).await,
        None => connection.statement(sql).await,
    }
}

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;
    use tokio::time::Instant;
    use tokio_postgres::error::SqlState;

    use super::*;
    use crate::connection::pool::Pool;
    use crate::database::{Config, Database};
    use crate::position::role::Role;

    async fn connection(server: &Postgres) -> Connection {
        let database = Database::connect(Config::new(server.url(), Role::Primary)).await.unwrap();
        let pool: Pool = database.pool().clone();
        let deadline = Instant::now() + std::time::Duration::from_secs(30);
        pool.connection(deadline).await.unwrap()
    }

    /// PostgreSQL answers its COMMIT as if nothing had happened.
    #[tokio::test]
    async fn a_transaction_whose_question_fails_is_not_taken_for_committed() {
        let server = Postgres::options().start().await.unwrap();
        let connection = connection(&server).await;
        connection.batch_execute("create table notes (text text)").await.unwrap();
        // Prepared before, since it has to be sent at once.
        let insert = connection.prepare("insert into notes values ('a')").await.unwrap();
        let question = connection.prepare("select 1 / $1::int").await.unwrap();
        let notes = async || connection.query_one("select count(*) from notes", &[]).await.unwrap().get::<_, i64>(0);

        let block = Block::begin(&connection, None);
        let (last, fails) = (connection.execute(&insert, &[]), connection.execute(&question, &[&0]));
        let failed: Result<_, Error> = block.finish_and_ask(last, fails).await;
        assert_eq!(failed.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert_eq!(notes().await, 0);

        let block = Block::begin(&connection, None);
        let (last, answers) = (connection.execute(&insert, &[]), connection.execute(&question, &[&1]));
        let done: Result<_, Error> = block.finish_and_ask(last, answers).await;
        assert_eq!((done.unwrap(), notes().await), ((1, 1), 1));
    }

    #[tokio::test]
    async fn a_dropped_block_is_rolled_back_and_keeps_nobody_from_cancelling() {
        let server = Postgres::options().start().await.unwrap();
        let connection = connection(&server).await;
        let block = Block::begin(&connection, None);
        assert!(connection.begun().now_or_never().is_none());
        drop(block);
        assert!(connection.begun().now_or_never().is_some());
        let outside = connection.batch_execute("savepoint within").await.unwrap_err();
        assert_eq!(outside.code(), Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION));
    }
}
