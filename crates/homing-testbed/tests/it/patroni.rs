//! Clusters whose roles Patroni gives. They run if `HOMING_TEST_PATRONI` is `1`, since they need Patroni and etcd.

use homing_testbed::{Cut, Patroni, PatroniMember, wait_until};

/// `None`, with a message, if the tests with Patroni are not asked for.
async fn start() -> Option<Patroni> {
    if std::env::var("HOMING_TEST_PATRONI").as_deref() != Ok("1") {
        eprintln!("skipped: HOMING_TEST_PATRONI=1 runs the tests with Patroni");
        return None;
    }
    Some(Patroni::start().await.unwrap())
}

async fn run(member: &PatroniMember, statement: &str) {
    member.connect("postgres").await.unwrap().batch_execute(statement).await.unwrap();
}

async fn rows(member: &PatroniMember) -> Option<i64> {
    let client = member.connect("postgres").await.ok()?;
    client.query_one("select count(*) from t", &[]).await.ok()?.try_get(0).ok()
}

#[tokio::test]
async fn killed_leader_rejoins_as_replica() {
    let Some(cluster) = start().await else { return };
    let first = cluster.leader().await.unwrap();
    run(first, "create table t (id int8); insert into t values (1)").await;
    first.kill().await.unwrap();
    assert!(first.connect("postgres").await.is_err());
    let second = cluster.leader().await.unwrap();
    assert_ne!(second.name(), first.name());
    run(second, "insert into t values (2)").await;
    first.start_again().await.unwrap();
    cluster.settled().await.unwrap();
    wait_until("the old leader has the new row", async || rows(first).await == Some(2)).await;
    assert!(!first.is_leader().await);
}

#[tokio::test]
async fn leader_without_etcd_gives_up() {
    let Some(cluster) = start().await else { return };
    let first = cluster.leader().await.unwrap();
    run(first, "create table t (id int8)").await;
    first.etcd_link().cut(Cut::Blackhole).await;
    let refused = async || match first.connect("postgres").await {
        Ok(client) => client.batch_execute("insert into t values (1)").await.is_err(),
        Err(_) => true,
    };
    wait_until("the leader takes no writes", refused).await;
    let is_other = async || cluster.leader().await.unwrap().name() != first.name();
    wait_until("another member is the leader", is_other).await;
    first.etcd_link().heal().await.unwrap();
    cluster.settled().await.unwrap();
}

#[tokio::test]
async fn switchover_changes_the_leader() {
    let Some(cluster) = start().await else { return };
    let first = cluster.leader().await.unwrap();
    let candidate = cluster.members().iter().find(|member| member.name() != first.name()).unwrap();
    cluster.switch_over_to(candidate).await.unwrap();
    assert_eq!(cluster.leader().await.unwrap().name(), candidate.name());
    cluster.settled().await.unwrap();
    let error = cluster.switch_over_to(candidate).await.unwrap_err();
    assert!(error.is_misuse(), "{error}");
}
