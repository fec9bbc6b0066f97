//! Nodes with certificates.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::{NodeConfig, Refusal, Rpc, Secret, ServerHandle, StaticPeers, Tls};
use homing_testbed::wait_until;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::lines::Lines;
use crate::world::{config, functions, refused, region, server_of, soon, topology};

const LIMIT: Duration = Duration::from_secs(10);
const NAME: &str = "shop.internal";

/// An authority of a test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let (mut params, key) = (CertificateParams::new([]).unwrap(), KeyPair::generate().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns a certificate for this name that expires in this year, and its key.
    fn issue(&self, name: &str, expires: i32) -> (String, String) {
        let (mut params, key) = (CertificateParams::new([name.to_owned()]).unwrap(), KeyPair::generate().unwrap());
        params.not_after = date_time_ymd(expires, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The files of a node.
struct Files(TempDir);

impl Files {
    /// The files of a node with a good certificate of this authority, which trusts it too.
    fn of(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write_certificate(authority.issue(NAME, 2100));
        files.write("authority", &authority.pem);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn write_certificate(&self, (certificate, key): (String, String)) {
        self.write("certificate", &certificate);
        self.write("key", &key);
    }

    fn tls(&self) -> Tls {
        Tls::from_files(self.path("certificate"), self.path("key"), self.path("authority"), NAME).unwrap()
    }
}

/// A node without a secret.
fn node(name: &str) -> NodeConfig {
    NodeConfig::new(topology(name)).with_functions(Arc::new(functions(name)))
}

async fn serve(config: NodeConfig) -> ServerHandle {
    server_of(config).start().await.unwrap()
}

fn caller(config: NodeConfig, iad: &ServerHandle) -> Rpc {
    Rpc::new(config, Arc::new(StaticPeers::none().with_region(region("iad"), [iad.local_addr()])))
}

async fn add(rpc: &Rpc) -> homing_rpc::Result<i64> {
    soon("add", rpc.call_primary("add", (40, 2), LIMIT)).await.map(|called| called.value)
}

#[tokio::test]
async fn certificates_replace_the_secret() {
    let authority = Authority::new("one");
    let (iad, syd) = (Files::of(&authority), Files::of(&authority));
    let listen = "0.0.0.0:0".parse().unwrap();
    homing_rpc::Server::builder(node("iad").with_tls(iad.tls())).listen(listen).start().await.unwrap();
    let iad = serve(node("iad").with_tls(iad.tls())).await;
    assert_eq!(add(&caller(node("syd").with_tls(syd.tls()), &iad)).await.unwrap(), 42);
    assert!(refused(&iad).is_empty());
}

#[tokio::test]
async fn secret_is_demanded_beside_certificates() {
    let authority = Authority::new("one");
    let files = Files::of(&authority);
    let iad = serve(config("iad").with_tls(files.tls())).await;
    assert_eq!(add(&caller(config("syd").with_tls(files.tls()), &iad)).await.unwrap(), 42);
    let wrong = Secret::new("another-secret-that-is-long-enough-too").unwrap();
    for config in [node("syd"), node("syd").with_secret(wrong)] {
        let error = add(&caller(config.with_tls(files.tls()), &iad)).await.unwrap_err();
        assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains("HOMING_SECRET"), "{error}");
    }
    assert_eq!(refused(&iad), [(Refusal::NoHandshake, 1), (Refusal::UnknownSecret, 1)]);
}

#[tokio::test]
async fn wrong_certificate_is_named_on_both_nodes() {
    let (authority, other) = (Authority::new("one"), Authority::new("another"));
    let good = Files::of(&authority);
    let wrong = [
        (other.issue(NAME, 2100), "UnknownIssuer", "UnknownCA"),
        (authority.issue("shop.example", 2100), "not valid for name", "BadCertificate"),
        (authority.issue(NAME, 2020), "expired", "CertificateExpired"),
    ];
    for (certificate, cause, alert) in wrong {
        let bad = Files::of(&authority);
        bad.write_certificate(certificate);
        let ways = [(&good, &bad, alert), (&bad, &good, cause)];
        let secrets = [config as fn(&str) -> NodeConfig, node];
        for ((iad, syd, at_caller), config) in ways.into_iter().flat_map(|way| secrets.map(|secret| (way, secret))) {
            let lines = Lines::collect();
            let iad = serve(config("iad").with_tls(iad.tls())).await;
            let error = add(&caller(config("syd").with_tls(syd.tls()), &iad)).await.unwrap_err();
            assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
            assert!(error.to_string().contains(at_caller) && error.to_string().contains("HOMING_TLS_CERT"), "{error}");
            let at_server = if at_caller == alert { cause } else { alert };
            lines.wait_for(&["WARN", "refused a caller", "certificate", at_server, "HOMING_TLS_CERT"]).await;
            assert_eq!(refused(&iad), [(Refusal::Certificate, 1)]);
        }
    }
}

#[tokio::test]
async fn plain_node_is_told_to_use_tls() {
    let authority = Authority::new("one");
    let files = Files::of(&authority);
    let secure = serve(config("iad").with_tls(files.tls())).await;
    for (config, refusal) in [(config("syd"), Refusal::NoTls), (node("syd"), Refusal::NoHandshake)] {
        let error = add(&caller(config, &secure)).await.unwrap_err();
        assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains("HOMING_TLS_CERT"), "{error}");
        assert!(refused(&secure).contains(&(refusal, 1)), "{:?}", refused(&secure));
    }
    let plain = serve(config("iad")).await;
    let error = add(&caller(config("syd").with_tls(files.tls()), &plain)).await.unwrap_err();
    assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains("HOMING_TLS_CERT"), "{error}");
    assert_eq!(refused(&plain), [(Refusal::UnexpectedTls, 1)]);
}

