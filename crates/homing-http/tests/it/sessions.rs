//! Read-your-writes from request to request, in any region.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use homing_http::{Carry, RequestRepo, SessionLayer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::{Browser, PATIENCE, Servers, World, app, app_with};

#[tokio::test]
async fn cookie_falls_back_to_primary() {
    let servers = Servers::start().await;
    let world = servers.world().await;
    let (syd, ams) = (app(&world.syd.repo()), app(&world.ams.repo().with_replay_timeout(SHORT)));
    let mut ada = Browser::default();
    assert_eq!(ada.get(&ams, "/counters/1").await.number(), 0);
    servers.ams.pause_replay().await.unwrap();

    assert_eq!(ada.post(&syd, "/counters/1").await.number(), 1);
    assert!(ada.cookie.is_some());
    assert_eq!(ada.get(&ams, "/counters/1").await.number(), 1);
    assert_eq!(Browser::default().get(&ams, "/counters/1").await.number(), 0, "a stranger sees what the replica has");

    servers.ams.resume_replay().await.unwrap();
    servers.ams.caught_up_with(&servers.iad).await.unwrap();
    assert_eq!(ada.get(&ams, "/counters/1").await.number(), 1);
    assert_eq!(Browser::default().get(&ams, "/counters/1").await.number(), 1);
}

/// Every browser writes and reads its own counter, each request in a random region. No read is stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_read_nothing_stale() {
    let world = World::shared().await;
    let apps = [&world.iad, &world.syd, &world.ams].map(|node| app(&node.repo()));
    let mut running = JoinSet::new();
    let mut stale = 0;
    for id in 0..SEQUENCES {
        if running.len() == AT_ONCE {
            stale += timeout(PATIENCE, running.join_next()).await.unwrap().unwrap().unwrap();
        }
        running.spawn(sequence(apps.clone(), id));
    }
    while let Some(outcome) = timeout(PATIENCE, running.join_next()).await.unwrap() {
        stale += outcome.unwrap();
    }
    assert_eq!(stale, 0);
}

/// Returns how many of its reads were stale.
async fn sequence(apps: [Router; 3], id: u64) -> u32 {
    let mut rng = StdRng::seed_from_u64(id);
    let path = format!("/counters/{id}");
    let (mut browser, mut written, mut stale) = (Browser::default(), 0, 0);
    for _ in 0..rng.random_range(3..=6) {
        let app = &apps[rng.random_range(0..apps.len())];
        if rng.random_bool(0.4) {
            written += 1;
            assert_eq!(browser.post(app, &path).await.number(), written);
        } else if browser.get(app, &path).await.number() != written {
            stale += 1;
        }
    }
    stale
}

/// A request writes, and still runs when another request writes and ends. The response of the first request comes last,
/// and its token replaces the other one in the browser.
#[tokio::test]
async fn concurrent_responses_keep_both_writes() {
    let world = World::shared().await;
    let (has_written, may_end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (has_written, may_end) = (Arc::clone(&has_written), Arc::clone(&may_end));
        async move |RequestRepo(repo): RequestRepo| {
            repo.execute("insert into counters values (1, 1)", &[]).await.unwrap();
            has_written.notify_one();
            may_end.notified().await;
        }
    };
    let layer = SessionLayer::new(&world.syd.repo());
    let quick = app_with(layer.clone());
    let slow = Router::new().route("/slow", post(slow)).layer(layer);
    let (mut first, mut second) = (Browser::default(), Browser::default());
    let both = async {
        tokio::join!(first.post(&slow, "/slow"), async {
            has_written.notified().await;
            assert_eq!(second.post(&quick, "/counters/2").await.number(), 1);
            may_end.notify_one();
        })
    };
    timeout(PATIENCE, both).await.unwrap();
    let seen = world.syd.repo().with_token(first.cookie.as_ref().unwrap()).unwrap();
    let joined = seen.with_token(second.cookie.unwrap()).unwrap().token_of_writes();
    assert_eq!(seen.token_of_writes(), joined, "the one that came last knows of the other's write");
}

#[tokio::test]
async fn only_moved_sessions_get_token() {
    let world = World::shared().await;
    let (iad, syd) = (app(&world.iad.repo()), app(&world.syd.repo()));
    let mut browser = Browser::default();
    for (app, region) in [(&iad, "iad"), (&syd, "syd")] {
        for path in ["/nothing", "/counters/1", "/counters"] {
            let answer = browser.get(app, path).await;
            for header in ["set-cookie", "homing-token", "cache-control"] {
                assert!(!answer.headers.contains_key(header), "{path} {header} in {region}");
            }
        }
    }
    let answer = browser.post(&syd, "/counters/1").await;
    assert_eq!(answer.headers["cache-control"], "private");
    assert_eq!(answer.headers["homing-token"], *answer.cookie().unwrap());
    for path in ["/nothing", "/counters/1"] {
        assert_eq!(browser.get(&syd, path).await.cookie(), None, "what it has to see is in its cookie already");
    }
}

/// After a read from the primary, a read from a replica must not return an older state.
#[tokio::test]
async fn primary_read_is_in_token() {
    let servers = Servers::start().await;
    let world = servers.world().await;
    let nowhere = world.node_without_database("fra").await;
    let (fra, ams) = (app(&nowhere.repo()), app(&world.ams.repo().with_replay_timeout(SHORT)));
    servers.ams.pause_replay().await.unwrap();
    world.primary.batch_execute("insert into counters values (1, 7)").await.unwrap();
    let mut browser = Browser::default();
    assert_eq!(browser.get(&ams, "/counters/1").await.number(), 0);
    assert_eq!(browser.get(&fra, "/counters/1").await.number(), 7);
    assert_eq!(browser.get(&ams, "/counters/1").await.number(), 7);
    // By raw SQL too.
    let mut browser = Browser::default();
    assert_eq!(browser.get(&fra, "/counters").await.number(), 7);
    assert_eq!(browser.get(&ams, "/counters/1").await.number(), 7);
}

#[tokio::test]
async fn carried_reads_never_go_back() {
    let servers = Servers::start().await;
    let world = servers.world().await;
    let layer = |node: &homing::Node| SessionLayer::new(&node.repo().with_replay_timeout(SHORT));
    servers.ams.pause_replay().await.unwrap();
    world.primary.batch_execute("insert into counters values (1, 7)").await.unwrap();
    servers.syd.caught_up_with(&servers.iad).await.unwrap();
    for (carry, seen) in [(Carry::Writes, 0), (Carry::Reads, 7)] {
        let syd = app_with(layer(&world.syd).with_carry(carry));
        let ams = app_with(layer(&world.ams).with_carry(carry));
        let mut browser = Browser::default();
        assert_eq!(browser.get(&syd, "/counters/1").await.number(), 7);
        assert_eq!(browser.cookie.is_some(), carry == Carry::Reads);
        assert_eq!(browser.get(&ams, "/counters/1").await.number(), seen);
    }
}

const SHORT: std::time::Duration = std::time::Duration::from_millis(100);

const SEQUENCES: u64 = 1_000;
/// Most of a request is waiting: for the disk, and for a replica that is late.
const AT_ONCE: usize = 32;
