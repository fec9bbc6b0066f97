//! Calls that run a batch of named steps.

use super::Repo;
use crate::batch::encode::BatchRequest;
use crate::batch::plan::Batch;
use crate::batch::results::BatchResults;
use crate::engine::operation::Operation;
use crate::error::Result;
use crate::statement::kind::Writes;
use crate::transaction::statements::run;
use crate::writing::writer::Writer;

/// # Batches
impl Repo {
    /// Runs the steps of a batch in order, in one transaction on the primary and in one round trip from this node.
    ///
    /// If this node has no replica, it first asks the primary for the types of statements that it does not know yet, a
    /// few statements at a time. A batch without steps does nothing.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](crate::Error). If a step failed, [`step`](crate::Error::step) names it, and nothing of
    /// any step remains.
    ///
    /// [`is_misuse`](crate::Error::is_misuse), before anything is sent, if a parameter does not have the type that its
    /// statement takes, if a reference names a column that does not exist or has another type, or if the batch is
    /// larger than a message may be.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn batch(&self, batch: &Batch<'_>) -> Result<BatchResults> {
        const OPERATION: &str = "batch";
        if batch.statements.is_empty() {
            // There are no steps, or only steps that store no rows.
            return batch.results(Vec::new());
        }
        let engine = &self.engine;
        let request = BatchRequest { batch, max_bytes: engine.rpc().max_message_bytes() };
        let read = |outputs| batch.results(outputs);
        if self.in_transaction() {
            // The savepoint keeps all steps or none, and costs no round trip.
            return Box::pin(self.transaction(|savepoint| async move {
                let handle = savepoint.transaction.as_ref().expect("the handle of a transaction");
                run(&savepoint.engine, handle, Operation::new(OPERATION), &request, Writes::Yes, read).await
            }))
            .await;
        }
        engine.reported(Operation::new(OPERATION), Writer::new(engine, OPERATION).write(&request, read)).await
    }
}