#[tokio::test]
async fn half_a_client_hello_keeps_nobody_out() {
    let authority = Authority::new("one");
    let files = Files::of(&authority);
    let iad = serve(node("iad").with_tls(files.tls())).await;
    let mut strangers = Vec::new();
    for number in 0..300_u16 {
        let mut stranger = TcpStream::connect(iad.local_addr()).await.unwrap();
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        let _ = stranger.write_all(if number % 2 == 0 { &hello } else { &hello[..1] }).await;
        strangers.push(stranger);
    }
    assert_eq!(add(&caller(node("syd").with_tls(files.tls()), &iad)).await.unwrap(), 42);
    assert_eq!(refused(&iad).first().map(|(refusal, _)| *refusal), Some(Refusal::Crowded), "{:?}", refused(&iad));
}

#[tokio::test]
async fn renewed_certificates_need_no_restart() {
    let (old, new) = (Authority::new("one"), Authority::new("another"));
    let (first, second) = (Files::of(&old), Files::of(&old));
    let iad = serve(node("iad").with_tls(first.tls())).await;
    let syd = caller(node("syd").with_tls(second.tls()), &iad);
    assert_eq!(add(&syd).await.unwrap(), 42);
    let (stop, stopped) = watch::channel(false);
    let working = tokio::spawn({
        let syd = syd.clone();
        async move {
            let mut calls = 0;
            while !*stopped.borrow() {
                add(&syd).await.unwrap();
                calls += 1;
            }
            calls
        }
    });
    let both = format!("{}{}", old.pem, new.pem);
    for files in [&first, &second] {
        files.write("authority", &both);
    }

    // A node whose certificate is new already.
    let changed = Files::of(&new);
    changed.write("authority", &both);
    let connects = async |files: &Files| add(&caller(node("syd").with_tls(files.tls()), &iad)).await;
    wait_until("the server trusts the new authority", async || connects(&changed).await.is_ok()).await;
    assert_eq!(connects(&second).await.unwrap(), 42, "it trusts the old one still");

    // One file after the other. In between, they do not fit together.
    let lines = Lines::collect();
    let (certificate, key) = new.issue(NAME, 2100);
    first.write("certificate", &certificate);
    wait_until("the server has seen it", async || {
        connects(&second).await.unwrap();
        lines.count(&["WARN", "the certificates changed and cannot be used", "private key"]) == 1
    })
    .await;
    assert_eq!(connects(&second).await.unwrap(), 42, "the last version stays in use");
    first.write("key", &key);
    let only_new = Files::of(&new);
    wait_until("the server has the new certificate", async || connects(&only_new).await.is_ok()).await;

    first.write("authority", &new.pem);
    let only_old = Files::of(&old);
    only_old.write("authority", &both);
    wait_until("the server no longer trusts the old one", async || connects(&only_old).await.is_err()).await;
    stop.send_replace(true);
    assert!(working.await.unwrap() > 100, "the open connection goes on");
}

#[test]
fn unusable_files_are_misuse() {
    let authority = Authority::new("one");
    let good = Files::of(&authority);
    let read = |files: &Files, name| {
        let paths = ["certificate", "key", "authority"].map(|name| files.path(name));
        let [certificate, key, authority] = paths;
        Tls::from_files(certificate, key, authority, name)
    };
    assert!(read(&good, NAME).is_ok());
    let error = read(&good, "not a name").unwrap_err();
    assert!(error.is_misuse() && error.to_string().contains("not a name"), "{error}");
    for (file, text, cause) in [
        ("certificate", "", "no certificate"),
        ("certificate", "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n", "certificate"),
        ("key", "", "private key"),
        ("key", &authority.issue(NAME, 2100).1, "private key"),
        ("authority", "", "no certificate of the authority"),
    ] {
        let files = Files::of(&authority);
        files.write(file, text);
        let error = read(&files, NAME).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains(cause), "{error}");
        assert!(error.to_string().contains(files.path(file).to_str().unwrap()), "{error}");
        assert!(
            !format!("{error:?}").contains("PRIVATE KEY") && !format!("{error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}
