//! SCRAM with channel binding, and handshakes that begin at once.

use rustls::CipherSuite;
use rustls::crypto::ring;

use super::server::{SecureServer, connect, is_encrypted, refusal, run_apart};

#[tokio::test]
async fn password_is_bound_to_the_channel() {
    let secure = SecureServer::shared().await;
    let url = |parameters: &str| secure.url("scram", &format!("password=geheim&{parameters}"));
    for (parameters, expected) in [
        ("channel_binding=require&sslmode=verify-full&sslrootcert={root}", true),
        ("channel_binding=require", true),
        ("channel_binding=require&sslmode=allow", true),
        ("channel_binding=prefer&sslmode=require", true),
        ("channel_binding=disable&sslmode=require", true),
        ("channel_binding=disable&sslmode=disable", false),
    ] {
        assert_eq!(is_encrypted(&url(parameters)).await.unwrap(), expected, "{parameters}");
    }
    let refused = refusal(&secure.url("either", "channel_binding=require")).await;
    assert!(refused.contains("server did not use channel binding"), "{refused}");
    let refused = refusal(&secure.url("scram", "password=falsch-geheim")).await;
    assert!(refused.contains("password authentication failed") && !refused.contains("without TLS"), "{refused}");
}

#[tokio::test]
async fn earlier_protocol_is_understood() {
    let secure = SecureServer::start().await;
    secure.server.reconfigure(&[("ssl_max_protocol_version", "TLSv1.2")]).await.unwrap();
    let url = secure.url("scram", "password=geheim&channel_binding=require&sslmode=verify-full&sslrootcert={root}");
    let version = "select version from pg_stat_ssl where pid = pg_backend_pid()";
    let row = connect(&url).await.unwrap().query_one(version, &[]).await.unwrap();
    assert_eq!(row.try_get::<_, String>(0).unwrap(), "TLSv1.2");
}

#[tokio::test]
async fn provider_of_the_process_is_used() {
    if let Ok(url) = std::env::var("TEST_URL") {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        provider.install_default().unwrap();
        let cipher = "select cipher from pg_stat_ssl where pid = pg_backend_pid()";
        let row = connect(&url).await.unwrap().query_one(cipher, &[]).await.unwrap();
        assert_eq!(row.try_get::<_, String>(0).unwrap(), "TLS_CHACHA20_POLY1305_SHA256");
        return;
    }
    let url = SecureServer::shared().await.url("either", "sslmode=require");
    run_apart("tls::authentication::provider_of_the_process_is_used", &[("TEST_URL", &url)]).await;
}

/// PostgreSQL 17 and later begin the handshake without being asked for TLS first.
#[tokio::test]
async fn handshake_can_begin_at_once() {
    let secure = SecureServer::shared().await;
    let url = secure.url("either", "sslmode=verify-full&sslrootcert={root}&sslnegotiation=direct");
    let client = secure.server.connect().await.unwrap();
    let version: i32 = client.query_one("select current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    if version >= 170_000 {
        assert!(is_encrypted(&url).await.unwrap());
        secure.drop_a_call(connect(&url).await.unwrap(), 72).await;
    } else {
        eprintln!("sslnegotiation=direct is not tried: it needs PostgreSQL 17 or later");
        let refused = refusal(&url).await;
        assert!(refused.contains("sslnegotiation=direct needs PostgreSQL 17"), "{refused}");
    }
}
