//! Connection strings in files that change: a rotated password, another host, a broken file.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use homing_postgres::{Config, Database, Error, Options, ReplicaList, ReplicaSettings, Replicas, Repo, Result, Role};
use homing_testbed::{Fsync, Postgres, PostgresOptions, Scratch, wait_until};
use tokio::task::JoinSet;

use crate::tls::server::lonely;

/// A file in a folder as Kubernetes mounts a secret: a change replaces a symbolic link to a folder.
struct Mount {
    folder: Scratch,
    versions: AtomicUsize,
}

impl Mount {
    fn new(text: &str) -> Self {
        let mount = Self { folder: Scratch::new().unwrap(), versions: AtomicUsize::new(0) };
        mount.write(text);
        symlink("..data/url", mount.path()).unwrap();
        mount
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("url")
    }

    fn write(&self, text: &str) {
        let version = format!("..{}", self.versions.fetch_add(1, Ordering::AcqRel));
        let at = |name: &str| self.folder.path().join(name);
        std::fs::create_dir(at(&version)).unwrap();
        std::fs::write(at(&version).join("url"), text).unwrap();
        symlink(&version, at("..next")).unwrap();
        std::fs::rename(at("..next"), at("..data")).unwrap();
    }
}

/// Servers on which the role `app` needs a password.
fn options() -> PostgresOptions {
    Postgres::options().with_fsync(Fsync::Off).with_access("host all app 127.0.0.1/32 scram-sha-256\n")
}

async fn start() -> Postgres {
    let server = options().start().await.unwrap();
    let client = server.connect().await.unwrap();
    client
        .batch_execute("create role app login password 'one'; create table notes (n int); grant all on notes to app")
        .await
        .unwrap();
    server
}

fn url(server: &Postgres, password: &str) -> String {
    format!("postgres://app:{password}@{}/postgres\n", server.address())
}

async fn set_password(server: &Postgres, password: &str) {
    let client = server.connect().await.unwrap();
    client.batch_execute(&format!("alter role app password '{password}'")).await.unwrap();
}

/// Closes the connections of `app`, and returns how many there were.
async fn cut(server: &Postgres) -> usize {
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
    server.connect().await.unwrap().query(sql, &[]).await.unwrap().len()
}

async fn repo(mount: &Mount) -> Result<Repo> {
    let config = Config::from_file(mount.path(), Role::Primary).with_pool_size(8);
    let settings = ReplicaSettings::default().with_resolve_interval(Duration::from_secs(1));
    let replicas = Replicas::start(Some(config), &ReplicaList::none(), settings).await?;
    Ok(Repo::new(lonely(), replicas, Options::default()))
}

fn is_refused(error: &Error) -> bool {
    format!("{error:#?}").contains("password authentication failed")
}

