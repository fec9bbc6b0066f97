//! [`Block`], a transaction block that is sent without waiting for answers.
//!
//! With a block, a statement runs with the schema and the settings of one handle, and the pooled connection forgets them
//! afterwards. It costs no extra round trip.

use std::future::ready;
use std::pin::{Pin, pin};

use futures_util::FutureExt;
use futures_util::future::join4;
use tokio_postgres::{Error, Statement};

use super::pool::Connection;
use super::set::{Lifetime, SetCommand};
use crate::scope::LocalSettings;
use crate::scope::schema::{Schema, tagged};

/// A transaction block. If it has a schema, it begins with `SET LOCAL search_path`, and if it has settings, it sets them. The
/// `BEGIN`, the statements and the `COMMIT` are sent one behind the other, without waiting for answers in between.
///
/// A block that is dropped before its end was sent is rolled back. So the connection can go back to the pool at any time.
pub(crate) struct Block<'a> {
    connection: &'a Connection,
    begin: BlockStart<'a>,
    is_open: bool,
}

/// The state of the `BEGIN`.
enum BlockStart<'a> {
    Sent(Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>),
    Answered(Result<(), Error>),
    /// The answer was returned to a caller.
    Taken,
}

impl<'a> Block<'a> {
    /// Sends the `BEGIN`. If the schema does not exist or PostgreSQL refuses a setting, everything that is sent behind it
    /// fails, and [`begun`](Self::begun) returns the error.
    ///
    /// Fails if the connection was lost before.
    pub(crate) async fn begin(connection: &'a Connection, local: &'a LocalSettings) -> Result<Self, Error> {
        let set = SetCommand::prepare(connection, &local.settings, Lifetime::Transaction).await?;
        connection.note_beginning();
        let mut begin = Box::pin(async move {
            let begun = set.run_after(local.schema.as_ref().map_or("BEGIN", Schema::begin)).await;
            connection.note_begun();
            begun
        });
        // The driver sends a message when its future is polled for the first time.
        let begin = match begin.as_mut().now_or_never() {
            Some(begun) => BlockStart::Answered(begun),
            None => BlockStart::Sent(begin),
        };
        Ok(Self { connection, begin, is_open: true })
    }

    /// Prepares a statement, unless this connection has prepared it before in the same schema.
    pub(crate) async fn statement(&mut self, schema: Option<&Schema>, sql: &str) -> Result<Statement, Error> {
        let sql = tagged(schema, sql);
        let connection = self.connection;
        match self.hearing(connection.statement(&sql)).await {
            Ok(statement) => Ok(statement),
            Err(error) => Err(self.cause(error).await),
        }
    }

    /// Runs `work` on the connection and takes the answer of the `BEGIN` meanwhile. Before that answer nothing can be
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

    /// Waits until the transaction has begun. Fails if its schema does not exist, or if PostgreSQL refuses a setting.
    pub(crate) async fn begun(&mut self) -> Result<(), Error> {
        if let BlockStart::Sent(begin) = &mut self.begin {
            self.begin = BlockStart::Answered(begin.await);
        }
        self.begin.take().await
    }

    /// Returns why a statement failed: if the transaction never began, that is the cause, else `error`.
    pub(crate) async fn cause(&mut self, error: Error) -> Error {
        self.begun().await.err().unwrap_or(error)
    }

    /// Runs the last statement and sends the `COMMIT` right behind it.
    pub(crate) async fn finish<T, E: From<Error>>(self, last: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        Ok(self.finish_and_ask(last, ready(Ok(()))).await?.0)
    }

    /// Runs the last statement, and sends a question to the transaction and the `COMMIT` right behind it. If the question
    /// fails, so does the transaction.
    pub(crate) async fn finish_and_ask<T, E: From<Error>, A>(
        mut self,
        last: impl Future<Output = Result<T, E>>,
        question: impl Future<Output = Result<A, Error>>,
    ) -> Result<(T, A), E> {
        let begun = self.begin.take();
        // The first poll sends each of the last three, in this order.
        let (begun, output, answer, committed) = join4(begun, last, question, self.commit()).await;
        begun?;
        let output = output?;
        // PostgreSQL answers the COMMIT of a failed transaction without an error, although it rolls back.
        let answer = answer?;
        committed?;
        Ok((output, answer))
    }

