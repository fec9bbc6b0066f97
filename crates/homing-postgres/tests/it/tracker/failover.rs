//! Positions of one timeline on a server of another.

use homing_postgres::{Position, Role, Tracker, Verdict, WaitError};
use homing_testbed::{Postgres, wait_until};

use super::pair::{Pair, late, ordinary, until, value, within, write};

/// Ends a replica's stream, so that later writes do not arrive.
async fn cut_off(replica: &Postgres, primary: &Postgres) {
    stream_from(replica, "").await;
    // A replica with paused replay does not reread its settings, so the primary ends the stream.
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
    wait_until("the setting is read", async || value(&replica.connect().await.unwrap(), &query).await).await;
}

/// Writes until the server's LSN is past that of a position of another timeline.
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
async fn promotion_keeps_only_replayed_positions() {
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
    wait_until("both calls wait", async || trackers.iter().all(|tracker| tracker.waiting() == 2)).await;
    pair.replica.promote().await.unwrap();
    let [privileged, ordinary] = waits;
    assert_eq!(within(privileged).await.unwrap(), (Ok(()), Err(WaitError::OtherTimeline)));
    // Without pg_monitor, a replica that does not stream is in doubt, so the answer may come before the promotion.
    let (kept_there, lost_there) = within(ordinary).await.unwrap();
    assert!(matches!(kept_there, Ok(()) | Err(WaitError::OtherTimeline)), "{kept_there:?}");
    assert_eq!(lost_there, Err(WaitError::OtherTimeline));

    let new = write_past(&pair.replica, lost).await;
    for tracker in &trackers {
        assert_eq!(within(tracker.wait(new, late())).await, Ok(()));
        assert_eq!(within(tracker.check(lost)).await.unwrap(), Verdict::OtherTimeline);
        assert_eq!(within(tracker.check(kept)).await.unwrap(), Verdict::Reached, "{kept} {:?}", tracker.state());
        assert_eq!(tracker.state().borrow().unwrap().role, Role::Primary);
    }
}

#[tokio::test]
async fn replica_follows_the_promoted_server() {
    let pair = Pair::start().await;
    let follower = Postgres::options().with_name("follower").start_replica_of(&pair.primary).await.unwrap();
    let privileged = Tracker::spawn(follower.config());
    let ordinary = Tracker::spawn(ordinary(&follower));
    let before = write(&pair.primary).await;
    for tracker in [&privileged, &ordinary] {
        within(tracker.wait(before, late())).await.unwrap();
    }
    cut_off(&pair.replica, &pair.primary).await;
    cut_off(&follower, &pair.primary).await;
    let lost = write(&pair.primary).await;
    pair.replica.promote().await.unwrap();
    let new = write_past(&pair.replica, lost).await;
    assert_eq!(within(privileged.check(new)).await.unwrap(), Verdict::NotYet);

    let address = pair.replica.address();
    let upstream = format!("host={} port={} user=postgres", address.ip(), address.port());
    stream_from(&follower, &upstream).await;
    follower.caught_up_with(&pair.replica).await.unwrap();
    for tracker in [&privileged, &ordinary] {
        assert_eq!(within(tracker.wait(lost, late())).await, Err(WaitError::OtherTimeline));
        assert_eq!(within(tracker.check(before)).await.unwrap(), Verdict::Reached);
    }
    assert_eq!(within(privileged.wait(new, late())).await, Ok(()));

    // Without pg_monitor, the switch is proven only at a restart point. Until then the answer comes at once.
    assert_eq!(within(ordinary.wait(new, late())).await, Err(WaitError::OtherTimeline));
    pair.replica.connect().await.unwrap().batch_execute("checkpoint").await.unwrap();
    let after = write(&pair.replica).await;
    within(privileged.wait(after, late())).await.unwrap();
    follower.connect().await.unwrap().batch_execute("checkpoint").await.unwrap();
    assert_eq!(within(ordinary.wait(after, late())).await, Ok(()));
    assert_eq!(within(ordinary.check(lost)).await.unwrap(), Verdict::OtherTimeline);
}

#[tokio::test]
async fn restarted_primary_knows_only_its_timeline() {
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
