//! Values that a statement takes from the first row of an earlier one of the same transaction.

use std::collections::HashMap;

use bytes::Bytes;
use homing_proto::v1 as proto;
use proto::rejection::Cause;

use super::{Failure, Prepared};
use crate::types;
use crate::values;

/// Splits the parameters of a statement as they were sent. Those that are references are NULL until
/// [`FirstRows::fill`].
pub(super) fn parameters(asked: &proto::Statement) -> Result<Vec<Option<Bytes>>, Failure> {
    let types = asked.parameter_types.len();
    let guarded = !asked.references.is_empty() || asked.expected_rows.is_some();
    let count = types + usize::from(guarded);
    let mut parameters = values::split(asked.parameters.clone(), count).ok_or_else(|| {
        Failure::bad_request("the parameters of the statement are not a list of that many values")
    })?;
    parameters.truncate(types);
    Ok(parameters)
}

/// Checks that each reference leads to a column of an earlier statement and has the type of its parameter.
pub(super) fn check(
    statement: &tokio_postgres::Statement,
    references: &[proto::Reference],
    earlier: &[Prepared<'_>],
) -> Result<(), Failure> {
    for reference in references {
        let parameter = statement.params().get(reference.parameter as usize);
        let column = match earlier.get(reference.statement as usize) {
            Some(Prepared::Extended { statement, .. }) => statement.columns().get(reference.column as usize),
            Some(Prepared::Simple(_)) | None => None,
        };
        match (parameter, column) {
            (Some(parameter), Some(column)) if types::interchangeable(parameter, column.type_()) => {}
            (Some(_), Some(_)) => return Err(Failure::bad_request("a reference is not of the type of its parameter")),
            _ => return Err(Failure::bad_request("a reference does not lead to a column of an earlier statement")),
        }
    }
    Ok(())
}

/// The first rows of the statements that later ones refer to.
#[derive(Debug)]
pub(super) struct FirstRows(HashMap<u32, Option<Vec<Option<Bytes>>>>);

impl FirstRows {
    /// Knows whose rows will be asked for, so that no others are kept.
    pub(super) fn wanted_by(statements: &[Prepared<'_>]) -> Self {
        let references = statements.iter().flat_map(Prepared::references);
        Self(references.map(|reference| (reference.statement, None)).collect())
    }

    /// Keeps a row, if it is the first of a statement that another one refers to.
    pub(super) fn offer(&mut self, statement: u32, row: impl FnOnce() -> Vec<Option<Bytes>>) {
        if let Some(kept @ None) = self.0.get_mut(&statement) {
            *kept = Some(row());
        }
    }

    /// The parameters of a statement with the values that it refers to. The error is the reason to stop.
    pub(super) fn fill(
        &self,
        parameters: &[Option<Bytes>],
        references: &[proto::Reference],
    ) -> Result<Vec<Option<Bytes>>, Cause> {
        let mut parameters = parameters.to_vec();
        for &proto::Reference { parameter, statement, column } in references {
            let Some(Some(row)) = self.0.get(&statement) else {
                return Err(Cause::NoReferencedRow(proto::NoReferencedRow { statement }));
            };
            parameters[parameter as usize].clone_from(&row[column as usize]);
        }
        Ok(parameters)
    }
}
