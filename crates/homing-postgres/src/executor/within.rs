//! [`Within`], the surroundings of a request's statements: a schema, a transaction block, or neither.

use homing_proto::v1 as proto;
use tokio_postgres::Error;

use super::failure::Failure;
use super::probe::{PositionProbe, WriteProbe};
use crate::connection::block::Block;
use crate::connection::pool::Connection;
use crate::scope::Schema;
use crate::statement::kind::Writes;
use crate::statement::sql;

/// The surroundings of a request's statements.
#[derive(Debug)]
pub(super) enum Within<'a> {
    /// The connection as it is: with the role's own `search_path`, or in the schema that was entered for a script.
    Connection,

    /// An open transaction, in the schema if there is one, and the probe if the caller wants to know whether it writes.
    Block(Block<'a>, Option<WriteProbe<'a>>),
}

impl<'a> Within<'a> {
    /// Enters the schema, and a block if `writes` is `Maybe`. A script may end its transaction and go on after it, so
    /// it gets the whole connection, which is closed after every script.
    pub(super) async fn enter(
        connection: &'a Connection,
        schema: Option<&'a Schema>,
        statements: &[proto::Statement],
        writes: Writes,
    ) -> Result<Result<Self, Error>, Failure> {
        let is_script = statements.iter().any(|statement| statement.simple);
        match schema {
            Some(schema) if is_script => {
                return Ok(connection.batch_execute(schema.enter()).await.map(|()| Self::Connection));
            }
            None if writes != Writes::Maybe => return Ok(Ok(Self::Connection)),
            Some(_) | None => {}
        }
        // PostgreSQL prepares nothing in a transaction that has failed.
        PositionProbe::prepare(connection).await?;
        let probe = match writes {
            Writes::Maybe => Some(WriteProbe::prepare(connection).await?),
            Writes::No | Writes::Yes => None,
        };
        let mut block = Block::begin(connection, schema);
        // The cancellation may hit BEGIN, and a statement sent behind it would run outside of a block.
        if connection.is_cancelled()
            && let Err(error) = block.begun().await
        {
            return Ok(Err(error));
        }
        Ok(Ok(Self::Block(block, probe)))
    }

    /// Runs `work` on the connection before the statements run.
    pub(super) async fn hearing<T>(&mut self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Connection => work.await,
            Self::Block(block, _) => block.hearing(work).await,
        }
    }

    /// Returns the reason why a statement could not be prepared.
    pub(super) async fn cause(self, error: Error) -> Error {
        match self {
            Self::Connection => error,
            Self::Block(mut block, _) => block.cause(error).await,
        }
    }
}

/// Returns `Maybe` if PostgreSQL has to be asked: the caller wants to know, and the only statement can run in a block,
/// unlike VACUUM or a procedure that commits.
pub(super) fn writes(request: &proto::ExecuteRequest) -> Writes {
    match &request.statements[..] {
        [statement] if request.ask_unchanged && !statement.simple && sql::runs_in_block(&statement.sql) => {
            Writes::Maybe
        }
        _ => Writes::Yes,
    }
}
