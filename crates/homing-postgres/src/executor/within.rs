//! The schema in which a request's statements run.

use homing_proto::v1 as proto;
use tokio_postgres::Error;

use super::Failure;
use super::position::PositionProbe;
use crate::block::Block;
use crate::pool::Connection;
use crate::scope::Schema;

/// What the statements of a request run in.
#[derive(Debug)]
pub(super) enum Within<'a> {
    /// Wherever the connection is: in the role's own `search_path`, or in the schema that was entered for a script.
    Connection,

    /// A transaction that has been begun.
    Block(Block<'a>),
}

impl<'a> Within<'a> {
    /// Enters the schema. A script may end its transaction itself and go on after it, so it gets the whole connection,
    /// which is closed after a script in any case.
    pub(super) async fn enter(
        connection: &'a Connection,
        schema: Option<&'a Schema>,
        statements: &[proto::Statement],
    ) -> Result<Result<Self, Error>, Failure> {
        let Some(schema) = schema else {
            return Ok(Ok(Self::Connection));
        };
        if statements.iter().any(|statement| statement.simple) {
            return Ok(connection.batch_execute(schema.enter()).await.map(|()| Self::Connection));
        }
        // Once the transaction has failed nothing can be prepared any more.
        PositionProbe::prepare(connection).await?;
        Ok(Ok(Self::Block(Block::begin(connection, schema))))
    }

    /// Why a statement could not be prepared.
    pub(super) async fn cause(self, error: Error) -> Error {
        match self {
            Self::Connection => error,
            Self::Block(mut block) => block.cause(error).await,
        }
    }
}
