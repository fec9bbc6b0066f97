//! [`Within`], the surroundings of a request's statements: local settings, a transaction block, or neither.

use homing_proto::v1 as proto;
use tokio_postgres::Error;

use super::failure::Failure;
use super::keyed::claims::Claim;
use super::probe::Questions;
use crate::connection::block::Block;
use crate::connection::pool::Connection;
use crate::connection::set::{Lifetime, SetCommand};
use crate::scope::LocalSettings;
use crate::scope::schema::Schema;
use crate::statement::kind::Ask;
use crate::statement::sql;

/// The surroundings of a request's statements.
#[derive(Debug)]
pub(super) enum Within<'a> {
    /// The connection as it is: with the role's own settings, or with those that were set for a script.
    Connection,

    /// An open transaction with the local settings.
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
    /// Returns `Begin` if there is a key to claim, or something to ask and only one statement, which can run in a block. Several
    /// statements without a key begin their block themselves.
    pub(super) fn of(statements: &[proto::Statement], ask: Ask, claim: Option<&Claim>) -> Self {
        match statements {
            _ if claim.is_some() => Self::Begin,
            [statement] if ask != Ask::Nothing && is_transaction(statement) => Self::Begin,
            _ => Self::Without,
        }
    }
}

/// Returns whether statements can be one transaction, so that they can be protected by a key: unlike VACUUM, a procedure that
/// commits, or a script.
pub(crate) fn can_be_protected(statements: &[proto::Statement]) -> bool {
    match statements {
        [statement] => is_transaction(statement),
        statements => statements.iter().all(|statement| !statement.simple),
    }
}

fn is_transaction(statement: &proto::Statement) -> bool {
    !statement.simple && sql::runs_in_block(&statement.sql)
}

impl<'a> Within<'a> {
    /// Sets the local settings, and enters a block if there are any or `own_block` asks for one. A script may end its
    /// transaction and go on after it, so it gets the whole connection, which is closed after every script.
    pub(super) async fn enter(
        connection: &'a Connection,
        local: &'a LocalSettings,
        statements: &[proto::Statement],
        own_block: OwnBlock,
        ask: Ask,
        claim: Option<&Claim>,
    ) -> Result<Result<Self, Error>, Failure> {
        let is_script = statements.iter().any(|statement| statement.simple);
        if is_script {
            return Ok(set_for_script(connection, local).await.map(|()| Self::Connection));
        }
        if local.is_empty() && own_block == OwnBlock::Without {
            return Ok(Ok(Self::Connection));
        }
        // PostgreSQL prepares nothing in a transaction that has failed.
        Questions::prepare(connection, ask, claim).await?;
        let mut block = match Block::begin(connection, local).await {
            Ok(block) => block,
            Err(error) => return Ok(Err(error)),
        };
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

/// Sets the local settings for as long as the connection is open.
async fn set_for_script(connection: &Connection, local: &LocalSettings) -> Result<(), Error> {
    if local.is_empty() {
        return Ok(());
    }
    let LocalSettings { schema, settings } = local;
    let set = SetCommand::prepare(connection, settings, Lifetime::Connection).await?;
    set.run_after(schema.as_ref().map_or("", Schema::enter)).await
}
