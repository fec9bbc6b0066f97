//! The primary among several servers: found at the start, and again after a failover.

use std::time::Duration;

use homing::report::AnsweredBy;
use homing::{Config, Repo};
use homing_testbed::{Cut, Postgres, Relay, wait_until};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::named::{FIRST, Named, SECOND};
use crate::fixture::{NewUser, PATIENCE, Servers, User, World, config, in_iad, recorded, start};

/// A connection string with several hosts, as a URL.
fn url(servers: [&Postgres; 2], database: &str, attrs: &str) -> String {
    let hosts = servers.map(|server| server.address().to_string()).join(",");
    format!("postgres://postgres@{hosts}/{database}?target_session_attrs={attrs}")
}

/// A connection string with several hosts, as pairs.
fn pairs(servers: [&Postgres; 2], database: &str, attrs: &str) -> String {
    let hosts = servers.map(|server| server.address().ip().to_string()).join(",");
    let ports = servers.map(|server| server.address().port().to_string()).join(",");
    format!("host={hosts} port={ports} user=postgres dbname={database} target_session_attrs={attrs}")
}

fn beside(url: impl Into<String>) -> Config {
    let mut config = config("iad");
    config.database_url = Some(url.into());
    config
}

async fn insert(repo: &Repo, name: &str) -> homing::Result<User> {
    timeout(PATIENCE, repo.insert(&NewUser::named(name))).await.expect("it hangs")
}

/// Stops the primary and promotes its replica, which has everything.
async fn fail_over(servers: &Servers) {
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();
}

/// What a node reads and writes before and after a failover, and after a restart.
async fn assert_follows_failover(servers: &Servers, world: &World, configs: Vec<Config>) {
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(start(config.clone()).await.unwrap());
    }
    for (number, node) in nodes.iter().enumerate() {
        insert(&node.repo(), &format!("before {number}")).await.unwrap();
    }
    fail_over(servers).await;
    for (number, node) in nodes.iter().enumerate() {
        let (repo, reports) = recorded(&node.repo());
        let user = insert(&repo, &format!("after {number}")).await.unwrap();
        assert_eq!(reports.last().answered_by, AnsweredBy::Local);
        assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    }
    for (number, config) in configs.into_iter().enumerate() {
        let repo = start(config).await.unwrap().repo();
        insert(&repo, &format!("restarted {number}")).await.unwrap();
        let users = i64::try_from(2 * nodes.len() + number + 1).unwrap();
        assert_eq!(repo.count::<User>("", &[]).await.unwrap(), users, "{}", world.database);
    }
}

#[tokio::test]
async fn primary_is_found_in_list() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let list = [&servers.replica, &servers.primary];
    let urls = ["read-write", "any"].map(|attrs| url(list, &world.database, attrs));
    let configs = urls.into_iter().chain([pairs(list, &world.database, "primary")]).map(beside).collect();
    assert_follows_failover(&servers, &world, configs).await;
}

#[tokio::test]
async fn primary_is_found_behind_name() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let named = Named::start(&servers.replica, &servers.primary).await;
    named.leads_to([FIRST, SECOND]);
    let mut config = beside(named.url(&world.database));
    config.replica_settings = named.settings();
    assert_follows_failover(&servers, &world, vec![config]).await;
}

#[tokio::test]
async fn first_write_finds_primary_of_moved_name() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let named = Named::start(&servers.primary, &servers.replica).await;
    named.dns.set_ttl(PATIENCE);
    named.leads_to([FIRST]);
    let mut config = beside(named.url(&world.database));
    config.replica_settings = named.settings();
    let node = start(config).await.unwrap();
    insert(&node.repo(), "before").await.unwrap();
    fail_over(&servers).await;
    named.leads_to([SECOND]);
    insert(&node.repo(), "after").await.unwrap();
}

