//! A write is visible with its transaction, although its place may lie inside of a record that nobody has finished.

use homing_postgres::{Lsn, Position, Timeline, Tracker, TransactionId, Verdict, WaitError};
use tokio::time::{Duration, Instant};
use tokio_postgres::Client;

use super::pair::{Pair, late, ordinary, value, within, write};

/// Begins a transaction that writes, and returns its id.
async fn begin(client: &Client) -> TransactionId {
    client.batch_execute("begin; insert into written default values").await.unwrap();
    value::<TransactionId>(client, "select pg_current_xact_id()").await
}

/// A place that no server of a test reaches.
async fn far(pair: &Pair) -> Position {
    let position = write(&pair.primary).await;
    Position { lsn: Lsn::from(u64::from(position.lsn) + (1 << 40)), ..position }
}

#[tokio::test]
async fn visible_transaction_ends_the_wait() {
    let pair = Pair::shared().await;
    let far = far(&pair).await;
    let client = pair.primary.connect().await.unwrap();
    for config in [pair.replica.config(), ordinary(&pair.replica), pair.primary.config()] {
        let tracker = Tracker::spawn(config);
        let transaction = begin(&client).await;
        let wanted = far.with_transaction(transaction);
        assert_eq!(within(tracker.check(wanted)).await.unwrap(), Verdict::NotYet);
        let wait = tokio::spawn({
            let tracker = tracker.clone();
            async move { tracker.wait(wanted, late()).await }
        });
        client.batch_execute("commit").await.unwrap();
        assert_eq!(within(wait).await.unwrap(), Ok(()));
        assert_eq!(within(tracker.check(wanted)).await.unwrap(), Verdict::Reached);

        // After a failover, the number belongs to another transaction.
        let later = Position { timeline: Timeline::from(u32::from(far.timeline) + 1), ..wanted };
        assert_ne!(within(tracker.check(later)).await.unwrap(), Verdict::Reached);
    }
}

#[tokio::test]
async fn other_transactions_do_not_end_the_wait() {
    let pair = Pair::shared().await;
    let (tracker, far) = (pair.tracker(), far(&pair).await);
    let client = pair.primary.connect().await.unwrap();
    let rolled_back = begin(&client).await;
    client.batch_execute("rollback").await.unwrap();
    within(tracker.wait(write(&pair.primary).await, late())).await.unwrap();
    let of_future = TransactionId::from(u64::from(rolled_back) + 1_000_000);
    for transaction in [rolled_back, of_future, TransactionId::from(u64::MAX), TransactionId::from(3)] {
        let wanted = far.with_transaction(transaction);
        assert_eq!(within(tracker.check(wanted)).await.unwrap(), Verdict::NotYet, "{transaction}");
    }
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(tracker.wait(far.with_transaction(of_future), soon).await, Err(WaitError::TimedOut));
}

#[tokio::test]
async fn thousands_of_transactions_are_awaited() {
    let pair = Pair::shared().await;
    let (tracker, far) = (pair.tracker(), far(&pair).await);
    let client = pair.primary.connect().await.unwrap();
    pair.replica.pause_replay().await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..3000 {
        let transaction = begin(&client).await;
        client.batch_execute("commit").await.unwrap();
        let (tracker, wanted) = (tracker.clone(), far.with_transaction(transaction));
        waits.push(tokio::spawn(async move { tracker.wait(wanted, late()).await }));
    }
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    pair.replica.resume_replay().await.unwrap();
    for wait in waits {
        assert_eq!(within(wait).await.unwrap(), Ok(()));
    }
}
