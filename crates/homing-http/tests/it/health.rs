//! The responses of `/healthz`, and the probes behind them.

use std::time::Duration;

use axum::Router;
use homing::database::Role;
use homing::{Node, Repo};
use homing_http::{Health, HealthReport, Status};
use homing_testbed::{Cut, Fsync, Postgres, Relay, wait_until};
use tokio::time::timeout;

use crate::fixture::{Browser, PATIENCE, Servers, World};

/// Checks the health until a report satisfies `is`. Each check is a new `Health`, because one probes at most once a
/// second.
async fn until(repo: &Repo, limit: impl Fn(Health) -> Health, is: impl Fn(&HealthReport) -> bool) -> HealthReport {
    let mut found = None;
    wait_until("the expected health", async || {
        let report = limit(Health::new(repo)).check().await;
        let holds = is(&report);
        found = Some(report);
        holds
    })
    .await;
    found.unwrap()
}

#[tokio::test]
async fn health_describes_the_node() {
    let world = World::shared().await;
    for (node, region, role) in [(&world.iad, "iad", "primary"), (&world.syd, "syd", "replica")] {
        // A machine that is busy with other tests may be slow to answer the first check.
        until(&node.repo(), |health| health, |report| report.status == Status::Ok).await;
        let app: Router = Router::new().route_service("/healthz", Health::new(&node.repo()));
        let answer = Browser::default().get(&app, "/healthz").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((&json["status"], &json["region"]), (&"ok".into(), &region.into()), "{json}");
        assert_eq!((&json["primary_region"], &json["role"]), (&"iad".into(), &role.into()));
        assert_eq!((&json["primary_reachable"], &json["reasons"]), (&true.into(), &serde_json::json!([])));
        assert_eq!(json["timeline"].as_u64(), Some(1));
        // Neither the cluster nor how much is written.
        let expected = "lag_seconds primary_reachable primary_region reasons region role status timeline";
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
        assert!(json["lag_seconds"].is_number() || role == "replica", "{json}");
    }
}

#[tokio::test]
async fn lagging_replica_is_unavailable_until_caught_up() {
    let servers = Servers::start().await;
    let world = servers.world().await;
    let repo = world.syd.repo();
    let strict = |health: Health| health.with_max_lag(Duration::ZERO);
    servers.syd.pause_replay().await.unwrap();
    world.primary.batch_execute("insert into counters values (1, 1)").await.unwrap();

    let report = until(&repo, strict, |report| report.status == Status::Unavailable).await;
    assert_eq!(report.status_code(), 503);
    assert!(report.lag.unwrap() > Duration::ZERO && report.reasons[0].contains("behind"), "{report:?}");
    assert_eq!(Health::new(&repo).check().await.status, Status::Ok, "a minute is allowed");

    servers.syd.resume_replay().await.unwrap();
    servers.syd.caught_up_with(&servers.iad).await.unwrap();
    let report = until(&repo, strict, |report| report.status == Status::Ok).await;
    assert_eq!((report.role, report.lag), (Some(Role::Replica), Some(Duration::ZERO)));
}

#[tokio::test]
async fn lost_primary_or_replica_degrades_node() {
    let servers = Servers::start().await;
    let World { iad, syd, ams, .. } = servers.world().await;
    let (syd, ams) = (syd.repo(), ams.repo());
    let lenient = |health: Health| health;
    servers.ams.kill().await.unwrap();
    let report = until(&ams, lenient, |report| report.role.is_none() && report.primary_reachable).await;
    assert_eq!((report.status, report.status_code().as_u16()), (Status::Degraded, 200), "{report:?}");
    assert!(report.reasons[0].contains("does not answer"));

    shut_down(iad).await;
    let report = until(&syd, lenient, |report| !report.primary_reachable).await;
    assert_eq!((report.status, report.role), (Status::Degraded, Some(Role::Replica)), "{report:?}");
    let report = Health::new(&syd).with_primary_required().check().await;
    assert_eq!(report.status, Status::Unavailable, "{report:?}");
    let report = until(&ams, lenient, |report| !report.primary_reachable).await;
    assert_eq!((report.status, report.reasons.len()), (Status::Unavailable, 2), "{report:?}");
}

