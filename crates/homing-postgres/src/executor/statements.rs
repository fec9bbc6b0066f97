//! The statements of a request, prepared and with their parameters at hand.

use std::borrow::Cow;

use bytes::Bytes;
use homing_proto::v1 as proto;
use tokio_postgres::{Statement, types::Type};

use super::{Failure, references};
use crate::connection::pool::Connection;
use crate::scope::Schema;

/// A statement, ready to run.
#[derive(Debug)]
pub(crate) enum Prepared<'a> {
    Extended {
        statement: Statement,
        parameters: Vec<Option<Bytes>>,
        references: &'a [proto::Reference],
        expected_rows: Option<u64>,
    },
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
                Ok(known) => {
                    references::check(&known, &statement.references, &prepared)?;
                    prepared.push(Self::extended(known, statement)?);
                }
                Err(error) => return Ok(Err((index, error))),
            }
        }
        Ok(Ok(prepared))
    }

    pub(super) fn references(&self) -> &'a [proto::Reference] {
        match self {
            Self::Extended { references, .. } => references,
            Self::Simple(_) => &[],
        }
    }

    pub(super) fn expected_rows(&self) -> Option<u64> {
        match self {
            Self::Extended { expected_rows, .. } => *expected_rows,
            Self::Simple(_) => None,
        }
    }

    pub(super) fn extended(known: Statement, asked: &'a proto::Statement) -> Result<Self, Failure> {
        if !known.params().iter().map(Type::oid).eq(asked.parameter_types.iter().copied()) {
            return Err(Failure::stale("the parameters of the statement have other types on the primary"));
        }
        let columns = known.columns().iter().map(|column| column.type_().oid());
        if !columns.eq(asked.column_types.iter().copied()) {
            return Err(Failure::stale("the columns of the statement have other types on the primary"));
        }
        let parameters = references::parameters(asked)?;
        let proto::Statement { references, expected_rows, .. } = asked;
        Ok(Self::Extended { statement: known, parameters, references, expected_rows: *expected_rows })
    }
}
