//! Wrong settings are reported at the start, with what to do.

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};

use homing::database::Role;
use homing::{Config, Consistency, Error, Node};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, Servers, config, import, in_iad, start};

async fn refused(config: Config) -> Error {
    timeout(PATIENCE, start(config)).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn primary_region_needs_database() {
    let error = refused(config("iad")).await;
    assert!(error.is_configuration());
    assert!(error.to_string().contains("set DATABASE_URL"), "{error}");
}

#[tokio::test]
async fn unreachable_primary_is_named() {
    let mut config = config("iad");
    config.database_url = Some("postgres://app:geheim@127.0.0.1:1/app".into());
    let node = timeout(PATIENCE, start(config)).await.unwrap().unwrap();
    let error = node.repo().execute("select 1", &[]).await.unwrap_err();
    assert!(error.is_not_sent());
    let message = error.to_string();
    assert!(message.contains("127.0.0.1:1") && message.contains("DATABASE_URL"), "{message}");
    assert!(!format!("{error:?}").contains("geheim"));
}

#[tokio::test]
async fn start_reports_error_of_postgresql() {
    let servers = Servers::shared().await;
    for database in ["no_such_database", "no such database"] {
        let mut config = config("iad");
        config.database_url = Some(servers.primary.database_url("postgres").replace("/postgres", "/no_such_database"));
        let error = refused(config).await;
        assert!(error.to_string().contains("no_such_database"), "{database}: {error}");
    }
}

#[tokio::test]
async fn message_limit_bounds_rows() {
    for bytes in [0, 1000, usize::MAX] {
        let error = refused(config("syd").with_max_message_bytes(bytes)).await;
        assert!(error.is_configuration() && error.to_string().contains("HOMING_MAX_MESSAGE_BYTES"), "{error}");
    }
    let servers = Servers::shared().await;
    let world = servers.world().await;
    for (mib, is_enough) in [(1, false), (4, true)] {
        let mut iad = servers.primary_config(&world.database).with_max_message_bytes(mib << 20);
        iad.listen = Some(([127, 0, 0, 1], 0).into());
        let iad = start(iad).await.unwrap();
        let syd = servers.replica_config(&world.database, in_iad(iad.local_addr())).with_max_message_bytes(mib << 20);
        let repo = start(syd).await.unwrap().repo().with_consistency(Consistency::Global);
        let rows = repo.query("select repeat('x', 1000) from generate_series(1, 2000)", &[]).await;
        assert_eq!(rows.map(|rows| rows.len()).ok(), is_enough.then_some(2000), "{mib} MiB");
    }
}

#[tokio::test]
async fn swapped_urls_are_detected() {
    let servers = Servers::shared().await;
    let mut home = config("iad");
    home.database_url = Some(servers.replica.url());
    let home = start(home).await.unwrap();
    let error = home.repo().execute("create table t ()", &[]).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("DATABASE_URL") && message.contains("replica"), "{message}");

    let mut away = config("syd");
    away.replica_url = Some(servers.primary.url());
    let away = start(away).await.unwrap();
    let status = away.repo().replicas().status();
    assert_eq!(status[0].role, Some(Role::Primary));
}

#[tokio::test]
async fn node_starts_without_its_replica() {
    let mut config = config("syd");
    config.replica_url = Some("postgres://127.0.0.1:1/app".into());
    let node = timeout(PATIENCE, start(config)).await.unwrap().unwrap();
    assert!(node.repo().query("select 1", &[]).await.unwrap_err().is_not_sent());
}

#[tokio::test]
async fn duplicate_function_fails_at_start() {
    let mut config = config("iad");
    config.database_url = Some(Servers::shared().await.primary.url());
    let error = Node::with_config(config).register(import).register(import).start().await.unwrap_err();
    assert!(error.is_misuse() && error.to_string().contains("import"), "{error}");
}

#[tokio::test]
async fn network_needs_secret() {
    let mut config = config("iad");
    config.database_url = Some(Servers::shared().await.primary.url());
    config.secret = None;
    config.listen = Some(([0, 0, 0, 0], 0).into());
    let error = refused(config).await;
    assert!(error.is_configuration() && error.to_string().contains("HOMING_SECRET"), "{error}");
}

#[tokio::test]
async fn missing_secret_is_logged_with_its_variable() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
    // With one subscriber only, tracing asks the first thread that comes whether lines are of interest, and the threads of
    // the other tests have no subscriber.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _collecting = tracing::subscriber::set_default(subscriber);
    let mut config = config("iad");
    config.database_url = Some(Servers::shared().await.primary.url());
    config.listen = Some(([127, 0, 0, 1], 0).into());
    let _quiet = start(config.clone()).await.unwrap();
    assert!(!lines.has("HOMING_SECRET"), "it has a secret");
    config.secret = None;
    let _node = start(config).await.unwrap();
    assert!(lines.has("HOMING_SECRET"));
}

/// The warnings of a test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn has(&self, part: &str) -> bool {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().any(|line| line.contains("WARN") && line.contains(part))
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the settings of the environment, which a test does not change: in a process of its own.
#[test]
fn misspelt_variable_of_environment_is_refused() {
    let read = |name: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "nodes::configuration::process", "--ignored", "--nocapture"]);
        let output = command.env(PROCESS, "1").env("DATABASE_URL", "postgres://localhost/app").env(name, "7").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert!(read("HOMING_POOL_SIZE").contains("pool of 7"), "{}", read("HOMING_POOL_SIZE"));
    assert!(read("HOMING_POLL_SIZE").contains("the nearest is HOMING_POOL_SIZE"), "{}", read("HOMING_POLL_SIZE"));
}

#[test]
#[ignore = "runs in a process of its own, as part of another test"]
fn process() {
    if std::env::var_os(PROCESS).is_some() {
        match Config::from_env() {
            Ok(config) => println!("pool of {}", config.pool_size),
            Err(error) => println!("{error}"),
        }
    }
}

const PROCESS: &str = "CONFIGURATION_TEST_PROCESS";
