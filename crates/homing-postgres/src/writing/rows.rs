//! [`RowsRequest`], a statement whose rows are all read, and which may write.

use tokio::time::Instant;

use super::writer::Writer;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::execute::{Output, Parameters, only};
use crate::error::Result;
use crate::reading::chosen::Chosen;
use crate::reading::on_primary::read_from_primary;
use crate::reading::plan::{OnLocalPrimary, WhyPrimary};
use crate::reading::reader::{ReadRequest, ReadTiming};
use crate::reading::server::{RefusedRead, query};
use crate::statement::kind::Writes;
use crate::statement::sql;

/// A statement, and the caller's function that decodes its output.
#[derive(Debug)]
pub(crate) struct RowsRequest<'a, F> {
    operation: &'static str,
    sql: &'a str,
    parameters: &'a Parameters<'a>,
    /// Whether it may write. If not, or if a replica has run it before, it is sent again if the primary does not answer.
    writes: Writes,
    on_local_primary: OnLocalPrimary,
    read: Option<F>,
}

impl<'a, T, F: FnOnce(Output) -> Result<T>> RowsRequest<'a, F> {
    pub(crate) fn new(
        operation: &'static str,
        sql: &'a str,
        parameters: &'a Parameters<'a>,
        writes: Writes,
        on_local_primary: OnLocalPrimary,
        read: F,
    ) -> Self {
        Self { operation, sql, parameters, writes, on_local_primary, read: Some(read) }
    }

    fn read(&mut self, output: Output) -> Result<T> {
        self.read.take().expect("read once")(output)
    }
}

impl<T: Send + 'static, F: FnOnce(Output) -> Result<T>> ReadRequest for RowsRequest<'_, F> {
    type Output = T;

    async fn run_on(&mut self, engine: &Engine, chosen: &Chosen, deadline: Instant) -> Result<Result<T>, RefusedRead> {
        let output = query(engine, chosen, self.sql, self.parameters, self.on_local_primary, deadline).await?;
        Ok(self.read(output))
    }

    async fn run_on_primary(&mut self, engine: &Engine, why: WhyPrimary, timing: ReadTiming) -> Result<Answered<T>> {
        let (operation, sql, parameters) = (self.operation, self.sql, self.parameters);
        let only_reads = self.writes == Writes::No || engine.descriptions().has_only_read(sql);
        if why != WhyPrimary::Statement && only_reads {
            let answered = read_from_primary(engine, operation, timing.started, sql, parameters).await?;
            return Ok(answered.and_then(|output| self.read(output)));
        }
        // If no replica can answer, the statement may only read. The call has waited for the replica already and does
        // not wait a second time.
        let without_waiting = (why != WhyPrimary::Statement).then(|| engine.without_waiting());
        let writer = Writer::new(without_waiting.as_ref().unwrap_or(engine), operation);
        if sql::runs_in_block(sql) {
            writer.write_or_read(sql, parameters, |output| self.read(output)).await
        } else {
            writer.write(&[(sql, parameters)][..], |outputs| self.read(only(outputs))).await
        }
    }
}
