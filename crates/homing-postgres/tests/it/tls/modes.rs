//! What each `sslmode` does with each kind of server.

use homing_postgres::{Config, Options, ReplicaList, ReplicaSettings, Replicas, Repo, Role};

use super::server::{SecureServer, connect, is_encrypted, lonely, refusal, url};

/// The modes, in their order.
const MODES: [&str; 6] = [
    "sslmode=disable",
    "sslmode=allow",
    "sslmode=prefer",
    "sslmode=require",
    "sslmode=verify-ca&sslrootcert={root}",
    "sslmode=verify-full&sslrootcert={root}",
];

/// Connections are with TLS, without TLS, or refused.
const WITH: Option<bool> = Some(true);
const WITHOUT: Option<bool> = Some(false);

/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS>
#[tokio::test]
async fn modes_do_what_libpq_does() {
    let secure = SecureServer::shared().await;
    for (user, expected) in [
        ("either", [WITHOUT, WITHOUT, WITH, WITH, WITH, WITH]),
        ("encrypted", [None, WITH, WITH, WITH, WITH, WITH]),
        ("plain", [WITHOUT, WITHOUT, WITHOUT, None, None, None]),
    ] {
        for (mode, expected) in MODES.into_iter().zip(expected) {
            assert_eq!(is_encrypted(&secure.url(user, mode)).await.ok(), expected, "{mode} for {user}");
        }
    }
    assert_eq!(is_encrypted(&secure.url("either", "")).await.ok(), WITH, "the default is prefer");
    let pairs =
        format!("host=127.0.0.1 port={} dbname=postgres user=either sslmode='require'", secure.server.address().port());
    assert_eq!(is_encrypted(&pairs).await.ok(), WITH, "pairs");
}

#[tokio::test]
async fn server_without_tls_is_used_if_allowed() {
    let (secure, server) = (SecureServer::shared().await, SecureServer::without_tls().await);
    let root = secure.root.display().to_string();
    let url = |mode: &str| url(&server, "either", &format!("host=db.example&{}", mode.replace("{root}", &root)));
    for (mode, expected) in MODES.into_iter().zip([WITHOUT, WITHOUT, WITHOUT, None, None, None]) {
        assert_eq!(is_encrypted(&url(mode)).await.ok(), expected, "{mode}");
    }
    let refused = refusal(&url("sslmode=require")).await;
    assert!(refused.contains("does not offer TLS, which sslmode=require demands"), "{refused}");
    let refused = refusal(&url("channel_binding=require")).await;
    assert!(refused.contains("does not offer TLS, which channel_binding=require demands"), "{refused}");
}

#[tokio::test]
async fn refusal_names_the_encryption() {
    let secure = SecureServer::shared().await;
    for (user, mode, part) in [
        ("encrypted", "sslmode=disable", "the connection was without TLS, as sslmode=disable says"),
        ("plain", "sslmode=require", "no pg_hba.conf entry"),
        ("nobody", "sslmode=prefer", "cannot be reached: with TLS, no pg_hba.conf entry"),
        ("nobody", "sslmode=prefer", "; without TLS, no pg_hba.conf entry"),
        ("nobody", "sslmode=allow", "cannot be reached: without TLS, no pg_hba.conf entry"),
        ("nobody", "sslmode=allow", "; with TLS, no pg_hba.conf entry"),
    ] {
        let refused = refusal(&secure.url(user, mode)).await;
        assert!(refused.contains(part) && refused.contains("no pg_hba.conf entry"), "{refused}");
    }
}

/// A node starts without its primary, and a call says why it was not sent.
#[tokio::test]
async fn call_without_connection_is_not_sent() {
    let secure = SecureServer::shared().await;
    let other = secure.url("either", "sslmode=verify-full&sslrootcert={root}").replace("db.example", "other.example");
    let config = Config::new(other, Role::Primary);
    let replicas = Replicas::start(Some(config), &ReplicaList::none(), ReplicaSettings::default()).await.unwrap();
    let repo = Repo::new(lonely(), replicas, Options::default());
    let error = repo.execute("create table never (id int)", &[]).await.unwrap_err();
    assert!(error.is_not_sent(), "{error}");
    let message = error.to_string();
    assert!(message.contains("not valid for other.example, but for db.example, 127.0.0.1"), "{message}");
}

/// A pool is pinned to the address, and the certificate has to be valid for the name.
#[tokio::test]
async fn name_is_that_of_the_host() {
    let secure = SecureServer::shared().await;
    let port = secure.server.address().port();
    let verified = |host: &str| {
        format!("postgres://either@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={}", secure.root.display())
    };
    assert!(is_encrypted(&verified("127.0.0.1")).await.unwrap(), "an address in the certificate");
    let refused = refusal(&verified("localhost")).await;
    assert!(refused.contains("not valid for localhost, but for db.example, 127.0.0.1"), "{refused}");
    assert!(is_encrypted(&verified("localhost").replace("full", "ca")).await.unwrap(), "verify-ca ignores the name");
    assert!(is_encrypted(&secure.url("either", "sslmode=verify-full&sslrootcert={root}&sslsni=0")).await.unwrap());
}

/// A dropped call cancels its statement by a connection that is encrypted too.
#[tokio::test]
async fn cancellation_is_encrypted() {
    let secure = SecureServer::shared().await;
    let recorder = super::recorder::Recorder::start(secure.server.address()).await;
    let url = format!(
        "postgres:///postgres?user=either&host=db.example&hostaddr=127.0.0.1&port={}&sslmode=verify-full&sslrootcert={}",
        recorder.port(),
        secure.root.display()
    );
    let repo = connect(&url).await.unwrap();
    let before = recorder.requests().len();
    secure.drop_a_call(repo, 71).await;
    let requests = recorder.requests();
    assert!(requests.len() > before, "the cancellation is a connection of its own");
    assert!(requests.iter().all(|request| *request == super::recorder::SSL_REQUEST), "{requests:?}");
}
