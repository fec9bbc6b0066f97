//! [`Within`], the surroundings of a request's statements: a schema, a transaction block, or neither.

use homing_proto::v1 as proto;
use tokio_postgres::Error;

use super::failure::Failure;
use super::probe::Questions;
use crate::connection::block::Block;
use crate::connection::pool::Connection;
use crate::scope::schema::Schema;
use crate::statement::kind::Ask;
use crate::statement::sql;

/// The surroundings of a request's statements.
#[derive(Debug)]
pub(super) enum Within<'a> {
    /// The connection as it is: with the role's own `search_path`, or in the schema that was entered for a script.
    Connection,

    /// An open transaction, in the schema if there is one.
    Block(Block<'a>),
}

/// Whether statements that need no block get one, so that PostgreSQL can be asked for the transaction.
///
/// Closed: they get one or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnBlock {
    Begin,
    Without,
}

impl OwnBlock {
    /// Returns `Begin` if there is something to ask, and the only statement can run in a block, unlike VACUUM or a
    /// procedure that commits. Several statements have a block in any case.
    pub(super) fn of(statements: &[proto::Statement], ask: Ask) -> Self {
        match statements {
            [statement] if ask != Ask::Nothing && !statement.simple && sql::runs_in_block(&statement.sql) => {
                Self::Begin
            }
            _ => Self::Without,
        }
    }
}

impl<'a> Within<'a> {
    /// Enters the schema, and a block. A script may end its transaction and go on after it, so it gets the whole
    /// connection, which is closed after every script.
    pub(super) async fn enter(
        connection: &'a Connection,
        schema: Option<&'a Schema>,
        statements: &[proto::Statement],
        own_block: OwnBlock,
        ask: Ask,
    ) -> Result<Result<Self, Error>, Failure> {
        let is_script = statements.iter().any(|statement| statement.simple);
        match schema {
            Some(schema) if is_script => {
                return Ok(connection.batch_execute(schema.enter()).await.map(|()| Self::Connection));
            }
            None if own_block == OwnBlock::Without => return Ok(Ok(Self::Connection)),
            Some(_) | None => {}
        }
        // PostgreSQL prepares nothing in a transaction that has failed.
        Questions::prepare(connection, ask).await?;
        let mut block = Block::begin(connection, schema);
        // The cancellation may hit BEGIN, and a statement sent behind it would run outside of a block.
        if connection.is_cancelled()
            && let Err(error) = block.begun().await
        {
            return Ok(Err(error));
        }
        Ok(Ok(Self::Block(block)))
    }

    /// Runs `work` on the connection before the statements run.
    pub(super) async fn hearing<T>(&mut self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Connection => work.await,
            Self::Block(block) => block.hearing(work).await,
        }
    }

    /// Returns the reason why a statement could not be prepared.
    pub(super) async fn cause(self, error: Error) -> Error {
        match self {
            Self::Connection => error,
            Self::Block(mut block) => block.cause(error).await,
        }
    }
}
