//! Wrong settings are reported at the start, with what to do.

use homing::database::Role;
use homing::{Config, Error, Node};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, Servers, config, import, start};

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
    assert!(error.is_misuse() && error.to_string().contains("HOMING_SECRET"), "{error}");
}
