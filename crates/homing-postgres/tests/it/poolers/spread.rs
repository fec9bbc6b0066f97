//! A balancer over replicas, with positions by transaction: each read asks on the connection that it has.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use homing_postgres::{
    Consistency, OnLag, PositionKind, Replica, ReplicaList, ReplicaSettings, Replicas, Repo, TransactionOptions,
};
use homing_testbed::{Postgres, wait_until};

use super::proxy::Proxy;
use super::{assert_left_out, end_connections, reads_see_writes};
use crate::servers::{Servers, options};

async fn start() -> Servers {
    Servers::start_by(Some(PositionKind::Transaction)).await
}

/// A handle whose one replica is behind this address.
async fn repo_behind(servers: &Servers, url: &str, positions: impl Into<Option<PositionKind>>) -> Repo {
    let list = ReplicaList::new([Replica::new(url).unwrap().with_name("syd")]).unwrap();
    let settings = ReplicaSettings::default().with_positions(positions);
    let replicas = Replicas::start(None, &list, settings).await.unwrap();
    Repo::new(servers.rpc.clone(), replicas, options())
}

/// A handle that fails if no replica answers.
async fn strict_repo(servers: &Servers, proxy: &Proxy) -> Repo {
    strictly(&repo_behind(servers, &proxy.url(), PositionKind::Transaction).await)
}

fn strictly(repo: &Repo) -> Repo {
    repo.replica("syd").unwrap().with_on_lag(OnLag::Fail).with_replay_timeout(Duration::from_secs(30))
}

/// Waits until both servers behind the address have answered reads that need not see anything.
async fn both_answer(repo: &Repo) {
    let eventual = repo.session().with_consistency(Consistency::Eventual);
    let port = async || eventual.query_one("select inet_server_port(), pg_sleep(0.01)", &[]).await.unwrap().get(0);
    wait_until("both servers answer", async || {
        let ports: BTreeSet<i32> = join_all((0..8).map(|_| port())).await.into_iter().collect();
        ports.len() == 2
    })
    .await;
}

async fn count(repo: &Repo) -> i64 {
    repo.query_one("select count(*) from notes", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn both_replicas_answer_reads_of_writes() {
    let servers = start().await;
    let [one, two] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[one, two]).await else { return };
    let repo = strict_repo(&servers, &proxy).await;
    reads_see_writes(&repo, 20, async |_| {}).await;
    // The primary answers a read whose connections were all lost.
    let patient = repo.with_on_lag(OnLag::ReadFromPrimary);
    reads_see_writes(&patient, 20, async |_| end_connections(&[one, two]).await).await;
    both_answer(&patient).await;
}

#[tokio::test]
async fn paused_replica_is_passed_over() {
    let servers = start().await;
    let [paused, live] = &servers.replicas;
    for order in [[paused, live], [live, paused]] {
        let Some(proxy) = Proxy::haproxy(&order).await else { return };
        let repo = strict_repo(&servers, &proxy).await;
        paused.pause_replay().await.unwrap();
        reads_see_writes(&repo, 20, async |_| {}).await;
        let patient = repo.with_on_lag(OnLag::ReadFromPrimary);
        reads_see_writes(&patient, 20, async |_| end_connections(&[paused, live]).await).await;
        // Both still answer reads that may be old.
        both_answer(&patient).await;
        paused.resume_replay().await.unwrap();
    }
}

#[tokio::test]
async fn session_without_writes_never_goes_back() {
    let servers = start().await;
    let [paused, live] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[paused, live]).await else { return };
    let repo = strict_repo(&servers, &proxy).await;
    paused.pause_replay().await.unwrap();
    let other = servers.primary.connect().await.unwrap();
    other.batch_execute("insert into notes values ('of others')").await.unwrap();
    live.caught_up_with(&servers.primary).await.unwrap();
    let sessions: Vec<_> = (0..4).map(|_| repo.session()).collect();
    wait_until("each session has seen it", async || {
        let counts = join_all(sessions.iter().map(count)).await;
        counts.into_iter().all(|count| count == 1)
    })
    .await;
    for _ in 0..10 {
        assert_eq!(join_all(sessions.iter().map(count)).await, [1; 4]);
    }
    // A long transaction of others keeps all replicas from telling that everything has ended.
    other.batch_execute("begin; insert into notes values ('not yet')").await.unwrap();
    paused.resume_replay().await.unwrap();
    paused.caught_up_with(&servers.primary).await.unwrap();
    for _ in 0..10 {
        assert_eq!(join_all(sessions.iter().map(count)).await, [1; 4]);
    }
}

