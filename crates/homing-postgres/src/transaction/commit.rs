//! Commits a transaction.

use tokio::time::Instant;

use super::Transaction;
use super::exchange::{CommittedTransaction, Exchange};
use crate::call::report::AnsweredBy;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::error::Result;
use crate::primary::execute::Trip;
use crate::reading::server::note_read;
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
        let Some(committed) = exchange.commit().await? else {
            return Ok(Answered { value: Ok(value), report: None });
        };
        let CommittedTransaction { position, unchanged, not_replicated, trip } = committed;
        let may_have_written = !transaction.is_read_only() && !unchanged;
        if let Err(error) = engine.check_timeline(position, may_have_written) {
            return Err(error.with_value(value));
        }
        if may_have_written {
            let report = trip.report(OPERATION, started, position);
            let committed = Committed { value: Ok(value), position, not_replicated, report };
            return Ok(Writer::new(engine, OPERATION).settle(committed).await);
        }
        // Later reads on the replica must not be older than what the transaction saw on the primary.
        match position {
            Some(position) => engine.session.advance(position),
            None => note_local_reads(engine, &trip),
        }
        Ok(Answered::new(Ok(value), trip.report(OPERATION, started, None)))
    };
    engine.reported(OPERATION, commit).await
}

/// Notes that the session has read on the local primary, which is asked for its position when that matters.
fn note_local_reads(engine: &Engine, trip: &Trip) {
    if trip.answered_by == AnsweredBy::Local
        && let Some(local) = engine.replicas().local_primary()
    {
        note_read(engine, &local, None, &[]);
    }
}

const OPERATION: &str = "transaction";
