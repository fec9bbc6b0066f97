//! Calls with several named steps.

use super::Repo;
use crate::batch::encode::BatchRequest;
use crate::batch::plan::Batch;
use crate::batch::results::BatchResults;
use crate::error::Result;
use crate::statement::kind::Writes;
use crate::transaction::statements::run;
use crate::writing::writer::Writer;

/// # Batches
impl Repo {
    /// Runs the steps of a batch: in order, in one transaction on the primary, and in one round trip from here. Where there
    /// is no replica, the types of statements that are new have to be asked for before, a few statements at a time. A
    /// batch without steps does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::step`](crate::Error::step) names the step that failed; nothing of any step remains. Misuse and not sent: a parameter is of
    /// another type than its statement takes, a reference leads to no column or to one of another type, or the batch is
    /// larger than a message may be. See [`Error`](crate::Error) for the others.
    pub async fn batch(&self, batch: &Batch<'_>) -> Result<BatchResults> {
        const OPERATION: &str = "batch";
        if batch.statements.is_empty() {
            // No steps, or none but those that store no rows.
            return batch.results(Vec::new());
        }
        let engine = &self.engine;
        let request = BatchRequest { batch, max_bytes: engine.rpc().max_message_bytes() };
        let read = |outputs| batch.results(outputs);
        if self.in_transaction() {
            // All or none of its steps: a savepoint of its own costs no round trip.
            return Box::pin(self.transaction(|savepoint| async move {
                let handle = savepoint.transaction.as_ref().expect("the handle of a transaction");
                run(&savepoint.engine, handle, OPERATION, &request, Writes::Yes, read).await
            }))
            .await;
        }
        engine.reported(OPERATION, Writer::new(engine, OPERATION).write(&request, read)).await
    }
}