/// While a long transaction runs, no other server can tell that it shows what the lost one had shown.
#[tokio::test]
async fn session_of_a_lost_server_moves_on() {
    let servers = start().await;
    let [one, two] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[one, two]).await else { return };
    let repo = repo_behind(&servers, &proxy.url(), PositionKind::Transaction).await;
    both_answer(&repo).await;
    let turn_off = async |server: &Postgres| {
        for command in ["disable server", "shutdown sessions server"] {
            proxy.command(&format!("{command} postgres/{}", server.name())).await;
        }
    };
    turn_off(two).await;
    let (long, short) = (servers.primary.connect().await.unwrap(), servers.primary.connect().await.unwrap());
    long.batch_execute("begin; insert into notes values ('not yet')").await.unwrap();
    short.batch_execute("insert into notes values ('of others')").await.unwrap();
    for replica in [one, two] {
        replica.caught_up_with(&servers.primary).await.unwrap();
    }
    let sessions = [repo.session(), repo.session()].map(|session| session.with_on_lag(OnLag::Fail));
    sessions[1].execute("insert into notes values ('of syd')", &[]).await.unwrap();
    let answers = async |strict: &Repo| strict.query("select from notes", &[]).await.is_ok();
    for session in &sessions {
        wait_until("the first server answers", async || answers(session).await).await;
    }
    turn_off(one).await;
    proxy.command(&format!("enable server postgres/{}", two.name())).await;
    for session in &sessions {
        wait_until("the second server answers", async || answers(session).await).await;
        assert_eq!(count(session).await, 2);
    }
}

#[tokio::test]
async fn replicas_that_lag_leave_the_primary() {
    let servers = start().await;
    let [one, two] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[one, two]).await else { return };
    let repo = repo_behind(&servers, &proxy.url(), PositionKind::Transaction).await;
    for replica in [one, two] {
        replica.pause_replay().await.unwrap();
    }
    reads_see_writes(&repo, 5, async |_| {}).await;
    let strict = strictly(&repo).with_replay_timeout(Duration::from_millis(50));
    let error = strict.query("select from notes", &[]).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("has not replayed the position"), "{error}");
    for replica in [one, two] {
        replica.resume_replay().await.unwrap();
    }
    let strict = strictly(&repo);
    wait_until("a replica answers again", async || strict.query("select from notes", &[]).await.is_ok()).await;
    reads_see_writes(&strict, 5, async |_| {}).await;
}

/// More reads than the pool has connections, in all ways, while one of the replicas lags.
#[tokio::test]
async fn many_reads_at_once_share_the_pool() {
    let servers = start().await;
    let [paused, live] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[paused, live]).await else { return };
    let repo = repo_behind(&servers, &proxy.url(), PositionKind::Transaction).await;
    both_answer(&repo).await;
    paused.pause_replay().await.unwrap();
    let repo = repo.with_replay_timeout(Duration::from_secs(30)).with_call_timeout(Duration::from_secs(30));
    for _ in 0..3 {
        repo.execute("insert into notes values ('of syd')", &[]).await.unwrap();
        let expected = count(&repo).await;
        let sql = "select count(*) from notes";
        let reads = (0..100).map(|number| {
            let repo = repo.clone();
            async move {
                match number % 3 {
                    0 => count(&repo).await,
                    1 => repo.stream(sql, &[]).await.unwrap().next().await.unwrap().unwrap().get(0),
                    _ => {
                        let snapshot = repo.transaction_with(TransactionOptions::read_only(), async move |tx: Repo| {
                            Ok(count(&tx).await)
                        });
                        snapshot.await.unwrap()
                    }
                }
            }
        });
        assert_eq!(join_all(reads).await, [expected; 100]);
    }
}

#[tokio::test]
async fn dropped_read_frees_its_connection() {
    let servers = start().await;
    let [one, two] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[one, two]).await else { return };
    let repo = strict_repo(&servers, &proxy).await;
    both_answer(&repo).await;
    for replica in [one, two] {
        replica.pause_replay().await.unwrap();
    }
    repo.execute("insert into notes values ('of syd')", &[]).await.unwrap();
    for round in 0..40 {
        // Each is dropped at another moment of its wait.
        let reads = join_all((0..20).map(|_| count(&repo)));
        assert!(tokio::time::timeout(Duration::from_millis(round), reads).await.is_err());
    }
    for replica in [one, two] {
        replica.resume_replay().await.unwrap();
    }
    assert_eq!(join_all((0..40).map(|_| count(&repo))).await, [1; 40]);
}

