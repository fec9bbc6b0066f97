//! [`RowsRequest`], a read that collects all rows of a statement.

use tokio::time::Instant;

use super::on_primary::read_from_primary;
use super::reader::{ReadRequest, ReadTiming};
use super::server::{RefusedRead, query};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::execute::{Output, Parameters};
use crate::error::Result;
use crate::reading::plan::{OnLocalPrimary, WhyPrimary};
use crate::replicas::Member;
use crate::statement::kind::Writes;
use crate::statement::row::Row;

/// A statement whose rows are all read, and the caller's function that decodes them.
#[derive(Debug)]
pub(crate) struct RowsRequest<'a, F> {
    operation: &'static str,
    sql: &'a str,
    parameters: &'a Parameters<'a>,
    /// Whether it may write. Otherwise it is sent again if the primary does not answer.
    writes: Writes,
    read: Option<F>,
}

impl<'a, T, F: FnOnce(Vec<Row>) -> Result<T>> RowsRequest<'a, F> {
    pub(crate) fn new(
        operation: &'static str,
        sql: &'a str,
        parameters: &'a Parameters<'a>,
        writes: Writes,
        read: F,
    ) -> Self {
        Self { operation, sql, parameters, writes, read: Some(read) }
    }

    fn read(&mut self, output: Output) -> Result<T> {
        self.read.take().expect("read once")(output.rows)
    }
}

impl<T, F: FnOnce(Vec<Row>) -> Result<T>> ReadRequest for RowsRequest<'_, F> {
    type Output = T;

    async fn run_on(&mut self, engine: &Engine, member: &Member, deadline: Instant) -> Result<Result<T>, RefusedRead> {
        let output = query(engine, member, self.sql, self.parameters, OnLocalPrimary::Read, deadline).await?;
        Ok(self.read(output))
    }

    async fn run_on_primary(&mut self, engine: &Engine, why: WhyPrimary, timing: ReadTiming) -> Result<Answered<T>> {
        let writes = if why == WhyPrimary::Statement { Writes::Yes } else { self.writes };
        let Self { operation, sql, parameters, .. } = *self;
        let answered = read_from_primary(engine, operation, timing.started, sql, parameters, writes).await?;
        Ok(answered.and_then(|output| self.read(output)))
    }
}
