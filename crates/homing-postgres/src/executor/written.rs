//! Whether a transaction has anything to commit.
//!
//! PostgreSQL gives a transaction an id when it first changes something that others can see, and tells a replica nothing
//! of a commit without one. <https://www.postgresql.org/docs/current/transaction-id.html>

use tokio_postgres::Statement;
use tracing::warn;

use super::Failure;
use crate::pool::Connection;

/// The question whether the transaction has an id, prepared on a connection.
#[derive(Debug)]
pub(super) struct WriteProbe<'a> {
    connection: &'a Connection,
    statement: Statement,
}

/// Whether the transaction has changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Nothing,

    /// Something, or nobody has asked.
    Perhaps,
}

impl<'a> WriteProbe<'a> {
    pub(super) async fn prepare(connection: &'a Connection) -> Result<Self, Failure> {
        match connection.statement(SQL).await {
            Ok(statement) => Ok(Self { connection, statement }),
            Err(error) => {
                Err(Failure::unavailable(format!("the database cannot be asked what it has written: {error}")))
            }
        }
    }

    /// To be asked within the transaction, after its last statement. Of one that has failed the answer is of no use.
    pub(super) async fn written(&self) -> Written {
        let answer = self.connection.query_one(&self.statement, &[]).await.and_then(|row| row.try_get(0));
        match answer {
            Ok(true) => Written::Nothing,
            Ok(false) => Written::Perhaps,
            Err(error) => {
                if error.as_db_error().is_none() {
                    warn!(%error, "cannot ask what a transaction has written");
                }
                Written::Perhaps
            }
        }
    }
}

const SQL: &str = "select pg_current_xact_id_if_assigned() is null";
