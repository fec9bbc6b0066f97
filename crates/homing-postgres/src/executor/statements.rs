//! The statements of a request, prepared and with their parameters at hand.

use std::borrow::Cow;

use bytes::Bytes;
use homing_proto::v1 as proto;
use tokio_postgres::{Statement, types::Type};

use super::Failure;
use crate::pool::Connection;
use crate::scope::Schema;
use crate::values;

/// A statement, ready to run.
#[derive(Debug)]
pub(crate) enum Prepared<'a> {
    Extended { statement: Statement, parameters: Vec<Option<Bytes>> },
    Simple(&'a str),
}

/// The statement that PostgreSQL refused to prepare, and its reason.
type Refused = (u32, tokio_postgres::Error);

impl<'a> Prepared<'a> {
    /// Prepares all statements before the first one runs. The schema is that of the transaction that is open by now.
    pub(crate) async fn all(
        connection: &Connection,
        schema: Option<&Schema>,
        statements: &'a [proto::Statement],
    ) -> Result<Result<Vec<Self>, Refused>, Failure> {
        if statements.is_empty() {
            return Err(Failure::bad_request("a request without statements"));
        }
        if let [statement] = statements
            && statement.simple
        {
            return Ok(Ok(vec![Self::Simple(&statement.sql)]));
        }
        let mut prepared = Vec::with_capacity(statements.len());
        for (index, statement) in (0..).zip(statements) {
            if statement.simple {
                return Err(Failure::bad_request("a script cannot be part of a transaction"));
            }
            let sql = schema.map_or(Cow::Borrowed(&*statement.sql), |schema| schema.tagged(&statement.sql).into());
            match connection.statement(&sql).await {
                Ok(known) => prepared.push(Self::extended(known, statement)?),
                Err(error) => return Ok(Err((index, error))),
            }
        }
        Ok(Ok(prepared))
    }

    fn extended(known: Statement, asked: &proto::Statement) -> Result<Self, Failure> {
        if !known.params().iter().map(Type::oid).eq(asked.parameter_types.iter().copied()) {
            return Err(Failure::stale("the parameters of the statement have other types on the primary"));
        }
        let columns = known.columns().iter().map(|column| column.type_().oid());
        if !columns.eq(asked.column_types.iter().copied()) {
            return Err(Failure::stale("the columns of the statement have other types on the primary"));
        }
        let parameters = values::split(asked.parameters.clone(), asked.parameter_types.len()).ok_or_else(|| {
            Failure::bad_request("the parameters of the statement are not a list of that many values")
        })?;
        Ok(Self::Extended { statement: known, parameters })
    }
}