/// The nodes stay up, and remember the role of their database.
#[tokio::test]
async fn dead_primary_is_not_reachable() {
    let servers = Servers::start().await;
    let World { iad, syd, .. } = servers.world().await;
    let (iad, syd) = (iad.repo(), syd.repo());
    let lenient = |health: Health| health;
    for repo in [&iad, &syd] {
        until(repo, lenient, |report| report.status == Status::Ok).await;
    }
    servers.iad.kill().await.unwrap();
    // The node learns a moment later that none of its servers is the primary.
    let is_missed = |report: &HealthReport| report.reasons.iter().any(|reason| reason.contains("as its settings say"));
    let report = until(&iad, lenient, is_missed).await;
    assert_eq!((report.status, report.role), (Status::Unavailable, None), "{report:?}");
    assert!(!report.primary_reachable, "{report:?}");
    let report = until(&syd, lenient, |report| !report.primary_reachable).await;
    assert_eq!((report.status, report.role), (Status::Degraded, Some(Role::Replica)), "{report:?}");

    servers.iad.start_again().await.unwrap();
    for repo in [&iad, &syd] {
        until(repo, lenient, |report| report.status == Status::Ok).await;
    }
}

/// The limit of the caller is shorter than a probe, and the caller checks again.
#[tokio::test]
async fn abandoned_probe_serves_next_caller() {
    let servers = Servers::start().await;
    let World { iad, syd, .. } = servers.world().await;
    until(&syd.repo(), |health| health, |report| report.status == Status::Ok).await;
    let health = Health::new(&syd.repo());
    shut_down(iad).await;
    let patience = Duration::from_millis(300);
    let mut role = None;
    wait_until("a check has a result within its limit", async || match timeout(patience, health.check()).await {
        Ok(report) => {
            role = report.role;
            report.status == Status::Degraded
        }
        Err(_) => false,
    })
    .await;
    assert_eq!(role, Some(Role::Replica));
}

async fn shut_down(node: Node) {
    timeout(PATIENCE, node.shutdown()).await.unwrap();
}

#[tokio::test]
async fn node_without_replica_relies_on_primary() {
    let world = World::shared().await;
    let nowhere = world.node_without_database("fra").await;
    let report = until(&nowhere.repo(), |health| health, |report| report.primary_reachable).await;
    assert_eq!((report.status, report.role, report.lag), (Status::Ok, None, None), "{report:?}");
}

/// A replica whose link carries nothing has replayed everything that it received. It notices the cut after a minute.
#[tokio::test]
async fn cut_off_replica_lags_behind_known_position() {
    let servers = Servers::start().await;
    let world = servers.world().await;
    let link = Relay::start(servers.iad.address()).unwrap();
    let far = Postgres::options().with_name("fra").with_fsync(Fsync::Off).with_upstream(link.address());
    let far = far.start_replica_of(&servers.iad).await.unwrap();
    let fra = world.node("fra", Some(far.database_url(&world.database))).await.repo();
    let health = Health::new(&fra).with_max_lag(Duration::ZERO);
    until(&fra, |health| health.with_max_lag(Duration::ZERO), |report| report.status == Status::Ok).await;

    link.cut(Cut::Blackhole).await;
    world.primary.batch_execute("insert into counters values (1, 1)").await.unwrap();
    let mut report = health.check().await;
    wait_until("the node is unavailable", async || {
        report = health.check().await;
        report.status == Status::Unavailable
    })
    .await;
    assert!(report.primary_reachable && report.reasons[0].contains("behind"), "{report:?}");
}

/// At least one of ten rounds with a hundred checks takes less than a second, and its checks share one probe.
#[tokio::test]
async fn checks_within_a_second_share_a_probe() {
    let world = World::shared().await;
    let health = Health::new(&world.syd.repo());
    let mut most_shared = 0;
    for _ in 0..10 {
        let first = health.check().await;
        world
            .primary
            .batch_execute("insert into counters values (1, 1) on conflict (id) do update set value = 2")
            .await
            .unwrap();
        Servers::shared().await.syd.caught_up_with(&Servers::shared().await.iad).await.unwrap();
        let checks = futures_util::future::join_all((0..100).map(|_| health.check())).await;
        most_shared = most_shared.max(checks.iter().filter(|report| report.position == first.position).count());
    }
    assert_eq!(most_shared, 100);
}
