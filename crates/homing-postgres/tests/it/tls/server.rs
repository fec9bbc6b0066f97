//! A server with TLS and an authority of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use homing_postgres::{Config, Database, Options, Repo, Result, Role};
use homing_rpc::{NodeConfig, Region, Rpc, StaticPeers, Topology};
use homing_testbed::{Certificate, CertificateAuthority, Fsync, Postgres, PostgresOptions, Scratch, wait_until};
use tokio::sync::OnceCell;

/// A server with TLS and an authority of its own.
pub(crate) struct SecureServer {
    pub(crate) server: Postgres,
    pub(crate) authority: CertificateAuthority,
    /// The file of the authority's certificate.
    pub(crate) root: PathBuf,
    folder: Scratch,
}

impl SecureServer {
    /// Starts a server that has a certificate for `db.example` and 127.0.0.1.
    pub(crate) async fn start() -> Self {
        let authority = CertificateAuthority::new("authority").unwrap();
        let certificate = authority.issue(&["db.example", "127.0.0.1"]).unwrap();
        let options = options().with_certificate(&certificate).with_client_authority(&authority);
        let server = options.start().await.unwrap();
        create_roles(&server).await;
        let folder = Scratch::new().unwrap();
        let root = save(&folder, "root.crt", authority.pem());
        Self { server, authority, root, folder }
    }

    /// One server for all tests that leave it as it was.
    pub(crate) async fn shared() -> &'static Self {
        static SERVER: OnceCell<SecureServer> = OnceCell::const_new();
        SERVER.get_or_init(Self::start).await
    }

    /// Starts a server without TLS and with the same roles.
    pub(crate) async fn without_tls() -> Postgres {
        let server = options().with_setting("ssl", "off").start().await.unwrap();
        create_roles(&server).await;
        server
    }

    /// Returns a connection string for the host `db.example`. The file of the authority stands for `{root}`.
    pub(crate) fn url(&self, user: &str, parameters: &str) -> String {
        let parameters = parameters.replace("{root}", &self.root.display().to_string());
        url(&self.server, user, &format!("host=db.example&{parameters}"))
    }

    /// Writes a file that goes away with the server.
    pub(crate) fn save(&self, name: &str, text: &str) -> PathBuf {
        save(&self.folder, name, text)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Drops a call whose statement sleeps for so many seconds, and waits until the statement has ended.
    pub(crate) async fn drop_a_call(&self, repo: Repo, seconds: u32) {
        let client = self.server.connect().await.unwrap();
        let running = format!(
            "select count(*) from pg_stat_activity where query = 'select pg_sleep({seconds})' and state = 'active'"
        );
        let is_running = async || client.query_one(&running, &[]).await.unwrap().get::<_, i64>(0) == 1;
        let call = tokio::spawn(async move { repo.query(&format!("select pg_sleep({seconds})"), &[]).await.map(drop) });
        wait_until("the statement runs", &is_running).await;
        call.abort();
        wait_until("the statement has ended", async || !is_running().await).await;
    }

    pub(crate) async fn renew(&self, certificate: &Certificate) {
        self.server.renew_certificate(certificate).await.unwrap();
    }
}

/// Returns a connection string with the address in `hostaddr`.
pub(crate) fn url(server: &Postgres, user: &str, parameters: &str) -> String {
    let address = server.address();
    format!("postgres:///postgres?user={user}&hostaddr={}&port={}&{parameters}", address.ip(), address.port())
}

/// Connects to the primary of a connection string.
pub(crate) async fn connect(url: &str) -> Result<Repo> {
    let database = Database::connect(Config::new(url, Role::Primary)).await?;
    Ok(Repo::new(lonely(), database, Options::default()))
}

/// Returns whether the connections of a connection string are encrypted, or why there are none.
pub(crate) async fn is_encrypted(url: &str) -> Result<bool> {
    let repo = connect(url).await?;
    repo.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await?.try_get(0)
}

/// Returns why there is no connection.
pub(crate) async fn refusal(url: &str) -> String {
    let error = is_encrypted(url).await.unwrap_err();
    assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
    error.to_string()
}

/// Runs a test again in a process of its own, with other variables in its environment.
pub(crate) async fn run_apart(test: &str, variables: &[(&str, &str)]) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", test]).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || process.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Returns a node without peers.
pub(crate) fn lonely() -> Rpc {
    let region = Region::new("iad").unwrap();
    Rpc::new(NodeConfig::new(Topology::new(region.clone(), region)), Arc::new(StaticPeers::none()))
}

fn options() -> PostgresOptions {
    Postgres::options().with_fsync(Fsync::Off).with_access(RULES)
}

async fn create_roles(server: &Postgres) {
    let client = server.connect().await.unwrap();
    let roles = "create role either login; create role encrypted login; create role plain login; \
                 create role certified login; create role scram login password 'geheim'";
    client.batch_execute(roles).await.unwrap();
}

fn save(folder: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Each role is named after what the server demands of it.
const RULES: &str = "
host      all either    127.0.0.1/32 trust
hostssl   all encrypted 127.0.0.1/32 trust
hostnossl all plain     127.0.0.1/32 trust
hostssl   all certified 127.0.0.1/32 cert
host      all scram     127.0.0.1/32 scram-sha-256";
