//! Poolers and balancers between a node and its database: a clear error or right answers, and never a stale read.

pub(crate) mod proxy;
mod spread;

use homing_postgres::{
    Config, Database, Error, OnLag, Replica, ReplicaList, ReplicaSettings, Replicas, Repo, Role, TransactionOptions,
};
use homing_testbed::{Postgres, wait_until};

use self::proxy::Proxy;
use crate::servers::{Servers, options};

/// A node in `syd` whose one replica is behind this address.
async fn node(servers: &Servers, proxy: &Proxy) -> (Replicas, Repo) {
    let list = ReplicaList::new([Replica::new(proxy.url()).unwrap().with_name("syd")]).unwrap();
    let replicas = Replicas::start(None, &list, ReplicaSettings::default()).await.unwrap();
    (replicas.clone(), Repo::new(servers.rpc.clone(), replicas, options()))
}

/// Writes and reads in turn. No read, in whatever way, may miss a write or go back behind an earlier read.
async fn reads_see_writes(repo: &Repo, steps: i64, between: impl AsyncFn(i64)) {
    let count = "select count(*) from notes";
    let first: i64 = repo.query_one(count, &[]).await.unwrap().get(0);
    for step in 1..=steps {
        repo.execute("insert into notes values ('of syd')", &[]).await.unwrap();
        between(step).await;
        let read: i64 = repo.query_one(count, &[]).await.unwrap().get(0);
        let streamed: i64 = repo.stream(count, &[]).await.unwrap().next().await.unwrap().unwrap().get(0);
        let snapshot = repo.transaction_with(TransactionOptions::read_only(), async move |tx: Repo| {
            Ok(tx.query_one(count, &[]).await?.get::<_, i64>(0))
        });
        assert_eq!([read, streamed, snapshot.await.unwrap()], [first + step; 3], "step {step}");
    }
}

/// Ends the connections of nodes to these servers, as if the network or a server had.
async fn end_connections(servers: &[&Postgres]) {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'homing%'
               and application_name <> 'homing-testbed'";
    for server in servers {
        server.connect().await.unwrap().batch_execute(end).await.unwrap();
    }
}

/// What a user has to read: the setting, the address, the cause and the way out. The password is not shown.
fn assert_named(error: &Error, proxy: &Proxy, words: &[&str]) {
    let message = format!("{error:?}");
    for word in words.iter().copied().chain([&*proxy.address()]) {
        assert!(message.contains(word), "{word:?} is missing: {message}");
    }
    assert!(!message.contains("secret"), "{message}");
}

/// Who asks for the replica by its name is told why it is left out.
async fn assert_left_out(repo: &Repo, words: &[&str]) {
    let named = repo.replica("syd").unwrap().with_on_lag(OnLag::Fail);
    let error = named.query("select 1", &[]).await.unwrap_err();
    assert!(error.is_not_sent(), "{error}");
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
}

const POOLER: [&str; 3] = ["pgbouncer in transaction or statement mode", "port 5432", "pool_mode = session"];

const BALANCER: [&str; 4] = ["lead to different servers", "load balancer", "port 5432", "HOMING_POSITIONS=transaction"];

#[tokio::test]
async fn transaction_pooler_of_primary_is_refused() {
    let server = Postgres::start().await.unwrap();
    let in_turn = "pool_mode = transaction\nserver_round_robin = 1";
    for settings in ["pool_mode = transaction", in_turn, "pool_mode = statement"] {
        let Some(proxy) = Proxy::pgbouncer(&server, settings).await else { return };
        let config = || Config::new(proxy.url(), Role::Primary).with_variable("SHOP_URL");
        let error = Database::connect(config()).await.unwrap_err();
        assert!(error.is_configuration(), "{error}");
        assert_named(&error, &proxy, &[&POOLER[..], &["SHOP_URL"]].concat());
        // Its sessions now hold the marks of others, as with a second node.
        let started = Replicas::start(Some(config()), &ReplicaList::none(), ReplicaSettings::default()).await;
        let error = started.map(drop).unwrap_err();
        assert!(error.is_configuration(), "{error}");
        assert_named(&error, &proxy, &[&POOLER[..], &["SHOP_URL"]].concat());
    }
}

#[tokio::test]
async fn transaction_pooler_of_replica_is_left_out() {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::pgbouncer(&servers.replicas[0], "pool_mode = transaction").await else { return };
    let (_, repo) = node(&servers, &proxy).await;
    reads_see_writes(&repo, 5, async |_| {}).await;
    assert_left_out(&repo, &POOLER).await;
}

