//! Dependencies between the statements of a transaction: values that a statement takes from the first row of an earlier
//! one, and row counts that it requires.

use std::collections::HashMap;

use bytes::Bytes;
use homing_proto::v1 as proto;
use proto::rejection::Cause;

/// Why a statement must not be committed although PostgreSQL ran it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// It takes a value from a statement that returned no row.
    NoRow { statement: u32 },

    /// It affected a different number of rows than required.
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

/// The first rows of the statements that later statements refer to.
#[derive(Debug)]
pub(super) struct FirstRows(HashMap<u32, Option<Vec<Option<Bytes>>>>);

impl FirstRows {
    /// Prepares to keep the rows that these references need, and no others.
    pub(super) fn wanted_by<'a>(references: impl IntoIterator<Item = &'a proto::Reference>) -> Self {
        Self(references.into_iter().map(|reference| (reference.statement, None)).collect())
    }

    /// Keeps the row if it is the first of a statement that a later one refers to.
    pub(super) fn offer(&mut self, statement: u32, row: impl FnOnce() -> Vec<Option<Bytes>>) {
        if let Some(kept @ None) = self.0.get_mut(&statement) {
            *kept = Some(row());
        }
    }

    /// Returns the parameters of a statement with the values that it refers to.
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
    use super::*;

    #[test]
    fn only_referenced_first_rows_are_kept() {
        let reference = |statement| proto::Reference { parameter: 1, statement, column: 0 };
        let mut rows = FirstRows([(0, None), (2, None)].into());
        let value = |byte| vec![Some(Bytes::copy_from_slice(&[byte]))];
        rows.offer(0, || value(7));
        rows.offer(0, || panic!("the first row is kept already"));
        rows.offer(1, || panic!("no reference needs it"));
        let parameters = [None, None, None];
        let filled = rows.fill(&parameters, &[reference(0)]).unwrap();
        assert_eq!(filled, [None, Some(Bytes::from_static(&[7])), None]);
        assert_eq!(rows.fill(&parameters, &[reference(2)]), Err(Unmet::NoRow { statement: 2 }));
    }
}
