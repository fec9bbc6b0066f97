//! Commits a transaction.

use tokio::time::Instant;

use super::Transaction;
use super::exchange::{CommittedTransaction, Exchange};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::error::Result;
use crate::writing::writer::{Committed, Writer};

/// Commits the transaction and waits for the replica like any write. Rolls it back if it cannot be committed.
pub(crate) async fn commit<T: Send + 'static>(engine: &Engine, transaction: &Transaction, value: T) -> Result<T> {
    let commit = async {
        let started = Instant::now();
        let exchange = Exchange { engine, transaction };
        let sealed = transaction.savepoints().seal();
        if let Err(error) = sealed {
            exchange.roll_back().await;
            return Err(error);
        }
        let Some(CommittedTransaction { position, not_replicated, trip }) = exchange.commit().await? else {
            return Ok(Answered { value: Ok(value), report: None });
        };
        let report = trip.report(OPERATION, started, position);
        if !transaction.is_read_only() {
            let committed = Committed { value: Ok(value), position, not_replicated, report };
            return Ok(Writer::new(engine, OPERATION).settle(committed).await);
        }
        // Later reads on the replica must not be older than this snapshot of the primary.
        if let Some(position) = position {
            engine.session.advance(position);
        }
        Ok(Answered::new(Ok(value), report))
    };
    engine.reported(OPERATION, commit).await
}

const OPERATION: &str = "transaction";
