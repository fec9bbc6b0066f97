//! Runs a statement that carries the claim of its key.

use homing_proto::v1 as proto;
use tokio_postgres::error::SqlState;

use super::carried;
use super::claims::Claim;
use crate::connection::pool::Connection;
use crate::executor::Executor;
use crate::executor::failure::Failure;
use crate::executor::prepared::{Added, Carrying, difference, parameters};
use crate::executor::probe::Questions;
use crate::executor::run::{RequestRun, RunOutcome};
use crate::scope::LocalSettings;
use crate::statement::kind::Ask;
use crate::statement::sql::returns_written_rows;
use crate::statement::values::Encoded;

/// Whether a statement ran together with its claim.
pub(crate) enum Carried {
    Ran(RunOutcome),

    /// It has to run in a block: it cannot carry its claim, or is not what this connection has prepared.
    NotRun,

    /// It has to run in a block. Perhaps the role may only call the functions of the table.
    NotAllowed,
}

impl Executor {
    /// Runs a statement that carries the claim of its key, if it is the only one and nothing speaks against it. A statement that
    /// cannot carry it fails before anything is executed, for example because of a rule for its table.
    pub(crate) async fn carry(
        &self,
        connection: &Connection,
        local: &LocalSettings,
        statements: &[proto::Statement],
        ask: Ask,
        claim: Option<&Claim>,
    ) -> Result<Carried, Failure> {
        let ([statement], Some(claim)) = (statements, claim) else { return Ok(Carried::NotRun) };
        if !local.is_empty() || !may_carry(statement) || !claim.may_be_carried() || !self.claims.may_insert() {
            return Ok(Carried::NotRun);
        }
        let sql = carried::sql(&statement.sql, statement.parameter_types.len(), claim.once.key.slot());
        let Ok(prepared) = connection.statement(&sql).await else { return Ok(Carried::NotRun) };
        let added = Added { parameters: carried::ADDED_PARAMETERS, columns: carried::ADDED_COLUMNS };
        if difference(&prepared, statement, added).is_some() {
            connection.forget(&sql);
            return Ok(Carried::NotRun);
        }
        let parameters = parameters(statement)?.into_iter().map(Encoded).collect();
        let questions = Questions::prepare(connection, ask, Some(claim)).await?;
        let carrying = Carrying { statement: prepared, parameters, claim };
        let run = RequestRun::new(connection, self.max_rows_bytes).carrying(carrying, &questions).await?;
        Ok(match run {
            // The error may be about the statement as well: then it has the same one in a block.
            RunOutcome::Rejected { error, .. } if error.may_be_stale() || ABSENT.contains(&error.code()) => {
                connection.forget(&sql);
                Carried::NotRun
            }
            RunOutcome::Rejected { error, .. } if *error.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
                Carried::NotAllowed
            }
            ended => Carried::Ran(ended),
        })
    }
}

fn may_carry(statement: &proto::Statement) -> bool {
    let is_plain = !statement.simple && statement.references.is_empty() && statement.expected_rows.is_none();
    is_plain && returns_written_rows(&statement.sql)
}

/// What PostgreSQL says if the table of outcomes was removed.
const ABSENT: [&SqlState; 2] = [&SqlState::INVALID_SCHEMA_NAME, &SqlState::UNDEFINED_TABLE];
