//! Commits a transaction.

use bytes::Bytes;
use tokio::time::Instant;

use super::Transaction;
use super::exchange::{CommittedTransaction, Exchange};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::operation::Operation;
use crate::error::Result;
use crate::writing::writer::{Committed, Writer};

/// Commits the transaction and waits for the replica like any write. Rolls it back if it cannot be committed.
///
/// `kept` is the result that is kept with the transaction's key.
pub(crate) async fn commit<T: Send + 'static>(
    engine: &Engine,
    transaction: &Transaction,
    value: T,
    kept: Option<Bytes>,
) -> Result<T> {
    let commit = async {
        let started = Instant::now();
        let exchange = Exchange { engine, transaction };
        let sealed = transaction.savepoints().seal();
        if let Err(error) = sealed {
            exchange.roll_back().await;
            return Err(error);
        }
        let earlier = engine.session.earlier();
        let Some(committed) = exchange.commit(kept).await? else {
            return Ok(Answered { value: Ok(value), report: None });
        };
        let CommittedTransaction { position, unchanged, not_replicated, trip } = committed;
        let may_have_written = !transaction.is_read_only() && !unchanged;
        if let Err(error) = engine.check_timeline(position, may_have_written) {
            return Err(error.with_value(value));
        }
        if let Some(position) = position {
            engine.session.settle_all(&earlier, position);
        }
        if may_have_written {
            let report = trip.report(OPERATION, started, position);
            let before = earlier.positions;
            let committed = Committed { value: Ok(value), position, before, not_replicated, report };
            return Ok(Writer::new(engine, OPERATION).settle(committed).await);
        }
        Ok(Answered::new(Ok(value), trip.report(OPERATION, started, None)))
    };
    engine.reported(Operation::new(OPERATION), commit).await
}

const OPERATION: &str = "transaction";
