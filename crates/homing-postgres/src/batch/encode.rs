//! Encodes a batch for the primary, and decodes its results.

use bytes::BytesMut;
use homing_proto::v1 as proto;
use prost::Message;

use super::arguments::Argument;
use super::plan::{Batch, BatchStatement};
use super::results::BatchResults;
use crate::engine::execute::{Output, Statements};
use crate::error::{Error, Result};
use crate::statement::columns::place;
use crate::statement::description::StatementDescription;
use crate::statement::{types, values};

/// A batch, and the largest size of a message.
#[derive(Debug)]
pub(crate) struct BatchRequest<'a> {
    pub(crate) batch: &'a Batch<'a>,
    pub(crate) max_bytes: usize,
}

impl Statements for BatchRequest<'_> {
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.batch.statements.iter().map(|statement| &*statement.sql)
    }

    fn encode(&self, descriptions: &[StatementDescription]) -> Result<Vec<proto::Statement>> {
        let statements = self.batch.statements.iter().zip(descriptions).enumerate();
        let encode = |(index, (statement, description))| {
            let encoded = self.batch.encode_statement(statement, description, descriptions);
            encoded.map_err(|error| self.locate(index, error))
        };
        let statements: Vec<_> = statements.map(encode).collect::<Result<_>>()?;
        let bytes: usize = statements.iter().map(proto::Statement::encoded_len).sum();
        if bytes > self.max_bytes {
            return Err(Error::misuse(format!(
                "the batch has {bytes} bytes, and a message may have {}: run several batches, or use a named function",
                self.max_bytes
            )));
        }
        Ok(statements)
    }

    fn locate(&self, statement: usize, error: Error) -> Error {
        match self.batch.statements.get(statement) {
            Some(statement) => {
                let step = &self.batch.steps[statement.step];
                // The statement found no row. With references, it may also be the row of an earlier step that is missing.
                let is_outdated = step.compares_version && error.is_not_found() && !statement.has_references();
                let error = if is_outdated { outdated(step.table) } else { error };
                error.in_step(&step.name)
            }
            None => error,
        }
    }
}

impl BatchStatement<'_> {
    fn has_references(&self) -> bool {
        self.arguments.list().iter().any(|argument| matches!(argument, Argument::Column(_)))
    }
}

impl Batch<'_> {
    fn encode_statement(
        &self,
        statement: &BatchStatement<'_>,
        description: &StatementDescription,
        all: &[StatementDescription],
    ) -> Result<proto::Statement> {
        let arguments = statement.arguments.list();
        values::check_count(arguments.len(), &description.parameters)?;
        let mut list = BytesMut::new();
        let mut references = Vec::new();
        for (index, (argument, ty)) in arguments.iter().zip(&*description.parameters).enumerate() {
            match argument {
                Argument::Value(value) => values::encode_parameter(index, *value, ty, &mut list)?,
                Argument::Column(reference) => {
                    values::put(&mut list, None);
                    let earlier = &self.steps[reference.step];
                    let column = column_of(&all[earlier.first], &reference.column, &earlier.name)?;
                    let found = all[earlier.first].columns[column].type_();
                    if !types::interchangeable(found, ty) {
                        return Err(Error::misuse(format!(
                            "parameter ${number} has PostgreSQL's type {ty}, but column {:?} of step {:?} is {found}: \
                             cast the parameter, as in ${number}::{found}",
                            reference.column,
                            earlier.name,
                            number = index + 1,
                        )));
                    }
                    references.push(proto::Reference {
                        parameter: wire(index),
                        statement: wire(earlier.first),
                        column: wire(column),
                    });
                }
            }
        }
        if !references.is_empty() || statement.expected_rows.is_some() {
            // A build without batches would ignore references and expected rows. It rejects a value too many.
            values::put(&mut list, None);
        }
        let expected_rows = statement.expected_rows;
        Ok(proto::Statement { references, expected_rows, ..description.statement(&statement.sql, list.freeze()) })
    }

    /// Decodes the results of the steps from the outputs of their statements.
    pub(crate) fn results(&self, outputs: Vec<Output>) -> Result<BatchResults> {
        let mut outputs = outputs.into_iter();
        let values = self.steps.iter().map(|step| {
            let outputs = outputs.by_ref().take(step.count).collect();
            (step.decode)(outputs).map_err(|error| error.in_step(&step.name))
        });
        Ok(BatchResults::new(self.id, values.collect::<Result<_>>()?))
    }
}

fn outdated(table: &str) -> Error {
    let message = "was changed or deleted since it was read: read it again and repeat the batch";
    Error::outdated(format!("the batch was rolled back, because the row of {table} {message}"))
}

/// Returns the index of a column in the rows of an earlier step.
fn column_of(description: &StatementDescription, name: &str, step: &str) -> Result<usize> {
    if description.columns.is_empty() {
        return Err(Error::misuse(format!("step {step:?} returns no columns: add a returning clause")));
    }
    place(&description.columns, name).map_err(|wrong| Error::misuse(format!("the result of step {step:?}: {wrong}")))
}

/// Converts an index for the wire. PostgreSQL and `MAX_STATEMENTS` bound all indexes far below the limit.
fn wire(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
