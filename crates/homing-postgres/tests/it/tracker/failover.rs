//! Positions of one timeline on a server of another.

use homing_postgres::{Position, Role, Tracker, Verdict, WaitError};
use homing_testbed::Postgres;

use super::pair::{Pair, late, ordinary, until, value, within, write};

/// Ends a replica's stream, so that what is written from now on does not arrive.
async fn cut_off(replica: &Postgres, primary: &Postgres) {
    stream_from(replica, "").await;
    // A replica whose replay is paused does not care for its settings before it goes on.
    let client = primary.connect().await.unwrap();
    let kill = "select pg_terminate_backend(pid) from pg_stat_replication where application_name = $1";
    client.query(kill, &[&replica.name()]).await.unwrap();
    let client = replica.connect().await.unwrap();
    until(&client, "select not exists (select from pg_stat_wal_receiver)").await;
}

async fn stream_from(replica: &Postgres, upstream: &str) {
    let client = replica.connect().await.unwrap();
    client.batch_execute(&format!("alter system set primary_conninfo to '{upstream}'")).await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let query = format!("select current_setting('primary_conninfo') = '{upstream}'");
    within(async { while !value::<bool>(&replica.connect().await.unwrap(), &query).await {} }).await;
}

/// Writes until the server's numbers are past those of a position of another timeline.
async fn write_past(primary: &Postgres, other: Position) -> Position {
    loop {
        let position = write(primary).await;
        assert_ne!(position.timeline, other.timeline);
        if position.lsn > other.lsn {
            return position;
        }
    }
}

#[tokio::test]
async fn promotion_keeps_what_was_replayed_and_loses_the_rest() {
    let pair = Pair::start().await;
    let trackers = [pair.tracker(), Tracker::spawn(ordinary(&pair.replica))];
    pair.replica.pause_replay().await.unwrap();
    let kept = write(&pair.primary).await;
    let client = pair.replica.connect().await.unwrap();
    until(&client, &format!("select pg_last_wal_receive_lsn() >= '{}'", kept.lsn)).await;
    cut_off(&pair.replica, &pair.primary).await;
    let lost = write(&pair.primary).await;
    for tracker in &trackers {
        assert_eq!(within(tracker.check(kept)).await.unwrap(), Verdict::NotYet);
        assert_eq!(within(tracker.check(lost)).await.unwrap(), Verdict::NotYet);
    }

    let waits = trackers.each_ref().map(|tracker| {
        let tracker = tracker.clone();
        tokio::spawn(async move { tokio::join!(tracker.wait(kept, late()), tracker.wait(lost, late())) })
    });
    within(async {
        while trackers.iter().any(|tracker| tracker.waiting() < 2) {
            tokio::task::yield_now().await
        }
    })
    .await;
    pair.replica.promote().await.unwrap();
    let [told, ordinary] = waits;
    assert_eq!(within(told).await.unwrap(), (Ok(()), Err(WaitError::OtherTimeline)));
    // Without pg_monitor a replica without a stream is in doubt, so the answer may come before the promotion.
    let (kept_there, lost_there) = within(ordinary).await.unwrap();
    assert!(matches!(kept_there, Ok(()) | Err(WaitError::OtherTimeline)), "{kept_there:?}");
    assert_eq!(lost_there, Err(WaitError::OtherTimeline));

    let new = write_past(&pair.replica, lost).await;
    for tracker in &trackers {
        assert_eq!(within(tracker.wait(new, late())).await, Ok(()));
        assert_eq!(within(tracker.check(lost)).await.unwrap(), Verdict::OtherTimeline);
        assert_eq!(within(tracker.check(kept)).await.unwrap(), Verdict::Reached);
        assert_eq!(tracker.state().borrow().unwrap().role, Role::Primary);
    }
}

#[tokio::test]
async fn replica_of_a_promoted_server_does_not_pass_for_one_of_the_old_primary() {
    let pair = Pair::start().await;
    let follower = Postgres::options().with_name("follower").start_replica_of(&pair.primary).await.unwrap();
    let told = Tracker::spawn(follower.config());
    let ordinary = Tracker::spawn(ordinary(&follower));
    let before = write(&pair.primary).await;
    for tracker in [&told, &ordinary] {
        within(tracker.wait(before, late())).await.unwrap();
    }
    cut_off(&pair.replica, &pair.primary).await;
    cut_off(&follower, &pair.primary).await;
    let lost = write(&pair.primary).await;
    pair.replica.promote().await.unwrap();
    let new = write_past(&pair.replica, lost).await;
    assert_eq!(within(told.check(new)).await.unwrap(), Verdict::NotYet);

    let address = pair.replica.address();
    let upstream = format!("host={} port={} user=postgres", address.ip(), address.port());
    stream_from(&follower, &upstream).await;
    follower.caught_up_with(&pair.replica).await.unwrap();
    for tracker in [&told, &ordinary] {
        assert_eq!(within(tracker.wait(lost, late())).await, Err(WaitError::OtherTimeline));
        assert_eq!(within(tracker.check(before)).await.unwrap(), Verdict::Reached);
    }
    assert_eq!(within(told.wait(new, late())).await, Ok(()));

    // Without pg_monitor it is not known before a restart point. Until then it is said at once.
    assert_eq!(within(ordinary.wait(new, late())).await, Err(WaitError::OtherTimeline));
    pair.replica.connect().await.unwrap().batch_execute("checkpoint").await.unwrap();
    let after = write(&pair.replica).await;
    within(told.wait(after, late())).await.unwrap();
    follower.connect().await.unwrap().batch_execute("checkpoint").await.unwrap();
    assert_eq!(within(ordinary.wait(after, late())).await, Ok(()));
    assert_eq!(within(ordinary.check(lost)).await.unwrap(), Verdict::OtherTimeline);
}

#[tokio::test]
async fn promoted_server_that_was_restarted_knows_its_own_timeline_only() {
    let pair = Pair::start().await;
    let old = write(&pair.primary).await;
    pair.replica.caught_up_with(&pair.primary).await.unwrap();
    pair.replica.promote().await.unwrap();
    let client = pair.replica.connect().await.unwrap();
    client.batch_execute("checkpoint").await.unwrap();
    assert!(value::<bool>(&client, "select pg_last_wal_replay_lsn() is not null").await);
    pair.replica.stop(homing_testbed::Shutdown::Fast).await.unwrap();
    pair.replica.start_again().await.unwrap();
    let client = pair.replica.connect().await.unwrap();
    assert!(value::<bool>(&client, "select pg_last_wal_replay_lsn() is null").await);
    let tracker = pair.tracker();
    assert_eq!(within(tracker.wait(old, late())).await, Err(WaitError::OtherTimeline));
    within(tracker.wait(write(&pair.replica).await, late())).await.unwrap();
}