#[tokio::test]
async fn session_attrs_choose_readers() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let list = [&servers.replica, &servers.primary];
    let standby = format!("primary/{}", servers.replica.address());
    let mut nodes = Vec::new();
    for (attrs, reader) in [
        ("any", None),
        ("read-write", None),
        ("primary", None),
        ("read-only", Some(&*standby)),
        ("standby", Some(&*standby)),
        ("prefer-standby", Some(&*standby)),
    ] {
        let node = start(beside(url(list, &world.database, attrs))).await.unwrap();
        let (repo, reports) = recorded(&node.repo());
        timeout(PATIENCE, repo.replicas().wait_for(|status| status.len() == 2)).await.unwrap();
        insert(&repo, attrs).await.unwrap();
        assert_eq!(reports.last().answered_by, AnsweredBy::Local, "{attrs}");
        repo.count::<User>("", &[]).await.unwrap();
        assert_eq!(reports.last().replica.as_deref(), reader, "{attrs}");
        nodes.push((attrs, node));
    }
    servers.replica.kill().await.unwrap();
    for (attrs, node) in nodes {
        let (repo, reports) = recorded(&node.repo());
        repo.count::<User>("", &[]).await.unwrap();
        assert_eq!((reports.last().replica, reports.last().answered_by), (None, AnsweredBy::Local), "{attrs}");
    }
}

#[tokio::test]
async fn unknown_session_attrs_fail_at_start() {
    let error = start(beside("postgres://app:geheim@one,two/app?target_session_attrs=geheim")).await.unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("DATABASE_URL"), "{error}");
    assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
}

#[tokio::test]
async fn node_starts_beside_demoted_primary() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let node = start(beside(servers.replica.database_url(&world.database))).await.unwrap();
    let (repo, reports) = recorded(&node.repo());
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 0);
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    let missing = repo.replicas().missing_primary().unwrap();
    let address = servers.replica.address().to_string();
    assert!(missing.contains("DATABASE_URL") && missing.contains(&address) && missing.contains("replica"), "{missing}");
    let error = insert(&repo, "nobody").await.unwrap_err();
    assert!(error.is_not_primary() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains(&missing), "{error}");

    fail_over(&servers).await;
    insert(&repo, "Ada").await.unwrap();
    assert_eq!(repo.replicas().missing_primary(), None);
}

#[tokio::test]
async fn node_starts_without_its_primary() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    servers.primary.kill().await.unwrap();
    let node = start(beside(url([&servers.primary, &servers.replica], &world.database, "any"))).await.unwrap();
    let alone = start(beside(servers.primary.database_url(&world.database))).await.unwrap();
    assert_eq!(node.repo().count::<User>("", &[]).await.unwrap(), 0, "the standby answers");
    assert!(alone.repo().count::<User>("", &[]).await.unwrap_err().is_not_sent());
    servers.primary.start_again().await.unwrap();
    for (name, node) in [("Ada", &node), ("Grace", &alone)] {
        insert(&node.repo(), name).await.unwrap();
    }
}

#[tokio::test]
async fn node_starts_beside_promoted_replica() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    fail_over(&servers).await;
    let node = servers.replica_node(&world.database, in_iad([])).await;
    let (repo, reports) = recorded(&node.repo());
    let user = insert(&repo, "Ada").await.unwrap();
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
}

/// Writes until told to stop. Returns the names of the rows that are stored for certain since the failover.
async fn keep_writing(
    repo: Repo,
    name: String,
    written: watch::Sender<u64>,
    is_over: watch::Receiver<bool>,
) -> Vec<String> {
    let mut stored = Vec::new();
    for number in 0.. {
        let (name, has_failed_over) = (format!("{name} {number}"), *is_over.borrow());
        match insert(&repo, &name).await {
            Ok(_) if has_failed_over => {
                stored.push(name);
                written.send_modify(|written| *written += 1);
            }
            Ok(_) => written.send_modify(|written| *written += 1),
            Err(error) => assert!(error.is_not_sent() || error.is_outcome_unknown(), "{error:?}"),
        }
        if written.is_closed() {
            break;
        }
    }
    stored
}

