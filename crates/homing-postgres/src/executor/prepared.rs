//! [`Prepared`], a statement of a request, prepared on a connection and with its parameters.

use bytes::Bytes;
use homing_proto::v1 as proto;
use tokio_postgres::types::Type;
use tokio_postgres::{Column, Statement};

use super::failure::Failure;
use super::keyed::claims::Claim;
use crate::connection::pool::Connection;
use crate::scope::schema::{Schema, tagged};
use crate::statement::description::hash_of_names;
use crate::statement::types;
use crate::statement::values::{self, Encoded};

/// A statement that is ready to run.
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

/// A statement that is prepared together with the claim of its key.
pub(super) struct Carrying<'a> {
    pub(super) statement: Statement,
    pub(super) parameters: Vec<Encoded>,
    pub(super) claim: &'a Claim,
}

/// The index of the statement that PostgreSQL refused to prepare, and the error.
type Refused = (u32, tokio_postgres::Error);

impl<'a> Prepared<'a> {
    /// Prepares all statements before the first one runs. The schema is that of the open transaction.
    pub(crate) async fn all(
        connection: &Connection,
        schema: Option<&Schema>,
        statements: &'a [proto::Statement],
    ) -> Result<Result<Vec<Self>, Refused>, Failure> {
        if statements.is_empty() {
            return Err(Failure::bad_request("the request has no statements"));
        }
        if let [statement] = statements
            && statement.simple
        {
            return Ok(Ok(vec![Self::Simple(&statement.sql)]));
        }
        let mut prepared = Vec::with_capacity(statements.len());
        for (index, statement) in (0..).zip(statements) {
            if statement.simple {
                return Err(Failure::bad_request("a script cannot be one of several statements"));
            }
            match connection.statement(&tagged(schema, &statement.sql)).await {
                Ok(known) => prepared.push(Self::extended(known, statement, &prepared)?),
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

    /// Checks a prepared statement against the request, and adds its parameters. `earlier` are the statements before
    /// it.
    pub(super) fn extended(known: Statement, asked: &'a proto::Statement, earlier: &[Self]) -> Result<Self, Failure> {
        check(&known, &asked.references, earlier)?;
        if let Some(difference) = difference(&known, asked, Added::default()) {
            return Err(Failure::stale(difference));
        }
        let parameters = parameters(asked)?;
        let proto::Statement { references, expected_rows, .. } = asked;
        Ok(Self::Extended { statement: known, parameters, references, expected_rows: *expected_rows })
    }
}

/// How many parameters and columns a prepared statement has behind those that the request knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Added {
    pub(super) parameters: usize,
    pub(super) columns: usize,
}

/// Returns how the types or names of a prepared statement differ from those of the request.
pub(super) fn difference(known: &Statement, asked: &proto::Statement, added: Added) -> Option<&'static str> {
    let (parameters, columns) = (known.params(), known.columns());
    let parameters = &parameters[..parameters.len().saturating_sub(added.parameters)];
    let columns = &columns[..columns.len().saturating_sub(added.columns)];
    if !parameters.iter().map(Type::oid).eq(asked.parameter_types.iter().copied()) {
        return Some("the parameters of the statement have different types on the primary");
    }
    if !columns.iter().map(|column| column.type_().oid()).eq(asked.column_types.iter().copied()) {
        return Some("the columns of the statement have different types on the primary");
    }
    let names = || hash_of_names(columns.iter().map(Column::name));
    (asked.column_names != 0 && asked.column_names != names())
        .then_some("the columns of the statement have different names on the primary")
}

/// Splits the parameters of a statement as they were sent. References are NULL until the first rows are known.
///
/// A statement that depends on others carries one value more than it has types. A build that does not know these fields
/// counts the values and rejects the statement.
pub(super) fn parameters(asked: &proto::Statement) -> Result<Vec<Option<Bytes>>, Failure> {
    let types = asked.parameter_types.len();
    let guarded = !asked.references.is_empty() || asked.expected_rows.is_some();
    let count = types + usize::from(guarded);
    let mut parameters = values::split(asked.parameters.clone(), count).ok_or_else(|| {
        Failure::bad_request("the parameters of the statement are not a list with one value for each type")
    })?;
    parameters.truncate(types);
    Ok(parameters)
}

/// Checks that each reference names a column of an earlier statement, and that the column has the parameter's type.
fn check(
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
            (Some(_), Some(_)) => {
                return Err(Failure::bad_request("a reference does not have the type of its parameter"));
            }
            _ => return Err(Failure::bad_request("a reference does not name a column of an earlier statement")),
        }
    }
    Ok(())
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
    fn old_builds_reject_dependent_statements() {
        for types in [&[][..], &[Type::INT8], &[Type::INT8, Type::TEXT]] {
            let count = types.len();
            let expecting = proto::Statement { expected_rows: Some(1), ..statement(types, count + 1) };
            let reference = proto::Reference::default();
            let referring = proto::Statement { references: vec![reference], ..statement(types, count + 1) };
            for guarded in [expecting, referring] {
                assert_eq!(parameters(&guarded).unwrap().len(), count);
                // An old build looks at nothing else.
                assert_eq!(values::split(guarded.parameters.clone(), count), None, "an old build would run it");
                let unguarded = proto::Statement { parameters: statement(types, count).parameters, ..guarded };
                assert!(parameters(&unguarded).is_err(), "a form that an old build would run is rejected");
            }
            assert_eq!(parameters(&statement(types, count)).unwrap().len(), count);
        }
    }
}