#[tokio::test]
async fn session_pooler_works() {
    let servers = Servers::start().await;
    let Some(primary) = Proxy::pgbouncer(&servers.primary, "pool_mode = session").await else { return };
    let Some(replica) = Proxy::pgbouncer(&servers.replicas[0], "pool_mode = session").await else { return };
    let database = Database::connect(Config::new(primary.url(), Role::Primary)).await.unwrap();
    assert_eq!(database.role(), Some(Role::Primary));
    let (_, repo) = node(&servers, &replica).await;
    reads_see_writes(&repo, 5, async |_| {}).await;
    // The pooler gives the sessions of connections that have ended to new ones.
    end_connections(&[&servers.replicas[0]]).await;
    let (replicas, again) = node(&servers, &replica).await;
    let named = again.replica("syd").unwrap().with_on_lag(OnLag::Fail);
    for _ in 0..5 {
        named.query("select count(*) from notes", &[]).await.unwrap();
    }
    drop((again, named, replicas));
    let (_, third) = node(&servers, &replica).await;
    third.replica("syd").unwrap().with_on_lag(OnLag::Fail).query("select 1", &[]).await.unwrap();
}

#[tokio::test]
async fn balancer_over_replicas_is_left_out() {
    let servers = Servers::start().await;
    let [paused, live] = &servers.replicas;
    paused.pause_replay().await.unwrap();
    for order in [[paused, live], [live, paused]] {
        let Some(proxy) = Proxy::haproxy(&order).await else { return };
        let (_, repo) = node(&servers, &proxy).await;
        reads_see_writes(&repo, 5, async |_| {}).await;
        assert_left_out(&repo, &BALANCER).await;
    }
}

#[tokio::test]
async fn balancer_with_primary_is_refused() {
    let servers = Servers::start().await;
    let (primary, [replica, _]) = (&servers.primary, &servers.replicas);
    replica.pause_replay().await.unwrap();
    for order in [[primary, replica], [replica, primary]] {
        let Some(proxy) = Proxy::haproxy(&order).await else { return };
        let config = || Config::new(proxy.url(), Role::Primary);
        let error = Database::connect(config()).await.unwrap_err();
        assert!(error.is_configuration(), "{error}");
        assert_named(&error, &proxy, &[&BALANCER[..], &["DATABASE_URL"]].concat());
        let started = Replicas::start(Some(config()), &ReplicaList::none(), ReplicaSettings::default()).await;
        let error = started.map(drop).unwrap_err();
        assert!(error.is_configuration(), "{error}");
        assert_named(&error, &proxy, &BALANCER);
        let (_, repo) = node(&servers, &proxy).await;
        reads_see_writes(&repo, 3, async |_| {}).await;
    }
}

#[tokio::test]
async fn balancer_that_grows_is_noticed() {
    let servers = Servers::start().await;
    let [paused, live] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[paused, live]).await else { return };
    proxy.command(&format!("disable server postgres/{}", paused.name())).await;
    let (_, repo) = node(&servers, &proxy).await;
    reads_see_writes(&repo, 3, async |_| {}).await;
    paused.pause_replay().await.unwrap();
    proxy.command(&format!("enable server postgres/{}", paused.name())).await;
    // New connections, of the pool and of the tracker, lead to either server from now on.
    reads_see_writes(&repo, 20, async |step| {
        if step % 2 == 0 {
            end_connections(&[paused, live]).await;
        }
    })
    .await;
    let named = repo.replica("syd").unwrap().with_on_lag(OnLag::Fail);
    wait_until("the balancer is named", async || {
        end_connections(&[paused, live]).await;
        let answer = named.query("select 1", &[]).await;
        answer.is_err_and(|error| error.to_string().contains("load balancer"))
    })
    .await;
}

#[tokio::test]
async fn failover_behind_balancer_goes_on() {
    let servers = Servers::start().await;
    let [behind, first] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[behind, first]).await else { return };
    proxy.command(&format!("disable server postgres/{}", behind.name())).await;
    let (_, repo) = node(&servers, &proxy).await;
    reads_see_writes(&repo, 3, async |_| {}).await;
    // Others write what the session reads on the first server, and the second one does not have it.
    behind.caught_up_with(&servers.primary).await.unwrap();
    behind.pause_replay().await.unwrap();
    let other = servers.primary.connect().await.unwrap();
    other.batch_execute("insert into notes values ('of others')").await.unwrap();
    first.caught_up_with(&servers.primary).await.unwrap();
    let count = async || repo.query_one("select count(*) from notes", &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(count().await, 4);
    for command in ["disable server", "shutdown sessions server"] {
        proxy.command(&format!("{command} postgres/{}", first.name())).await;
    }
    proxy.command(&format!("enable server postgres/{}", behind.name())).await;
    // Another session is answered by the second server, so connections lead there now.
    let stranger = repo.session().replica("syd").unwrap().with_on_lag(OnLag::Fail);
    wait_until("the second server answers", async || {
        let rows = stranger.query("select from notes", &[]).await;
        rows.is_ok_and(|rows| rows.len() == 3)
    })
    .await;
    for _ in 0..5 {
        assert_eq!(count().await, 4);
    }
    behind.resume_replay().await.unwrap();
    reads_see_writes(&repo, 3, async |_| {}).await;
    repo.replica("syd").unwrap().with_on_lag(OnLag::Fail).query("select 1", &[]).await.unwrap();
}
