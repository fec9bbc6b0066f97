//! Client certificates, and files that cannot be used.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use homing_testbed::{CertificateAuthority, CertificateFiles};

use super::server::{SecureServer, connect, is_encrypted, refusal};

fn parameters(files: &CertificateFiles) -> String {
    with(&files.certificate, &files.key)
}

fn with(certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!("sslmode=verify-full&sslrootcert={{root}}&sslcert={certificate}&sslkey={key}")
}

#[tokio::test]
async fn client_certificate_authenticates() {
    let secure = SecureServer::shared().await;
    let save = |authority: &CertificateAuthority, user: &str, name: &str| {
        authority.issue_for_user(user).unwrap().save(secure.folder(), name).unwrap()
    };
    let files = save(&secure.authority, "certified", "certified");
    assert!(is_encrypted(&secure.url("certified", &parameters(&files))).await.unwrap());

    let refused = refusal(&secure.url("certified", "sslmode=require")).await;
    assert!(refused.contains("requires a valid client certificate"), "{refused}");
    let other_user = save(&secure.authority, "either", "either");
    let refused = refusal(&secure.url("certified", &parameters(&other_user))).await;
    assert!(refused.contains("certificate authentication failed"), "{refused}");
    let stranger = save(&CertificateAuthority::new("a stranger").unwrap(), "certified", "stranger");
    let refused = refusal(&secure.url("certified", &parameters(&stranger))).await;
    assert!(refused.contains("check the certificate and the key of sslcert and sslkey"), "{refused}");
}

#[tokio::test]
async fn file_that_cannot_be_used_is_named() {
    let secure = SecureServer::shared().await;
    let issue = |name| secure.authority.issue_for_user("certified").unwrap().save(secure.folder(), name).unwrap();
    let (files, other) = (issue("one"), issue("two"));
    let missing = secure.folder().join("missing.pem");
    let broken = secure.save("broken.pem", "-----BEGIN CERTIFICATE-----\n#geheim\n-----END CERTIFICATE-----\n");
    let empty = secure.save("empty.pem", "-----BEGIN CERTIFICATE-----\nZ2VoZWlt\n-----END CERTIFICATE-----\n");
    let encrypted = secure.save(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nZ2VoZWlt\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let readable = secure.save("readable.key", &std::fs::read_to_string(&files.key).unwrap());
    set_permissions(&encrypted, Permissions::from_mode(0o600)).unwrap();
    set_permissions(&readable, Permissions::from_mode(0o644)).unwrap();
    let root = |file: &Path| format!("sslmode=verify-ca&sslrootcert={}", file.display());
    for (parameters, part) in [
        (root(&missing), "missing.pem, which sslrootcert names: No such file"),
        (root(&broken), "broken.pem, which sslrootcert names, is not valid PEM"),
        (root(&empty), "which sslrootcert names, holds no valid certificate"),
        (with(&empty, &files.key), "cannot be used with"),
        (root(&files.key), "which sslrootcert names, holds no certificate"),
        (with(&missing, &files.key), "missing.pem, which sslcert names: No such file"),
        (with(&files.certificate, &missing), "missing.pem, which sslkey names: No such file"),
        (with(&files.certificate, &readable), "other users may read"),
        (with(&files.certificate, &encrypted), "holds an encrypted key"),
        (with(&files.certificate, &other.key), "does not belong to the certificate in"),
        (with(&files.key, &files.key), "which sslcert names, holds no certificate"),
    ] {
        let error =
            connect(&secure.url("certified", &format!("password=geheim&{parameters}"))).await.map(drop).unwrap_err();
        let message = error.to_string();
        assert!(error.is_configuration() && message.contains("DATABASE_URL cannot be used: "), "{message}");
        assert!(message.contains(part) && !format!("{error:?}").contains("geheim"), "{message}");
    }
}
