//! Without a waiter the tracker sends no query.

use homing_postgres::{Tracker, WaitError};
use homing_testbed::wait_until;
use tokio::time::{Duration, Instant};

use super::pair::{Pair, late, ordinary, until, value, within, write};

/// The tracker's session on the replica. Its process id tells it from the sessions of other tests.
struct Session<'a> {
    pair: &'a Pair,
    pid: i32,
}

impl<'a> Session<'a> {
    async fn of(tracker: &Tracker, pair: &'a Pair) -> Self {
        let client = pair.replica.connect().await.unwrap();
        within(tracker.probe()).await.unwrap();
        let newest = "select pid from pg_stat_activity where application_name = 'homing-tracker' \
                        order by backend_start desc limit 1";
        Self { pair, pid: value(&client, newest).await }
    }

    /// Counts the queries of the session in the server's log.
    fn queries(&self) -> usize {
        let start = format!("[{}] homing-tracker LOG:  execute ", self.pid);
        self.pair.replica.log().contents().unwrap().matches(&start).count()
    }

    /// Lets a second pass on the replica while other sessions write and read.
    async fn others_are_busy(&self) {
        let client = self.pair.replica.connect().await.unwrap();
        let second = client.batch_execute("select pg_sleep(1)");
        let writes = async {
            for _ in 0..20 {
                write(&self.pair.primary).await;
            }
            self.pair.replica.caught_up_with(&self.pair.primary).await.unwrap();
        };
        tokio::join!(async { second.await.unwrap() }, writes);
    }
}

#[tokio::test]
async fn no_query_without_waiters() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    let session = Session::of(&tracker, &pair).await;
    within(tracker.wait(write(&pair.primary).await, late())).await.unwrap();
    let client = pair.replica.connect().await.unwrap();
    let changed = format!("select state_change::text from pg_stat_activity where pid = {}", session.pid);
    until(&client, &format!("select state = 'idle' from pg_stat_activity where pid = {}", session.pid)).await;

    let (queries, state_change): (_, String) = (session.queries(), value(&client, &changed).await);
    session.others_are_busy().await;
    assert_eq!(session.queries(), queries);
    assert_eq!(value::<String>(&client, &changed).await, state_change);

    // The log would show a query: one more probe appears in it.
    within(tracker.probe()).await.unwrap();
    assert!(session.queries() > queries);
}

#[tokio::test]
async fn known_position_needs_no_query() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    let session = Session::of(&tracker, &pair).await;
    let position = write(&pair.primary).await;
    within(tracker.wait(position, late())).await.unwrap();
    let queries = session.queries();
    for _ in 0..100 {
        within(tracker.wait(position, late())).await.unwrap();
    }
    assert_eq!(session.queries(), queries);
}

#[tokio::test]
async fn ten_thousand_waiters_share_queries() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    let session = Session::of(&tracker, &pair).await;
    pair.replica.pause_replay().await.unwrap();
    let position = write(&pair.primary).await;
    let before = session.queries();

    let waits = (0..10_000).map(|_| {
        let tracker = tracker.clone();
        tokio::spawn(async move { tracker.wait(position, late()).await })
    });
    let mut waits: Vec<_> = waits.collect();
    wait_until("all calls wait", async || tracker.waiting() == 10_000).await;
    let cancelled = waits.split_off(5_000);
    cancelled.iter().for_each(tokio::task::JoinHandle::abort);
    for wait in cancelled {
        assert!(wait.await.unwrap_err().is_cancelled());
    }
    assert_eq!(tracker.waiting(), 5_000);

    pair.replica.resume_replay().await.unwrap();
    for wait in waits {
        assert_eq!(within(wait).await.unwrap(), Ok(()));
    }
    assert_eq!(tracker.waiting(), 0);
    let queries = session.queries() - before;
    assert!(queries < 1_000, "{queries} queries for 10,000 waiters");
}

#[tokio::test]
async fn probes_end_with_the_last_waiter() {
    let pair = Pair::shared().await;
    let tracker = Tracker::spawn(ordinary(&pair.replica));
    let session = Session::of(&tracker, &pair).await;
    pair.replica.pause_replay().await.unwrap();
    let position = write(&pair.primary).await;

    let timed_out = tracker.wait(position, Instant::now() + Duration::from_millis(20)).await;
    assert_eq!(timed_out, Err(WaitError::TimedOut));
    let wait = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.wait(position, late()).await }
    });
    let before = session.queries();
    wait_until("the tracker probes", async || session.queries() >= before + 5).await;
    wait.abort();
    assert!(wait.await.unwrap_err().is_cancelled());
    assert_eq!(tracker.waiting(), 0);
    // Also ends a probe that was under way.
    within(tracker.probe()).await.unwrap();

    let queries = session.queries();
    pair.replica.resume_replay().await.unwrap();
    session.others_are_busy().await;
    assert_eq!(session.queries(), queries);
}

#[tokio::test]
async fn connection_ends_with_the_last_handle() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    let clone = tracker.clone();
    let session = Session::of(&tracker, &pair).await;
    let client = pair.replica.connect().await.unwrap();
    drop(tracker);
    within(clone.probe()).await.unwrap();
    drop(clone);
    let gone = format!("select not exists (select from pg_stat_activity where pid = {})", session.pid);
    until(&client, &gone).await;
}
