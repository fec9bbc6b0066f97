//! Which certificates of a server are accepted.

use homing_testbed::{Certificate, CertificateAuthority};

use super::server::{SecureServer, is_encrypted, refusal, run_apart};

#[tokio::test]
async fn wrong_certificate_is_named() {
    let secure = SecureServer::start().await;
    let other = CertificateAuthority::new("another authority").unwrap();
    let [ca, full] = ["verify-ca", "verify-full"].map(|mode| format!("sslmode={mode}&sslrootcert={{root}}"));
    let url = |parameters: &str| secure.url("either", parameters);

    secure.renew(&other.issue(&["db.example"]).unwrap()).await;
    for mode in [&ca, &full, "sslmode=require&sslrootcert={root}"] {
        let refused = refusal(&url(mode)).await;
        assert!(refused.contains("not issued by an authority in") && refused.contains("root.crt"), "{refused}");
    }
    assert!(is_encrypted(&url("sslmode=require")).await.unwrap(), "require verifies nothing without an authority");
    let prefer = url("sslmode=prefer&sslrootcert={root}");
    assert!(!is_encrypted(&prefer).await.unwrap(), "prefer goes on without TLS, as in libpq");

    secure.renew(&secure.authority.issue_expired(&["db.example"]).unwrap()).await;
    for mode in [&ca, &full] {
        let refused = refusal(&url(mode)).await;
        assert!(refused.contains("its certificate expired") && refused.contains("days ago"), "{refused}");
    }

    secure.renew(&secure.authority.issue(&["other.example", "*.more.example"]).unwrap()).await;
    assert!(is_encrypted(&url(&ca)).await.unwrap(), "verify-ca ignores the name");
    let refused = refusal(&url(&full)).await;
    assert!(refused.contains("not valid for db.example, but for other.example, *.more.example"), "{refused}");

    secure.renew(&secure.authority.issue(&[]).unwrap()).await;
    let refused = refusal(&url(&full)).await;
    assert!(refused.contains("names no host in its subjectAltName"), "{refused}");
}

/// The first example of PostgreSQL's documentation: the certificate of the server is its own authority.
/// <https://www.postgresql.org/docs/current/ssl-tcp.html#SSL-CERTIFICATE-CREATION>
#[tokio::test]
async fn self_signed_certificate_can_be_the_root() {
    let secure = SecureServer::start().await;
    let certificate = Certificate::self_signed(&["db.example"]).unwrap();
    secure.renew(&certificate).await;
    let full = "sslmode=verify-full&sslrootcert={root}";
    secure.save("root.crt", certificate.pem());
    assert!(is_encrypted(&secure.url("either", full)).await.unwrap());
    let other = secure.url("either", full).replace("db.example", "other.example");
    assert!(refusal(&other).await.contains("not valid for other.example"));
    secure.save("root.crt", Certificate::self_signed(&["db.example"]).unwrap().pem());
    let refused = refusal(&secure.url("either", full)).await;
    assert!(refused.contains("if it is its own authority, name the certificate itself"), "{refused}");
}

/// The second example of the documentation has no extensions, so OpenSSL 3.0 gives it version 1 of X.509. Nothing but its key
/// is used unless it is to be verified.
#[tokio::test]
async fn first_version_of_certificates_is_read() {
    let secure = SecureServer::start().await;
    let certificate = Certificate::from_pem(include_str!("version_1.crt"), include_str!("version_1.key"));
    secure.renew(&certificate).await;
    for parameters in ["sslmode=require", "sslmode=prefer", "channel_binding=require"] {
        let url = secure.url("scram", &format!("password=geheim&{parameters}"));
        assert!(is_encrypted(&url).await.unwrap(), "{parameters}");
    }
    let refused = refusal(&secure.url("either", "sslmode=verify-ca&sslrootcert={root}")).await;
    assert!(refused.contains("only version 3 is verified"), "{refused}");
}

/// The authorities of the system are read by a process of its own, to which the authority of the test is one of them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn system_authorities_are_trusted() {
    if let Ok(url) = std::env::var("TEST_URL") {
        assert!(is_encrypted(&url).await.unwrap());
        let refused = refusal(&url.replace("db.example", "other.example")).await;
        assert!(refused.contains("not valid for other.example"), "{refused}");
        return;
    }
    let secure = SecureServer::shared().await;
    let url = secure.url("either", "sslrootcert=system");
    let refused = refusal(&url).await;
    assert!(refused.contains("that the system trusts") || refused.contains("finds no authorities"), "{refused}");
    let root = secure.root.display().to_string();
    let variables = [("SSL_CERT_FILE", &*root), ("TEST_URL", &*url)];
    run_apart("tls::certificates::system_authorities_are_trusted", &variables).await;
}