#[tokio::test]
async fn lost_balancer_leaves_the_primary() {
    let servers = start().await;
    let Some(proxy) = Proxy::haproxy(&[&servers.replicas[0], &servers.replicas[1]]).await else { return };
    let repo = repo_behind(&servers, &proxy.url(), PositionKind::Transaction).await;
    both_answer(&repo).await;
    reads_see_writes(&repo, 3, async |_| {}).await;
    drop(proxy);
    reads_see_writes(&repo, 3, async |_| {}).await;
}

/// The primary behind the same address answers reads, and nothing is written there.
#[tokio::test]
async fn primary_behind_the_address_only_reads() {
    let servers = start().await;
    let (primary, [replica, _]) = (&servers.primary, &servers.replicas);
    for order in [[primary, replica], [replica, primary]] {
        let Some(proxy) = Proxy::haproxy(&order).await else { return };
        let repo = repo_behind(&servers, &proxy.url(), PositionKind::Transaction).await;
        both_answer(&repo).await;
        reads_see_writes(&repo, 10, async |_| {}).await;
        assert_eq!(repo.replicas().status()[0].role, Some(homing_postgres::Role::Replica));
    }
}

#[tokio::test]
async fn role_without_rights_spreads_too() {
    let servers = start().await;
    let revoke = "create role app login; grant all on notes to app;
        do $$ declare function regprocedure; begin
            for function in select oid::regprocedure from pg_proc where pronamespace = 'pg_catalog'::regnamespace
                and proname ~ '^pg_(current_wal|last_|wal|ls_wal|switch_wal|control_[cr]|stat_get_wal)' loop
                execute format('revoke execute on function %s from public', function);
            end loop;
        end $$";
    servers.primary.connect().await.unwrap().batch_execute(revoke).await.unwrap();
    let [paused, live] = &servers.replicas;
    for replica in [paused, live] {
        replica.caught_up_with(&servers.primary).await.unwrap();
    }
    let Some(proxy) = Proxy::haproxy(&[paused, live]).await else { return };
    // Without a setting: the servers refuse the functions that tell places.
    let repo = repo_behind(&servers, &proxy.url().replace("postgres:secret@", "app@"), None).await;
    paused.pause_replay().await.unwrap();
    reads_see_writes(&repo, 10, async |_| {}).await;
    both_answer(&repo).await;
}

#[tokio::test]
async fn balancer_by_lsn_is_still_left_out() {
    let servers = start().await;
    let Some(proxy) = Proxy::haproxy(&[&servers.replicas[0], &servers.replicas[1]]).await else { return };
    let repo = repo_behind(&servers, &proxy.url(), PositionKind::Lsn).await;
    reads_see_writes(&repo, 3, async |_| {}).await;
    assert_left_out(&repo, &super::BALANCER).await;
}

/// A server that was promoted is on a later timeline, and the other one follows it or does not.
#[tokio::test]
async fn old_replica_does_not_answer_after_failover() {
    let servers = start().await;
    let [old, promoted] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[old, promoted]).await else { return };
    let repo = repo_behind(&servers, &proxy.url(), PositionKind::Transaction).await;
    reads_see_writes(&repo, 3, async |_| {}).await;
    promoted.caught_up_with(&servers.primary).await.unwrap();
    servers.primary.kill().await.unwrap();
    promoted.promote().await.unwrap();
    let new = promoted.connect().await.unwrap();
    new.batch_execute("insert into notes values ('of the new primary')").await.unwrap();
    let count = "select count(*) from notes";
    let read = async |repo: &Repo| Ok::<i64, homing_postgres::Error>(repo.query_one(count, &[]).await?.get(0));
    let mut session = repo.session();
    wait_until("the promoted server is read", async || {
        session = repo.session();
        read(&session).await.is_ok_and(|count| count == 4)
    })
    .await;
    for _ in 0..20 {
        let snapshot = session.transaction_with(TransactionOptions::read_only(), async |tx: Repo| {
            Ok(tx.query_one(count, &[]).await?.get::<_, i64>(0))
        });
        // Some go to the primary, which is gone, and no peer has another one.
        for read in [read(&session).await, snapshot.await] {
            assert!(!read.is_ok_and(|count| count < 4));
        }
    }
}
