//! A stream in a transaction: a cursor that is fetched from as its rows are read.

use homing_proto::v1 as proto;

use super::Handle;
use super::statements::{TransactionCall, run};
use crate::engine::Engine;
use crate::engine::execute::{Parameters, Runner};
use crate::error::{Error, Result};
use crate::reading::rows::{RowSource, RowStream, Rows};
use crate::statement::description::StatementDescription;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::sql;

/// Opens a cursor in the transaction of a handle. The cursor is closed with the transaction.
pub(crate) async fn open_cursor(
    engine: &Engine,
    handle: &Handle,
    operation: &'static str,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<RowStream> {
    let transaction = handle.transaction()?;
    if sql::destination_in_transaction(sql)? == RunsOn::Primary {
        return Err(Error::misuse("a stream cannot lock rows or write, and this statement does: use query"));
    }
    let name = transaction.next_cursor();
    // The statement has lines of its own, since it may end with a comment.
    let declare = format!("declare {name} no scroll cursor for\n{sql}\n");
    run(engine, handle, operation, &[(&*declare, parameters)][..], Writes::Maybe, |_| Ok(())).await?;
    let description = TransactionCall::enter(engine, handle)?.describe(sql).await?;
    let columns = description.columns.clone();
    let cursor = Cursor { engine: engine.clone(), handle: handle.clone(), name, description, rows: FIRST_ROWS };
    Ok(RowStream::new(columns, (Vec::new(), false), cursor))
}

struct Cursor {
    engine: Engine,
    handle: Handle,
    name: String,
    description: StatementDescription,
    /// How many rows to fetch next.
    rows: usize,
}

impl RowSource for Cursor {
    async fn next(&mut self) -> Result<Rows> {
        let requested = self.rows;
        // Its types are not remembered: the same SQL fetches from another cursor in the next transaction.
        let statement = proto::Statement {
            sql: format!("fetch forward {requested} from {}", self.name),
            column_types: self.description.column_oids(),
            ..proto::Statement::default()
        };
        let executed = TransactionCall::enter(&self.engine, &self.handle)?.send(vec![statement]).await?;
        let bytes: usize = executed.results.iter().flat_map(|result| &result.rows).map(|row| row.len()).sum();
        let rows = executed.outputs(std::slice::from_ref(&self.description))?.remove(0).rows;
        let last = rows.len() < requested;
        self.rows = (CHUNK_BYTES * rows.len().max(1) / bytes.max(1)).clamp(1, MAX_ROWS);
        Ok((rows, last))
    }
}

/// The rows of the first fetch, when their size is not known yet.
const FIRST_ROWS: usize = 64;

/// The bytes that a fetch should return, estimated from the fetch before. It needs few round trips and stays far below
/// the limit of a message.
const CHUNK_BYTES: usize = 256 * 1024;

const MAX_ROWS: usize = 8192;
