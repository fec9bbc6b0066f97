//! A replica that lags: nothing stale, nothing lost, nothing that hangs.

use std::time::Duration;

use homing::report::AnsweredBy;
use homing::{Consistency, OnLag, Wait};
use homing_testbed::wait_until;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, User, are_places, count_users, in_iad, recorded, start};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn lagging_session_reads_from_primary() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(SHORT));
    let stranger = world.syd.repo();
    servers.replica.pause_replay().await.unwrap();

    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert!(reports.last().stages.replay_wait >= SHORT);
    assert_eq!(repo.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    assert_eq!(repo.query("select name from users", &[]).await.unwrap().len(), 1);
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    let grace = repo.insert(&NewUser::named("Grace")).await.unwrap();
    assert!(reports.last().stages.replay_wait < SHORT, "it has waited once already");
    assert_eq!(repo.get::<User>(grace.id).await.unwrap(), Some(grace));
    assert_eq!(stranger.get::<User>(user.id).await.unwrap(), None, "the replica is not that far");

    servers.replica.resume_replay().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

/// Other clients write all the time, so each read of the primary moves what the session has to see.
#[tokio::test]
async fn caught_up_session_returns_to_replica() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(SHORT));
    servers.replica.pause_replay().await.unwrap();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert_eq!(count_users(&repo).await, 1);
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)), "it fell behind");

    servers.replica.resume_replay().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    servers.replica.pause_replay().await.unwrap();
    world.iad.repo().insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(count_users(&repo.with_consistency(Consistency::Global)).await, 2);
    // The replica has what it lacked before, so it is worth a wait again.
    let (patient, database) = (repo.with_replay_timeout(PATIENCE), repo.database().unwrap());
    let waiting = tokio::spawn(async move { count_users(&patient).await });
    wait_until("the read waits", async || database.tracker().waiting() == 1).await;
    servers.replica.resume_replay().await.unwrap();
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 2);
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

#[tokio::test]
async fn lag_error_carries_committed_value() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let repo = world.syd.repo().with_replay_timeout(SHORT).with_on_lag(OnLag::Fail);
    servers.replica.pause_replay().await.unwrap();

    let mut error = repo.insert(&NewUser::named("Ada")).await.unwrap_err();
    assert!(error.is_committed() && !error.is_rejected() && !error.is_outcome_unknown(), "{error:?}");
    assert!(error.position().is_some());
    assert_eq!(error.take_value::<u64>(), None);
    let user: User = error.take_value().unwrap();
    assert_eq!(user.name, "Ada");
    assert_eq!(world.users_on_primary().await, 1);

    let error = repo.get::<User>(user.id).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");

    let mut error = repo.rpc_and_wait::<u64>("import", &["Grace"]).await.unwrap_err();
    assert_eq!(error.take_value::<u64>(), Some(1));

    servers.replica.resume_replay().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
}

/// The node in `iad` may not ask for positions for a while, which stands for a primary that is lost after each commit.
#[tokio::test]
async fn lost_position_leaves_reads_to_primary() {
    if !are_places() {
        return; // the id of a transaction is known before the commit
    }
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let grants = "create role ordinary login; grant all on all tables in schema public to ordinary;
                  grant all on all sequences in schema public to ordinary";
    world.primary.batch_execute(grants).await.unwrap();
    let mut config = servers.primary_config(&world.database);
    config.database_url = config.database_url.map(|url| url.replace("://postgres@", "://ordinary@"));
    let iad = start(config).await.unwrap();
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    syd.repo().insert(&NewUser::named("Ada")).await.unwrap();
    servers.replica.pause_replay().await.unwrap();
    world.primary.batch_execute("revoke execute on function pg_current_wal_flush_lsn() from public").await.unwrap();

    let repo = syd.repo();
    let grace = repo.insert(&NewUser::named("Grace")).await.unwrap();
    assert!(!repo.knows_its_writes());
    assert_eq!(repo.get::<User>(grace.id).await.unwrap().as_ref(), Some(&grace));
    let strict = syd.repo().with_on_lag(OnLag::Fail);
    let mut error = strict.insert(&NewUser::named("Linus")).await.unwrap_err();
    assert!(error.is_committed() && error.position().is_none(), "{error:?}");
    assert_eq!(error.take_value::<User>().unwrap().name, "Linus");
    strict.with_wait(Wait::AtNextRead).insert(&NewUser::named("Margaret")).await.unwrap();
    assert!(strict.count::<User>("", &[]).await.unwrap_err().is_not_sent());

    world.primary.batch_execute("grant execute on function pg_current_wal_flush_lsn() to public").await.unwrap();
    repo.token().await.unwrap();
    assert!(repo.knows_its_writes());
    servers.replica.resume_replay().await.unwrap();
    assert_eq!(count_users(&strict).await, 4);
}

#[tokio::test]
async fn wait_never_returns_at_once() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    servers.replica.pause_replay().await.unwrap();

    let (never, reports) = recorded(&world.syd.repo().with_wait(Wait::Never));
    let user = never.insert(&NewUser::named("Ada")).await.unwrap();
    assert_eq!(never.get::<User>(user.id).await.unwrap(), None);
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);

    let later = world.syd.repo().with_wait(Wait::AtNextRead).with_replay_timeout(SHORT);
    let user = later.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(later.get::<User>(user.id).await.unwrap(), Some(user));
}

#[tokio::test]
async fn primary_replaces_stopped_replica() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(SHORT));
    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    servers.replica.kill().await.unwrap();

    assert_eq!(repo.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    let grace = repo.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(repo.get::<User>(grace.id).await.unwrap().as_ref(), Some(&grace));
    assert_eq!(repo.query("select 1", &[]).await.unwrap().len(), 1);

    servers.replica.start_again().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    let back = async {
        while reports.last().answered_by != AnsweredBy::Local {
            assert_eq!(repo.get::<User>(grace.id).await.unwrap().as_ref(), Some(&grace));
        }
    };
    timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn promoted_replica_takes_writes() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo());
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    world.iad.shutdown().await;
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();

    let user = repo.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 2);
}

#[tokio::test]
async fn killed_replica_frees_its_waiters() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    // Far longer than the test may take: only the loss of the replica ends the waits.
    let repo = world.syd.repo().with_replay_timeout(Duration::MAX).with_call_timeout(Duration::MAX);
    let (strict, database) = (repo.with_on_lag(OnLag::Fail), repo.database().unwrap());
    servers.replica.pause_replay().await.unwrap();
    let insert = |repo: &homing::Repo, name: String| {
        let repo = repo.clone();
        tokio::spawn(async move { repo.insert(&NewUser::named(&name)).await })
    };
    let calls: Vec<_> = (0..20).map(|number| insert(&repo, format!("user {number}"))).collect();
    let strict = insert(&strict, "strict".into());
    wait_until("all wait", async || database.tracker().waiting() == 21).await;
    servers.replica.kill().await.unwrap();
    for call in calls {
        timeout(PATIENCE, call).await.expect("it waits for a server that is gone").unwrap().unwrap();
    }
    let mut error = timeout(PATIENCE, strict).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_committed() && error.take_value::<User>().is_some(), "{error:?}");
}