#[tokio::test]
async fn writers_go_on_after_failover() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let named = Named::start(&servers.replica, &servers.primary).await;
    named.leads_to([FIRST, SECOND]);
    let mut by_name = beside(named.url(&world.database));
    by_name.replica_settings = named.settings();
    let by_list = beside(url([&servers.primary, &servers.replica], &world.database, "read-write"));
    let configs = [by_name, by_list];

    let is_over = watch::Sender::new(false);
    let (mut writers, mut nodes, mut written) = (JoinSet::new(), Vec::new(), Vec::new());
    for (number, config) in configs.iter().enumerate() {
        let node = start(config.clone()).await.unwrap();
        for writer in 0..4 {
            let (sender, receiver) = watch::channel(0);
            let name = format!("node {number} writer {writer}");
            writers.spawn(keep_writing(node.repo(), name, sender, is_over.subscribe()));
            written.push(receiver);
        }
        nodes.push(node);
    }
    let all_write = async |written: &mut Vec<watch::Receiver<u64>>| {
        for written in written {
            let now = *written.borrow();
            timeout(PATIENCE, written.wait_for(|written| *written > now + 3))
                .await
                .expect("it does not write")
                .unwrap();
        }
    };
    all_write(&mut written).await;
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();
    is_over.send_replace(true);
    all_write(&mut written).await;
    for config in configs {
        let node = start(config).await.unwrap();
        insert(&node.repo(), &format!("restarted {}", nodes.len())).await.unwrap();
        nodes.push(node);
    }
    drop(written);
    let client = servers.replica.connect_to(&world.database).await.unwrap();
    while let Some(stored) = timeout(PATIENCE, writers.join_next()).await.unwrap() {
        let stored = stored.unwrap();
        let count = "select count(*) from users where name = any ($1)";
        let count: i64 = client.query_one(count, &[&stored]).await.unwrap().get(0);
        assert_eq!(count, i64::try_from(stored.len()).unwrap());
    }
}

/// The primary's machine vanishes: connections stay open, and nothing answers.
#[tokio::test]
async fn silent_primary_is_replaced() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let relay = Relay::start(servers.primary.address()).unwrap();
    let hosts = format!("{},{}", relay.address(), servers.replica.address());
    let node = start(beside(format!("postgres://postgres@{hosts}/{}", world.database))).await.unwrap();
    insert(&node.repo(), "before").await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    relay.cut(Cut::Blackhole).await;
    servers.replica.promote().await.unwrap();
    let repo = node.repo().with_call_timeout(Duration::from_secs(1));
    let writes = async {
        while let Err(error) = repo.insert(&NewUser::named("after")).await {
            assert!(error.is_not_sent() || error.is_outcome_unknown(), "{error:?}");
        }
    };
    timeout(PATIENCE, writes).await.unwrap();
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 2);
}

/// At the address of the former primary, a replica of its successor answers.
#[tokio::test]
async fn demoted_primary_answers_reads() {
    let servers = Servers::start(&[]).await;
    let options = Postgres::options().with_name("demoted").with_max_connections(300);
    let demoted = options.start_replica_of(&servers.replica).await.unwrap();
    let world = servers.world().await;
    let targets = [servers.primary.address(), demoted.address()].map(|address| address.to_string());
    let relay = Relay::listen(([127, 0, 0, 1], 0).into(), targets).unwrap();
    let hosts = format!("{},{}", relay.address(), servers.replica.address());
    let attrs = "target_session_attrs=prefer-standby";
    let mut config = beside(format!("postgres://postgres@{hosts}/{}?{attrs}", world.database));
    config.replica_settings = config.replica_settings.with_probe_interval(Duration::from_millis(20));
    let node = start(config).await.unwrap();
    let (repo, reports) = recorded(&node.repo());
    let reader = async |expected: String| {
        wait_until("the other server answers", async || {
            repo.session().count::<User>("", &[]).await.unwrap();
            reports.last().replica.as_deref() == Some(&expected)
        })
        .await;
    };
    reader(format!("primary/{}", servers.replica.address())).await;
    fail_over(&servers).await;
    insert(&repo, "Ada").await.unwrap();
    reader(format!("primary/{}", relay.address())).await;
    insert(&repo, "Grace").await.unwrap();
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}
