//! `deploy/fly`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use crate::read;
use crate::settings::{assert_complete, assert_fits, settings};

/// The part of [fly.toml's format](https://fly.io/docs/reference/configuration/) that our file uses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlyToml {
    app: String,
    primary_region: String,
    kill_signal: String,
    kill_timeout: u32,
    build: Build,
    env: BTreeMap<String, String>,
    deploy: Deploy,
    processes: BTreeMap<String, String>,
    http_service: HttpService,
    metrics: Metrics,
    vm: Vec<Vm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    dockerfile: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    #[serde(rename = "strategy")]
    _strategy: Strategy,
    release_command: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    Canary,
    Rolling,
    BlueGreen,
    Immediate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpService {
    processes: Vec<String>,
    internal_port: u16,
    force_https: bool,
    auto_stop_machines: String,
    auto_start_machines: bool,
    checks: Vec<HttpCheck>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpCheck {
    method: String,
    path: String,
    #[serde(rename = "interval")]
    _interval: String,
    timeout: String,
    #[serde(rename = "grace_period")]
    _grace_period: String,
}

/// <https://fly.io/docs/monitoring/metrics/#custom-metrics>
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    port: u16,
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vm {
    #[serde(rename = "size")]
    _size: String,
    memory: String,
}

fn fly() -> FlyToml {
    toml::from_str(&read("deploy/fly/fly.toml")).unwrap()
}

fn listen(fly: &FlyToml, variable: &str) -> SocketAddr {
    fly.env[variable].parse().unwrap()
}

/// Returns the settings that Fly makes by itself, and the secrets that `docs/fly.md` asks for.
fn machine(region: &str) -> crate::settings::Settings {
    let fly = fly();
    let mut all = settings([
        ("FLY_APP_NAME", fly.app.as_str()),
        ("FLY_REGION", region),
        ("PRIMARY_REGION", &fly.primary_region),
        ("HOMING_SECRET", "0123456789abcdef0123456789abcdef"),
    ]);
    let database = "postgres://app@iad.guestbook-db.internal:5433/app?sslmode=disable";
    all.insert("DATABASE_URL".to_owned(), database.to_owned());
    all.extend(fly.env);
    all
}

#[test]
fn regions_have_all_settings() {
    for region in ["iad", "syd", "ams"] {
        assert_complete(&machine(region), region);
        let config = crate::settings::config(&machine(region));
        assert!(format!("{:?}", config.discover).starts_with("FlyDns"));
        let replica = format!("postgres://app@{region}.guestbook-db.internal:5433/app?sslmode=disable");
        assert_eq!(config.replica_url, (region != "iad").then_some(replica));
        // The private network has no other addresses.
        assert!(config.listen.unwrap().is_ipv6());
    }
}

#[test]
fn machines_stay_and_end_cleanly() {
    let fly = fly();
    assert_eq!(fly.http_service.auto_stop_machines, "off");
    assert!(!fly.http_service.auto_start_machines && fly.http_service.force_https);
    assert_eq!(fly.kill_signal, "SIGTERM");
    assert!(fly.kill_timeout >= 10);
}

#[test]
fn release_migrates_before_machines_serve() {
    let fly = fly();
    assert_eq!(fly.deploy.release_command, "guestbook migrate");
    assert_eq!(fly.processes.into_iter().collect::<Vec<_>>(), [("app".to_owned(), "guestbook serve".to_owned())]);
    assert_eq!(fly.http_service.processes, ["app"]);
}

#[test]
fn memory_holds_the_calls_of_peers() {
    let [vm] = &fly().vm[..] else { panic!("one kind of machine") };
    let megabytes = vm.memory.strip_suffix("mb").unwrap().parse().unwrap();
    assert_fits(&crate::settings::config(&machine("iad")), megabytes);
}

#[test]
fn page_is_served_on_its_port() {
    let fly = fly();
    assert_eq!(listen(&fly, "GUESTBOOK_LISTEN").port(), fly.http_service.internal_port);
    let [check] = &fly.http_service.checks[..] else { panic!("one check") };
    assert_eq!((check.method.as_str(), check.path.as_str()), ("GET", "/healthz"));
    let seconds: i32 = check.timeout.strip_suffix('s').unwrap().parse().unwrap();
    assert!(seconds >= crate::MIN_HEALTH_TIMEOUT);
}

#[test]
fn metrics_have_their_own_port() {
    let fly = fly();
    assert_eq!(listen(&fly, "GUESTBOOK_METRICS_LISTEN").port(), fly.metrics.port);
    assert_eq!(fly.metrics.path, "/metrics");
    assert_ne!(fly.metrics.port, fly.http_service.internal_port);
}

#[test]
fn dockerfile_exists() {
    let path = Path::new("deploy/fly").join(fly().build.dockerfile);
    assert!(read(path.to_str().unwrap()).contains("FROM "));
}
