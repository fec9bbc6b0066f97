//! What `/healthz` says, and what it asks for that.

use std::time::Duration;

use axum::Router;
use homing::database::Role;
use homing::{Node, Repo};
use homing_http::{Health, HealthReport, Status};
use homing_testbed::{Cut, Fsync, Postgres, Relay};
use tokio::time::timeout;

use crate::fixture::{Browser, PATIENCE, Servers, World};

/// Looks until it says so; a new one each time, since one looks at most once a second.
async fn until(repo: &Repo, limit: impl Fn(Health) -> Health, is: impl Fn(&HealthReport) -> bool) -> HealthReport {
    let looking = async {
        loop {
            let report = limit(Health::new(repo)).check().await;
            if is(&report) {
                return report;
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("it never says so")
}

#[tokio::test]
async fn a_node_says_what_it_is() {
    let world = World::shared().await;
    for (node, region, role) in [(&world.iad, "iad", "primary"), (&world.syd, "syd", "replica")] {
        // A machine that is busy with other tests may be slow to answer the first time.
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
        assert!(json["position"].as_str().unwrap().contains('/'));
        assert!(json["lag_seconds"].is_number() || role == "replica", "{json}");
    }
}

#[tokio::test]
async fn a_replica_that_lags_is_unavailable_until_it_has_caught_up() {
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
async fn without_primary_or_replica_a_node_is_degraded_and_without_both_unavailable() {
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

/// The nodes go on, and remember what their database was.
#[tokio::test]
async fn a_primary_that_is_down_is_not_reachable_whatever_its_node_says() {
    let servers = Servers::start().await;
    let World { iad, syd, .. } = servers.world().await;
    let (iad, syd) = (iad.repo(), syd.repo());
    let lenient = |health: Health| health;
    for repo in [&iad, &syd] {
        until(repo, lenient, |report| report.status == Status::Ok).await;
    }
    servers.iad.kill().await.unwrap();
    let report = until(&iad, lenient, |report| !report.primary_reachable).await;
    assert_eq!((report.status, report.role), (Status::Unavailable, None), "{report:?}");
    let report = until(&syd, lenient, |report| !report.primary_reachable).await;
    assert_eq!((report.status, report.role), (Status::Degraded, Some(Role::Replica)), "{report:?}");

    servers.iad.start_again().await.unwrap();
    for repo in [&iad, &syd] {
        until(repo, lenient, |report| report.status == Status::Ok).await;
    }
}

/// Whoever asks has less patience than a look takes, and asks again.
#[tokio::test]
async fn a_look_is_finished_for_those_who_ask_next() {
    let servers = Servers::start().await;
    let World { iad, syd, .. } = servers.world().await;
    until(&syd.repo(), |health| health, |report| report.status == Status::Ok).await;
    let health = Health::new(&syd.repo());
    shut_down(iad).await;
    let patience = Duration::from_millis(300);
    let asking = async {
        loop {
            if let Ok(report) = timeout(patience, health.check()).await
                && report.status == Status::Degraded
            {
                return report;
            }
        }
    };
    let report = timeout(PATIENCE, asking).await.expect("nobody ever has an answer");
    assert_eq!(report.role, Some(Role::Replica));
}

async fn shut_down(node: Node) {
    timeout(PATIENCE, node.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_node_without_a_replica_is_well_while_the_primary_can_be_reached() {
    let world = World::shared().await;
    let nowhere = world.node_without_database("fra").await;
    let report = until(&nowhere.repo(), |health| health, |report| report.primary_reachable).await;
    assert_eq!((report.status, report.role, report.lag), (Status::Ok, None, None), "{report:?}");
}

/// A replica whose link carries nothing has replayed all it has received. It notices after a minute.
#[tokio::test]
async fn a_replica_that_is_cut_off_lags_once_the_primary_is_known_to_have_more() {
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
    let behind = async {
        loop {
            let report = health.check().await;
            if report.status == Status::Unavailable {
                return report;
            }
            tokio::task::yield_now().await;
        }
    };
    let report = timeout(PATIENCE, behind).await.unwrap();
    assert!(report.primary_reachable && report.reasons[0].contains("behind"), "{report:?}");
}

/// In ten rounds of a hundred, at least one is quicker than a second, and then there was one question.
#[tokio::test]
async fn however_many_ask_there_is_one_question_a_second() {
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
