//! SCRAM with channel binding, and handshakes that begin at once.

use super::server::{SecureServer, connect, is_encrypted, refusal};

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
