//! The metrics as Prometheus reads them.

use axum::Router;
use homing_http::{Health, Prometheus, SessionLayer, metered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Browser, World, app_with};

/// One recorder for each process, so one test.
#[tokio::test]
async fn prometheus_text_has_all_metrics() {
    let prometheus = Prometheus::install().unwrap();
    assert!(Prometheus::install().unwrap_err().is_configuration());
    let world = World::shared().await;
    let syd = app_with(SessionLayer::new(&world.syd.repo()));
    let mut browser = Browser::default();
    assert_eq!(browser.post(&syd, "/counters/1").await.number(), 1);
    assert_eq!(browser.get(&syd, "/counters/1").await.number(), 1);
    Browser::with_cookie("forged").get(&syd, "/counters/1").await.number();
    metered(&world.syd.repo()).execute("delete from counters where id = 9", &[]).await.unwrap();

    for _ in 0..2 {
        // A call that no other test makes.
        metered(&world.syd.repo()).query_opt("insert into counters values (1, 1)", &[]).await.unwrap_err();
    }

    // A stranger, which the node sends away at once.
    let mut stranger = TcpStream::connect(world.iad.local_addr().unwrap()).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = stranger.read_to_end(&mut Vec::new()).await;
    let prometheus = prometheus.with_health(Health::new(&world.syd.repo())).with_refusals(world.iad.refusals());
    let metrics: Router = Router::new().route_service("/internal/metrics", prometheus);
    let answer = browser.get(&metrics, "/internal/metrics").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let has = |parts: &[&str]| answer.text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    for stage in ["route", "forward", "execute", "replay_wait"] {
        let stage = format!("stage=\"{stage}\"");
        let labels = ["answered_by=\"peer\"", "region=\"iad\"", "operation=\"query_one\""];
        assert!(
            has(&["homing_stage_seconds_bucket{", "le=\"0.0001\"", &stage, labels[0], labels[1], labels[2]]),
            "{stage}"
        );
    }
    for parts in [
        ["# TYPE homing_stage_seconds histogram", ""],
        ["# HELP homing_stage_seconds ", "stage"],
        ["# TYPE homing_calls_total counter", ""],
        ["homing_stage_seconds_bucket{", "le=\"10\""],
        ["homing_calls_total{", "operation=\"execute\""],
        ["homing_calls_total{", "answered_by=\"here\""],
        ["homing_calls_total{outcome=\"rejected\",operation=\"query_opt\",answered_by=\"nobody\",region=\"\"} 2", ""],
        ["homing_calls_total{outcome=\"ok\"", "operation=\"query_one\""],
        ["homing_http_requests_total{token=\"refused\"}", ""],
        ["homing_http_requests_total{token=\"taken\"}", ""],
        ["homing_http_tokens_total{carried=\"yes\"}", ""],
        ["homing_is_primary 0", ""],
        ["homing_primary_reachable 1", ""],
        ["homing_healthy 1", ""],
        ["# TYPE homing_lag_seconds gauge", ""],
        ["homing_refused_connections_total{reason=\"garbage\"} 1", ""],
        ["homing_refused_connections_total{reason=\"unknown_secret\"} 0", ""],
    ] {
        assert!(has(&parts), "{parts:?} is not in\n{}", answer.text);
    }
    for secret in ["127.0.0.1", "insert", "counters"] {
        assert!(!answer.text.contains(secret), "{secret}");
    }
}
