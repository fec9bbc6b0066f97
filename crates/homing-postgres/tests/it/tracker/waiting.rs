//! Waiting for one position, with everything that may happen in between.

use homing_postgres::{Position, Role, SystemIdentifier, Tracker, Verdict, WaitError};
use homing_testbed::{Shutdown, wait_until};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};
use tokio_postgres::Config;

use super::pair::{Pair, late, ordinary, value, within, write};

/// Ends the connections of all trackers.
const KILL: &str = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'homing-tracker'";

/// Starts a wait, and returns when it has begun.
async fn begun(tracker: &Tracker, position: Position) -> JoinHandle<Result<(), WaitError>> {
    let others = tracker.waiting();
    let wait = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.wait(position, late()).await }
    });
    wait_until("the call waits", async || tracker.waiting() != others).await;
    wait
}

#[tokio::test]
async fn write_is_visible_after_the_wait() {
    let pair = Pair::shared().await;
    let client = pair.replica.connect().await.unwrap();
    for config in [pair.replica.config(), ordinary(&pair.replica)] {
        let tracker = Tracker::spawn(config);
        for _ in 0..50 {
            let count: i64 = value(&client, "select count(*) from written").await;
            within(tracker.wait(write(&pair.primary).await, late())).await.unwrap();
            assert_eq!(value::<i64>(&client, "select count(*) from written").await, count + 1);
        }
        let state = tracker.state().borrow().unwrap();
        assert_eq!((state.role, state.certain_to), (Role::Replica, None));
    }
}

#[tokio::test]
async fn paused_replay_is_awaited() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    pair.replica.pause_replay().await.unwrap();
    let position = write(&pair.primary).await;
    let wait = begun(&tracker, position).await;
    for _ in 0..3 {
        assert_eq!(within(tracker.check(position)).await.unwrap(), Verdict::NotYet);
    }
    assert!(!wait.is_finished());
    pair.replica.resume_replay().await.unwrap();
    assert_eq!(within(wait).await.unwrap(), Ok(()));
    assert_eq!(within(tracker.check(position)).await.unwrap(), Verdict::Reached);
}

#[tokio::test]
async fn killed_connection_does_not_end_the_wait() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    pair.replica.pause_replay().await.unwrap();
    let wait = begun(&tracker, write(&pair.primary).await).await;
    within(tracker.probe()).await.unwrap();

    let mut state = tracker.state();
    let client = pair.replica.connect().await.unwrap();
    for _ in 0..3 {
        client.batch_execute(KILL).await.unwrap();
        // The tracker forgets its state and learns it again.
        within(state.wait_for(Option::is_none)).await.unwrap();
        within(state.wait_for(Option::is_some)).await.unwrap();
    }
    assert!(!wait.is_finished());
    pair.replica.resume_replay().await.unwrap();
    assert_eq!(within(wait).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn idle_tracker_notices_a_lost_connection() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    within(tracker.probe()).await.unwrap();
    let client = pair.replica.connect().await.unwrap();
    client.batch_execute(KILL).await.unwrap();
    within(tracker.state().wait_for(Option::is_none)).await.unwrap();
    assert_eq!(within(tracker.probe()).await.unwrap().role, Role::Replica);
}

#[tokio::test]
async fn restarted_replica_is_awaited() {
    let pair = Pair::start().await;
    let tracker = pair.tracker();
    pair.replica.pause_replay().await.unwrap();
    let wait = begun(&tracker, write(&pair.primary).await).await;
    within(tracker.probe()).await.unwrap();
    pair.replica.stop(Shutdown::Immediate).await.unwrap();
    within(tracker.state().wait_for(Option::is_none)).await.unwrap();
    assert!(within(tracker.probe()).await.is_err());
    assert!(!wait.is_finished());
    // A restart ends the pause of replay.
    pair.replica.start_again().await.unwrap();
    assert_eq!(within(wait).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn other_cluster_is_refused_at_once() {
    let pair = Pair::shared().await;
    let tracker = pair.tracker();
    let position = write(&pair.primary).await;
    let other = Position { system_identifier: SystemIdentifier::from(1), ..position };
    assert_eq!(within(tracker.wait(other, late())).await, Err(WaitError::OtherSystem));
    assert_eq!(within(tracker.check(other)).await.unwrap(), Verdict::OtherSystem);
}

#[tokio::test]
async fn primary_has_reached_what_it_wrote() {
    let pair = Pair::shared().await;
    let tracker = Tracker::spawn(pair.primary.config());
    within(tracker.wait(write(&pair.primary).await, late())).await.unwrap();
    let state = tracker.state().borrow().unwrap();
    assert_eq!((state.role, state.lag, state.ancestor), (Role::Primary, None, None));
}

#[tokio::test]
async fn absent_server_is_awaited_until_the_deadline() {
    let pair = Pair::shared().await;
    let position = write(&pair.primary).await;
    let mut config = Config::new();
    config.host("127.0.0.1").port(1).user("nobody");
    let tracker = Tracker::spawn(config);
    let deadline = Instant::now() + Duration::from_millis(200);
    assert_eq!(tracker.wait(position, deadline).await, Err(WaitError::TimedOut));
    let error = within(tracker.probe()).await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
}
