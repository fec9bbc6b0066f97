//! What a statement has to do with its transaction: the values that it takes from the first row of an earlier one, and
//! the rows without which it must not be committed.

use std::collections::HashMap;

use bytes::Bytes;
use homing_proto::v1 as proto;
use proto::rejection::Cause;

use super::{Failure, Prepared};
use crate::statement::types;
use crate::statement::values;

/// Why a statement must not be committed although PostgreSQL took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// The statement that it takes a value from returned no row.
    NoRow { statement: u32 },

    /// It affected another number of rows.
    Rows { expected: u64, found: u64 },
}

impl From<Unmet> for Cause {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::NoRow { statement } => Self::NoReferencedRow(proto::NoReferencedRow { statement }),
            Unmet::Rows { expected, found } => Self::UnexpectedRows(proto::UnexpectedRows { expected, found }),
        }
    }
}

/// Splits the parameters of a statement as they were sent. Those that are references are NULL until
/// [`FirstRows::fill`].
pub(super) fn parameters(asked: &proto::Statement) -> Result<Vec<Option<Bytes>>, Failure> {
    let types = asked.parameter_types.len();
    let guarded = !asked.references.is_empty() || asked.expected_rows.is_some();
    let count = types + usize::from(guarded);
    let mut parameters = values::split(asked.parameters.clone(), count)
        .ok_or_else(|| Failure::bad_request("the parameters of the statement are not a list of that many values"))?;
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
    ) -> Result<Vec<Option<Bytes>>, Unmet> {
        let mut parameters = parameters.to_vec();
        for &proto::Reference { parameter, statement, column } in references {
            let Some(Some(row)) = self.0.get(&statement) else {
                return Err(Unmet::NoRow { statement });
            };
            parameters[parameter as usize].clone_from(&row[column as usize]);
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::*;

    fn statement(types: &[Type], values: usize) -> proto::Statement {
        let mut list = bytes::BytesMut::new();
        (0..values).for_each(|_| values::put(&mut list, None));
        proto::Statement {
            parameter_types: types.iter().map(Type::oid).collect(),
            parameters: list.freeze(),
            ..proto::Statement::default()
        }
    }

    #[test]
    fn what_depends_on_other_statements_has_a_value_too_many_for_who_does_not_know_that() {
        for types in [&[][..], &[Type::INT8], &[Type::INT8, Type::TEXT]] {
            let count = types.len();
            let expecting = proto::Statement { expected_rows: Some(1), ..statement(types, count + 1) };
            let reference = proto::Reference::default();
            let referring = proto::Statement { references: vec![reference], ..statement(types, count + 1) };
            for guarded in [expecting, referring] {
                assert_eq!(parameters(&guarded).unwrap().len(), count);
                // All that a build without these fields looks at.
                assert_eq!(values::split(guarded.parameters.clone(), count), None, "an old build would run it");
                let unguarded = proto::Statement { parameters: statement(types, count).parameters, ..guarded };
                assert!(parameters(&unguarded).is_err(), "nobody may send it so that an old build would run it");
            }
            assert_eq!(parameters(&statement(types, count)).unwrap().len(), count);
        }
    }

    #[test]
    fn only_first_rows_that_are_asked_for_are_kept() {
        let reference = |statement| proto::Reference { parameter: 1, statement, column: 0 };
        let mut rows = FirstRows([(0, None), (2, None)].into());
        let value = |byte| vec![Some(Bytes::copy_from_slice(&[byte]))];
        rows.offer(0, || value(7));
        rows.offer(0, || panic!("the first row is kept already"));
        rows.offer(1, || panic!("nobody asks for it"));
        let parameters = [None, None, None];
        let filled = rows.fill(&parameters, &[reference(0)]).unwrap();
        assert_eq!(filled, [None, Some(Bytes::from_static(&[7])), None]);
        assert_eq!(rows.fill(&parameters, &[reference(2)]), Err(Unmet::NoRow { statement: 2 }));
    }
}
