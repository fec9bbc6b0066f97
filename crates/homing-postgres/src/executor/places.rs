//! [`Places`], the connections that transactions and streams may keep for long.

use std::sync::Arc;

use homing_rpc::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;

/// The places for interactive transactions and streams. Both keep a connection for long, so together they have to leave
/// some connections of the pool to single statements.
///
/// Whoever finds no place waits for one in a queue, as callers wait for a connection: in order, and up to their
/// deadline. The queue holds one entry for each waiting call and has no other bound.
#[derive(Clone, Debug)]
pub(super) struct Places {
    transactions: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Both together.
    all: Arc<Semaphore>,
    max_transactions: usize,
    max_streams: usize,
}

/// A place, which is given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    /// Creates the places of a pool with that many connections. Streams take at most half of them. Both kinds together
    /// take at most three quarters, or as many as there may be transactions if that is more.
    pub(super) fn new(connections: usize, max_transactions: usize) -> Self {
        let max_streams = (connections / 2).max(1);
        let all = max_transactions.max(max_streams).max(connections * 3 / 4);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            transactions: semaphore(max_transactions),
            streams: semaphore(max_streams),
            all: semaphore(all),
            max_transactions,
            max_streams,
        }
    }

    /// Waits for the place of a transaction.
    pub(super) async fn transaction(&self, deadline: Instant) -> Result<Place, Failure> {
        self.place(&self.transactions, deadline).await.ok_or_else(|| {
            overloaded(format!(
                "no transaction ended in time: of the database's connections, {} may be in interactive transactions, \
                 which share some of them with streams; try again later, or raise max_transactions or pool_size",
                self.max_transactions
            ))
        })
    }

    /// Waits for the place of a stream.
    pub(super) async fn stream(&self, deadline: Instant) -> Result<Place, Failure> {
        self.place(&self.streams, deadline).await.ok_or_else(|| {
            overloaded(format!(
                "no stream ended in time: of the database's connections, {} may be in streams, which share some of \
                 them with transactions; try again later, or raise pool_size",
                self.max_streams
            ))
        })
    }

    async fn place(&self, own: &Arc<Semaphore>, deadline: Instant) -> Option<Place> {
        let place = async {
            // All take both in this order, so they cannot wait for each other.
            let own = Arc::clone(own).acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Place { _own: own, _all: all })
        };
        timeout_at(deadline, place).await.ok().flatten()
    }
}

fn overloaded(message: String) -> Failure {
    Failure::NotExecuted(Reason::Overloaded, message)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_quarter_is_left_to_statements() {
        let places = Places::new(16, 12);
        let later = Instant::now() + std::time::Duration::from_secs(60);
        let mut taken = Vec::new();
        while let Some(place) = places.stream(later).now_or_never() {
            taken.push(place.unwrap());
        }
        assert_eq!(taken.len(), 8);
        while let Some(place) = places.transaction(later).now_or_never() {
            taken.push(place.unwrap());
        }
        assert_eq!(taken.len(), 12);
        taken.pop();
        assert!(places.transaction(later).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let places = Places::new(1, 1);
        let _stream = places.stream(Instant::now()).await.unwrap();
        let refused = places.transaction(Instant::now()).await;
        assert!(matches!(refused, Err(Failure::NotExecuted(Reason::Overloaded, _))), "{refused:?}");
    }
}
