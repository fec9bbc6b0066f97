//! A stream in a transaction: a cursor that is fetched from as its rows are read.

use bytes::Bytes;
use homing_proto::v1 as proto;

use super::Handle;
use super::statements::{TransactionCall, run};
use crate::engine::Engine;
use crate::engine::execute::{Parameters, Runner};
use crate::engine::operation::Operation;
use crate::error::{Error, Result};
use crate::primary::execute::Executed;
use crate::reading::rows::{RowSource, RowStream, Rows};
use crate::statement::description::StatementDescription;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::sql;

/// Opens a cursor in the transaction of a handle. The cursor is closed with the transaction.
pub(crate) async fn open_cursor(
    engine: &Engine,
    handle: &Handle,
    operation: Operation<'_>,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<RowStream> {
    let transaction = handle.transaction().map_err(|error| operation.locate(error))?;
    check(sql).map_err(|error| operation.locate(error))?;
    let name = transaction.next_cursor();
    // The statement has lines of its own, since it may end with a comment.
    let declare = format!("declare {name} no scroll cursor for\n{sql}\n");
    run(engine, handle, operation, &[(&*declare, parameters)][..], Writes::Maybe, |_| Ok(())).await?;
    let call = TransactionCall::enter(engine, handle).map_err(|error| operation.locate(error))?;
    let description = call.describe(sql).await.map_err(|error| operation.locate(error))?;
    let columns = description.columns.clone();
    let (engine, handle, sql) = (engine.clone(), handle.clone(), sql.to_owned());
    let cursor = Cursor { engine, handle, sql, name, description, rows: FIRST_ROWS };
    Ok(RowStream::new(columns, (Vec::new(), false), cursor))
}

fn check(sql: &str) -> Result<()> {
    if sql::destination_in_transaction(sql)? == RunsOn::Primary {
        return Err(Error::misuse("a stream cannot lock rows or write, and this statement does: use query"));
    }
    Ok(())
}

struct Cursor {
    engine: Engine,
    handle: Handle,
    sql: String,
    name: String,
    description: StatementDescription,
    /// How many rows to fetch next.
    rows: usize,
}

impl RowSource for Cursor {
    async fn next(&mut self) -> Result<Rows> {
        let requested = self.rows;
        let executed = match self.fetch().await {
            // The schema has changed since the statement was described, and nothing was fetched.
            Err(error) if error.is_stale() => {
                let call = TransactionCall::enter(&self.engine, &self.handle)?;
                call.describe_again(&self.sql).await?;
                self.description = call.describe(&self.sql).await?;
                self.fetch().await?
            }
            executed => executed?,
        };
        let bytes: usize = executed.results.iter().flat_map(|result| &result.rows).map(|row| row.len()).sum();
        let rows = executed.outputs(std::slice::from_ref(&self.description))?.remove(0).rows;
        let last = rows.len() < requested;
        self.rows = (CHUNK_BYTES * rows.len().max(1) / bytes.max(1)).clamp(1, MAX_ROWS);
        Ok((rows, last))
    }
}

impl Cursor {
    async fn fetch(&self) -> Result<Executed> {
        // Its types are not remembered: the same SQL fetches from another cursor in the next transaction.
        let sql = format!("fetch forward {} from {}", self.rows, self.name);
        let described = self.description.statement(&sql, Bytes::new());
        let statement = proto::Statement { parameter_types: Vec::new(), ..described };
        TransactionCall::enter(&self.engine, &self.handle)?.send(vec![statement]).await
    }
}

/// The rows of the first fetch, when their size is not known yet.
const FIRST_ROWS: usize = 64;

/// The bytes that a fetch should return, estimated from the fetch before. It needs few round trips and stays far below
/// the limit of a message.
const CHUNK_BYTES: usize = 256 * 1024;

const MAX_ROWS: usize = 8192;
