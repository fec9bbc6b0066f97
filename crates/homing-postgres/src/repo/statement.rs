//! A statement with its parameters, on its way to be run.

use homing_proto::v1 as proto;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::Repo;
use crate::connection::block;
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::statement::description::StatementDescription;
use crate::statement::values;

/// The parameters of a statement.
pub(super) type Parameters<'a> = [&'a (dyn ToSql + Sync)];

impl Repo {
    /// The statement as it travels to the primary, with the description that its rows are decoded by.
    pub(super) async fn encode(
        &self,
        sql: &str,
        parameters: &Parameters<'_>,
        deadline: Instant,
    ) -> Result<(proto::Statement, StatementDescription)> {
        values::check_parameter_count(parameters.len())?;
        let description = self.describe(sql, deadline).await?;
        let statement = proto::Statement {
            sql: sql.to_owned(),
            parameter_types: description.parameter_oids(),
            parameters: values::encode(parameters, &description.parameters)?,
            column_types: description.column_oids(),
            ..proto::Statement::default()
        };
        Ok((statement, description))
    }

    /// The types of a statement: as remembered, else as the database here prepares it, else as the primary does.
    pub(super) async fn describe(&self, sql: &str, deadline: Instant) -> Result<StatementDescription> {
        if let Some(description) = self.descriptions().description(sql) {
            return Ok(description);
        }
        let description = match self.describe_here(sql, deadline).await? {
            Some(description) => description,
            None => self.primary().prepare(sql, deadline).await?,
        };
        self.descriptions().remember(sql, &description);
        Ok(description)
    }

    /// Forgets the types of a statement and asks the primary for them: the replica may be the one whose schema is old.
    pub(super) async fn describe_again(&self, sql: &str, deadline: Instant) -> Result<()> {
        self.descriptions().forget(sql);
        let description = self.primary().prepare(sql, deadline).await?;
        self.descriptions().remember(sql, &description);
        Ok(())
    }

    /// `None` where the primary has to be asked: there is no database here, it does not answer, or it is a replica that
    /// may not know yet what the statement is about.
    pub(super) async fn describe_here(&self, sql: &str, deadline: Instant) -> Result<Option<StatementDescription>> {
        let Some(database) = self.primary().database() else {
            return Ok(None);
        };
        let elsewhere = |error: Error| match database.role() {
            Some(Role::Primary) => Err(error),
            _ => Ok(None),
        };
        let half_way = half_way_to(deadline);
        let connection = match database.pool().connection(half_way).await {
            Ok(connection) => connection,
            Err(error) => return elsewhere(error),
        };
        let place = format!("the database here, at {},", database.pool().address());
        // Preparing waits for locks, also for one that replay holds.
        let error = match timeout_at(half_way, block::prepare(&connection, self.primary().schema(), sql)).await {
            Ok(Ok(statement)) => return Ok(Some(StatementDescription::of(&statement))),
            Ok(Err(error)) => error,
            Err(_) => {
                connection.discard();
                return elsewhere(Error::not_sent(format!("{place} did not prepare the statement in time")));
            }
        };
        match error.as_db_error() {
            Some(refused) if may_be_unknown_here(refused.code()) => {
                elsewhere(Error::rejected_by(refused.into(), place))
            }
            Some(refused) => Err(Error::rejected_by(refused.into(), place)),
            None => elsewhere(Error::not_sent(format!("{place} did not prepare the statement")).with_source(error)),
        }
    }
}

/// Half of the time that is left: the other half is for whoever is asked next.
fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Whether PostgreSQL does not know something that a newer schema may have: DDL that has not been replayed yet.
pub(super) fn may_be_unknown_here(code: &SqlState) -> bool {
    [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_PARAMETER,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::DATATYPE_MISMATCH,
        SqlState::INVALID_CATALOG_NAME,
    ]
    .contains(code)
}

/// Whether the database here says that a statement writes.
pub(super) fn says_that_it_writes(error: &DatabaseError) -> bool {
    error.code() == &SqlState::READ_ONLY_SQL_TRANSACTION
}
