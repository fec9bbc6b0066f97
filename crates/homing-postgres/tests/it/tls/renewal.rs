//! Certificates that are renewed while connections are opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use homing_postgres::{Config, Database, Options, Repo, Role};
use homing_testbed::{CertificateAuthority, wait_until};
use tokio::task::JoinSet;

use super::server::{SecureServer, connect, lonely};

const FULL: &str = "sslmode=verify-full&sslrootcert={root}";

/// Runs a call that finds no free connection, so that a new one is opened.
async fn call_on_a_new_connection(repo: &Repo) -> homing_postgres::Result<()> {
    repo.transaction(async |one| {
        one.query("select 1", &[]).await?;
        repo.query("select 1", &[]).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn changed_files_reach_new_connections() {
    let secure = SecureServer::start().await;
    let fresh = async || {
        let repo = connect(&secure.url("either", FULL)).await.unwrap();
        repo.query("select 1", &[]).await.unwrap();
        repo
    };
    let next = CertificateAuthority::new("the next authority").unwrap();
    let [follows, keeps] = [fresh().await, fresh().await];

    secure.renew(&next.issue(&["db.example"]).unwrap()).await;
    let error = call_on_a_new_connection(&follows).await.unwrap_err();
    assert!(error.is_not_sent(), "the authority is not known yet: {error}");
    secure.save("root.crt", next.pem());
    call_on_a_new_connection(&follows).await.unwrap();

    // A broken file is not used.
    call_on_a_new_connection(&keeps).await.unwrap();
    for broken in ["", "not a certificate", "-----BEGIN CERTIFICATE-----\n"] {
        secure.save("root.crt", broken);
        let client = secure.server.connect().await.unwrap();
        client
            .batch_execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'either'")
            .await
            .unwrap();
        wait_until("the node connects again", async || keeps.query("select 1", &[]).await.is_ok()).await;
    }
}

/// A node may read a certificate and its key while one of them is replaced.
#[tokio::test]
async fn certificate_waits_for_its_key() {
    let secure = SecureServer::shared().await;
    let issue = |name| secure.authority.issue_for_user("certified").unwrap().save(secure.folder(), name).unwrap();
    let (used, next) = (issue("used"), issue("next"));
    let (certificate, key) = (used.certificate.display(), used.key.display());
    let url = secure.url("certified", &format!("{FULL}&sslcert={certificate}&sslkey={key}"));
    let repo = connect(&url).await.unwrap();
    std::fs::rename(&next.certificate, &used.certificate).unwrap();
    call_on_a_new_connection(&repo).await.unwrap();
    assert!(connect(&url).await.is_err_and(|error| error.is_configuration()), "a start has nothing to keep");
    std::fs::rename(&next.key, &used.key).unwrap();
    connect(&url).await.unwrap();
    call_on_a_new_connection(&repo).await.unwrap();
}

#[tokio::test]
async fn renewal_under_load_fails_no_call() {
    let secure = Arc::new(SecureServer::start().await);
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (secure, stop, calls) = (Arc::clone(&secure), Arc::clone(&stop), Arc::clone(&calls));
        load.spawn(async move {
            while !stop.load(Ordering::Acquire) {
                let config = Config::new(secure.url("either", FULL), Role::Primary).with_pool_size(2);
                let repo = Repo::new(lonely(), Database::connect(config).await.unwrap(), Options::default());
                call_on_a_new_connection(&repo).await.unwrap();
                calls.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
    let more = async |than: usize| {
        wait_until("calls go on", async || calls.load(Ordering::Acquire) > than + 8).await;
    };
    for _ in 0..3 {
        more(calls.load(Ordering::Acquire)).await;
        secure.renew(&secure.authority.issue(&["db.example"]).unwrap()).await;
    }
    // The next authority is trusted first, then it is used, and then the former one goes.
    let next = CertificateAuthority::new("the next authority").unwrap();
    let replace = |text: &str| std::fs::rename(secure.save("root.new", text), &secure.root).unwrap();
    replace(&format!("{}{}", secure.authority.pem(), next.pem()));
    more(calls.load(Ordering::Acquire)).await;
    secure.renew(&next.issue(&["db.example"]).unwrap()).await;
    more(calls.load(Ordering::Acquire)).await;
    replace(next.pem());
    more(calls.load(Ordering::Acquire)).await;
    stop.store(true, Ordering::Release);
    let ended = tokio::time::timeout(Duration::from_secs(30), load.join_all()).await;
    ended.expect("calls end");
}