#[tokio::test]
async fn rotation_under_load_fails_no_call() {
    let server = start().await;
    let mount = Mount::new(&url(&server, "one"));
    let repo = repo(&mount).await.unwrap();
    let (stop, calls, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::default());
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (repo, stop, calls, failed) =
            (repo.session(), Arc::clone(&stop), Arc::clone(&calls), Arc::<AtomicUsize>::clone(&failed));
        load.spawn(async move {
            while !stop.load(Ordering::Acquire) {
                let call = async {
                    repo.execute("insert into notes values (1)", &[]).await?;
                    repo.query("select 1", &[]).await
                };
                if let Err(error) = call.await {
                    assert!(!is_refused(&error), "{error:#?}");
                    failed.fetch_add(1, Ordering::AcqRel);
                }
                calls.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
    let go_on = async || {
        let before = calls.load(Ordering::Acquire);
        wait_until("calls go on", async || calls.load(Ordering::Acquire) > before + 32).await;
    };
    let mut closed = 0;
    for password in ["two", "three"] {
        go_on().await;
        set_password(&server, password).await;
        mount.write(&url(&server, password));
        go_on().await;
        closed += cut(&server).await;
    }
    go_on().await;
    stop.store(true, Ordering::Release);
    tokio::time::timeout(Duration::from_secs(30), load.join_all()).await.unwrap();
    let failed = failed.load(Ordering::Acquire);
    assert!(closed > 0 && failed <= closed, "{failed} calls failed, and {closed} connections were closed");
    let position = repo.primary_position().await.unwrap();
    assert!(position.to_string().contains('/'), "{position}");
}

#[tokio::test]
async fn late_file_is_noticed() {
    let server = start().await;
    let mount = Mount::new(&url(&server, "one"));
    let database = Database::connect(Config::from_file(mount.path(), Role::Primary)).await.unwrap();
    let repos = [repo(&mount).await.unwrap(), Repo::new(lonely(), database, Options::default())];
    set_password(&server, "two").await;
    cut(&server).await;
    for repo in &repos {
        wait_until("the former password is refused", async || {
            repo.query("select 1", &[]).await.is_err_and(|error| is_refused(&error) && error.is_not_sent())
        })
        .await;
    }
    mount.write(&url(&server, "two"));
    for repo in &repos {
        repo.query("select 1", &[]).await.unwrap();
        repo.execute("insert into notes values (1)", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn broken_file_changes_nothing() {
    let server = start().await;
    let mount = Mount::new(&url(&server, "one"));
    let repo = repo(&mount).await.unwrap();
    for broken in ["", "nonsense", "postgres://app:geheim@h/d?sslmode=x"] {
        mount.write(broken);
        cut(&server).await;
        wait_until("the last connection string is used", async || repo.query("select 1", &[]).await.is_ok()).await;
    }
    for broken in ["", "nonsense", "postgres://app:geheim@h/d?sslmode=x"] {
        let error = self::repo(&Mount::new(broken)).await.unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("DATABASE_URL_FILE"), "{error}");
        assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
    }
}

#[tokio::test]
async fn primary_moves_to_another_host() {
    let server = start().await;
    let next = options().with_name("next").start_replica_of(&server).await.unwrap();
    let mount = Mount::new(&url(&server, "one"));
    let repo = repo(&mount).await.unwrap();
    repo.execute("insert into notes values (1)", &[]).await.unwrap();
    next.caught_up_with(&server).await.unwrap();
    server.kill().await.unwrap();
    next.promote().await.unwrap();
    set_password(&next, "two").await;
    mount.write(&url(&next, "two"));
    let repo = repo.session();
    wait_until("writes go to the other host", async || repo.execute("insert into notes values (2)", &[]).await.is_ok())
        .await;
    let count: i64 = repo.query_one("select count(*) from notes", &[]).await.unwrap().try_get(0).unwrap();
    assert!(count >= 2, "{count}");
}

#[tokio::test]
async fn list_in_a_file_is_followed() {
    let server = start().await;
    let replica = |name: &'static str| options().with_name(name).start_replica_of(&server);
    let [one, two] = [replica("one").await.unwrap(), replica("two").await.unwrap()];
    for replica in [&one, &two] {
        replica.caught_up_with(&server).await.unwrap();
    }
    let entry = |name: &str, replica: &Postgres, password: &str| format!("{name}={}", url(replica, password).trim());
    let mount = Mount::new(&entry("syd", &one, "one"));
    let list = ReplicaList::from_file(mount.path(), "HOMING_REPLICA_URL_FILE").unwrap();
    let settings = ReplicaSettings::default().with_resolve_interval(Duration::from_secs(1));
    let replicas = Replicas::start(None, &list, settings).await.unwrap();
    let repo = Repo::new(lonely(), replicas, Options::default());
    // In a session of its own, since what it read is nowhere else once its server is out of the list.
    let read = async |name: &str| repo.session().replica(name)?.query("select 1", &[]).await;
    read("syd").await.unwrap();

    // Another password: the replica keeps its place and its open connections.
    set_password(&server, "two").await;
    for replica in [&one, &two] {
        replica.caught_up_with(&server).await.unwrap();
    }
    cut(&one).await;
    wait_until("no connection can be opened", async || read("syd").await.is_err()).await;
    mount.write(&entry("syd", &one, "two"));
    wait_until("the replica answers again", async || read("syd").await.is_ok()).await;

    // One more entry, another host, and one less.
    let address = |name: &str| {
        let status = repo.replicas().status();
        status.iter().find(|status| &*status.name == name).map(|status| status.address.clone())
    };
    let [at_one, at_two] = [&one, &two].map(|replica| replica.address().to_string());
    mount.write(&format!("{},{}", entry("syd", &one, "two"), entry("mel", &two, "two")));
    wait_until("the second replica answers", async || read("mel").await.is_ok()).await;
    assert_eq!((address("syd"), address("mel")), (Some(at_one), Some(at_two.clone())));
    mount.write(&entry("syd", &two, "two"));
    wait_until("the first one is elsewhere", async || address("syd").as_ref() == Some(&at_two)).await;
    assert_eq!(address("mel"), None);
    wait_until("it answers there", async || read("syd").await.is_ok()).await;
}
