//! The question which transactions have not ended.

use tokio::time::{Instant, timeout_at};

use super::Executor;
use super::failure::Failure;
use crate::position::snapshot::{MAX_IN_PROGRESS, Snapshot};
use crate::position::transaction_id::TransactionId;

impl Executor {
    /// Asks which transactions have not ended now.
    pub(crate) async fn snapshot(&self, deadline: Instant) -> Result<Snapshot, Failure> {
        let connection = self.pool.connection(deadline).await;
        let connection = connection.map_err(|error| Failure::unavailable(error.to_string()))?;
        let asking = async {
            let statement = connection.statement(&snapshot_sql()).await?;
            let row = connection.query_one(&statement, &[]).await?;
            Ok::<_, tokio_postgres::Error>(Snapshot::new(row.try_get(0)?, row.try_get::<_, Vec<TransactionId>>(1)?))
        };
        let failed =
            |why: &str| Failure::unavailable(format!("cannot ask the database for running transactions: {why}"));
        match timeout_at(deadline, asking).await {
            Ok(snapshot) => snapshot.map_err(|error| failed(&error.to_string())),
            Err(_) => {
                connection.discard();
                Err(failed("it did not answer in time"))
            }
        }
    }
}

/// A transaction that has committed and that PostgreSQL still counts as running is in the list, or its id is not below `xmax`.
/// Subtransactions are not listed: they end with their transaction.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>
fn snapshot_sql() -> String {
    let limit = MAX_IN_PROGRESS + 1;
    format!(
        "select pg_catalog.pg_snapshot_xmax(taken), array(select pg_catalog.pg_snapshot_xip(taken) limit {limit}) \
         from pg_catalog.pg_current_snapshot() as taken"
    )
}