    /// Waits until the transaction has begun, and leaves its end to the caller.
    pub(crate) async fn go_on(mut self) -> Result<(), Error> {
        self.begun().await?;
        self.is_open = false;
        Ok(())
    }

    /// Commits. PostgreSQL rolls the transaction back if a statement in it has failed.
    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.is_open = false;
        self.connection.batch_execute("COMMIT").await
    }
}

impl<'a> BlockStart<'a> {
    /// Waits until the transaction has begun. An error is returned once only.
    fn take(&mut self) -> impl Future<Output = Result<(), Error>> + Send + use<'a> {
        let begin = std::mem::replace(self, Self::Taken);
        async move {
            match begin {
                Self::Sent(begin) => begin.await,
                Self::Answered(begun) => begun,
                Self::Taken => Ok(()),
            }
        }
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        if let BlockStart::Sent(_) = self.begin {
            // No code is left that would take the answer.
            self.connection.note_begun();
        }
        if self.is_open {
            // One poll sends it. The answer need not be awaited, since PostgreSQL runs later statements of this connection
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

/// Prepares a statement, with the schema and the settings if there are any: a role has to be allowed to use the schemas
/// that a statement names.
pub(crate) async fn prepare(connection: &Connection, local: &LocalSettings, sql: &str) -> Result<Statement, Error> {
    if local.is_empty() {
        return connection.statement(sql).await;
    }
    Block::begin(connection, local).await?.statement(local.schema.as_ref(), sql).await
}

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;
    use tokio::time::Instant;
    use tokio_postgres::error::SqlState;

    use super::super::address::Address;
    use super::super::pool::Pool;
    use super::*;

    async fn connection(server: &Postgres) -> Connection {
        let address = Address::resolve(&server.url(), "a test").await.unwrap().remove(0);
        let deadline = Instant::now() + std::time::Duration::from_secs(30);
        Pool::new(address, 1).connection(deadline).await.unwrap()
    }

    /// PostgreSQL answers the COMMIT without an error, although it rolls back.
    #[tokio::test]
    async fn failed_question_fails_the_transaction() {
        let server = Postgres::options().start().await.unwrap();
        let connection = connection(&server).await;
        connection.batch_execute("create table notes (text text)").await.unwrap();
        // Prepared before, since it has to be sent at once.
        let insert = connection.prepare("insert into notes values ('a')").await.unwrap();
        let question = connection.prepare("select 1 / $1::int").await.unwrap();
        let notes = async || connection.query_one("select count(*) from notes", &[]).await.unwrap().get::<_, i64>(0);

        let local = LocalSettings::default();
        let block = Block::begin(&connection, &local).await.unwrap();
        let (last, fails) = (connection.execute(&insert, &[]), connection.execute(&question, &[&0]));
        let failed: Result<_, Error> = block.finish_and_ask(last, fails).await;
        assert_eq!(failed.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert_eq!(notes().await, 0);

        let block = Block::begin(&connection, &local).await.unwrap();
        let (last, answers) = (connection.execute(&insert, &[]), connection.execute(&question, &[&1]));
        let done: Result<_, Error> = block.finish_and_ask(last, answers).await;
        assert_eq!((done.unwrap(), notes().await), ((1, 1), 1));
    }

    #[tokio::test]
    async fn dropped_block_is_rolled_back_and_cancellable() {
        let server = Postgres::options().start().await.unwrap();
        let connection = connection(&server).await;
        let local = LocalSettings::default();
        let block = Block::begin(&connection, &local).await.unwrap();
        assert!(connection.begun().now_or_never().is_none());
        drop(block);
        assert!(connection.begun().now_or_never().is_some());
        let outside = connection.batch_execute("savepoint within").await.unwrap_err();
        assert_eq!(outside.code(), Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION));
    }
}
