//! Whether a transaction has anything to commit.
//!
//! PostgreSQL gives a transaction an id when it first changes something in the database, and tells a replica nothing of a
//! commit without one. <https://www.postgresql.org/docs/current/transaction-id.html>
//!
//! What a statement does elsewhere needs no id: notifications, foreign tables, other servers.

use tokio_postgres::{Error, Statement};

use super::Failure;
use crate::connection::pool::Connection;
use crate::statement::kind::Writes;

/// The question whether the transaction has an id, prepared on a connection.
#[derive(Debug)]
pub(super) struct WriteProbe<'a> {
    connection: &'a Connection,
    statement: Statement,
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

    /// To be asked within the transaction, after its last statement. An error ends the transaction, like any other.
    pub(super) async fn writes(&self) -> Result<Writes, Error> {
        let is_unassigned = self.connection.query_one(&self.statement, &[]).await?.try_get(0)?;
        Ok(if is_unassigned { Writes::No } else { Writes::Yes })
    }
}

const SQL: &str = "select pg_current_xact_id_if_assigned() is null";
