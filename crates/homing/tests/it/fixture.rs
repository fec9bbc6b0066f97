//! A primary region and a replica region, each with a node of this process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing::discover::StaticPeers;
use homing::position::PositionKind;
use homing::report::Report;
use homing::{Config, Context, Entity, Error, Insert, Node, Region, Repo, Secret, Topology};
use homing_testbed::{Postgres, wait_until};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

pub(crate) const SECRET: &str = "a-secret-of-the-tests-long-enough";

/// Two servers that many tests share, each with a database of its own. For tests that neither pause replay nor stop a
/// server.
static SHARED: OnceCell<Servers> = OnceCell::const_new();

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A primary and its replica.
pub(crate) struct Servers {
    pub(crate) primary: Postgres,
    pub(crate) replica: Postgres,
}

/// A database on both servers, and a node in each region.
pub(crate) struct World {
    pub(crate) iad: Node,
    pub(crate) syd: Node,
    pub(crate) database: String,
    pub(crate) primary: Client,
    pub(crate) replica: Client,
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "users")]
pub(crate) struct User {
    #[entity(key)]
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) age: Option<i32>,
}

#[derive(Debug, Insert)]
#[insert(into = User)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) age: Option<i32>,
}

impl NewUser {
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.into(), age: Some(36) }
    }
}

/// Stores a user for each name.
#[homing::remote]
pub(crate) async fn import(context: Context, names: Vec<String>) -> homing::Result<u64> {
    let users: Vec<_> = names.iter().map(|name| NewUser::named(name)).collect();
    Ok(context.repo().insert_all(&users).await?.len() as u64)
}

/// Stores one user and then fails.
#[homing::remote]
pub(crate) async fn half(context: Context, name: String, fail: String) -> homing::Result<()> {
    context.repo().insert(&NewUser::named(&name)).await?;
    Err(Error::failed(fail))
}

/// Fails as PostgreSQL does.
#[homing::remote]
pub(crate) async fn duplicate(context: Context, name: String) -> homing::Result<()> {
    context.repo().insert(&NewUser::named(&name)).await?;
    context.repo().insert(&NewUser::named(&name)).await?;
    Ok(())
}

impl Servers {
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(&[])).await
    }

    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let options = |name: &str| {
            let options = Postgres::options().with_name(name).with_max_connections(300);
            settings.iter().fold(options, |options, (name, value)| options.with_setting(*name, *value))
        };
        let primary = options("iad").start().await.unwrap();
        let replica = options("syd").start_replica_of(&primary).await.unwrap();
        Self { primary, replica }
    }

    /// A new database with the table `users`, and a node in each region.
    pub(crate) async fn world(&self) -> World {
        let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.primary.create_database(&database).await.unwrap();
        let primary = self.primary.connect_to(&database).await.unwrap();
        primary
            .batch_execute(
                "create table users (id bigserial primary key, name text not null unique, age int check (age >= 0))",
            )
            .await
            .unwrap();
        self.replica.caught_up_with(&self.primary).await.unwrap();
        let replica = self.replica.connect_to(&database).await.unwrap();
        let iad = self.primary_node(&database).await;
        let syd = self.replica_node(&database, in_iad(iad.local_addr())).await;
        World { iad, syd, database, primary, replica }
    }

    pub(crate) async fn primary_node(&self, database: &str) -> Node {
        start(self.primary_config(database)).await.unwrap()
    }

    pub(crate) async fn replica_node(&self, database: &str, peers: StaticPeers) -> Node {
        start(self.replica_config(database, peers)).await.unwrap()
    }

    /// A node in `iad` whose own server is a replica: as after a failover to `ams` that the other nodes do not know of.
    pub(crate) async fn demoted_node(&self, database: &str) -> Node {
        let mut config = config("iad");
        config.topology = Topology::new(region("iad"), region("ams"));
        config.replica_url = Some(self.replica.database_url(database));
        config.listen = Some(([127, 0, 0, 1], 0).into());
        start(config).await.unwrap()
    }

    pub(crate) fn primary_config(&self, database: &str) -> Config {
        let mut config = config("iad");
        config.database_url = Some(self.primary.database_url(database));
        config.listen = Some(([127, 0, 0, 1], 0).into());
        config
    }

    pub(crate) fn replica_config(&self, database: &str, peers: StaticPeers) -> Config {
        let mut config = config("syd");
        config.replica_url = Some(self.replica.database_url(database));
        config.discover = Arc::new(peers);
        config
    }
}

impl World {
    pub(crate) async fn shared() -> Self {
        Servers::shared().await.world().await
    }

    /// Both nodes, with the names of their regions.
    pub(crate) fn both(&self) -> [(&'static str, &Node); 2] {
        [("iad", &self.iad), ("syd", &self.syd)]
    }

    /// The node in `iad`, as the one peer of other nodes.
    pub(crate) fn peers(&self) -> StaticPeers {
        in_iad(self.iad.local_addr())
    }

    /// A node in `syd` that has no replica.
    pub(crate) async fn node_without_replica(&self, peers: StaticPeers) -> Node {
        let mut config = Servers::shared().await.replica_config(&self.database, peers);
        config.replica_url = None;
        start(config).await.unwrap()
    }

    /// How many users a new connection to the replica sees.
    pub(crate) async fn users_on_replica(&self) -> i64 {
        self.replica.query_one("select count(*) from users", &[]).await.unwrap().get(0)
    }

    pub(crate) async fn users_on_primary(&self) -> i64 {
        self.primary.query_one("select count(*) from users", &[]).await.unwrap().get(0)
    }
}

pub(crate) fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

/// Peers in `iad` with these addresses.
pub(crate) fn in_iad(addresses: impl IntoIterator<Item = SocketAddr>) -> StaticPeers {
    StaticPeers::none().with_region(region("iad"), addresses)
}

/// A node of that region, with the primary in `iad`; no database yet.
pub(crate) fn config(name: &str) -> Config {
    let mut config = Config::new(Topology::new(region(name), region("iad")));
    config.secret = Some(Secret::new(SECRET).unwrap());
    config.pool_size = 4;
    config.replica_settings.positions = positions();
    config
}

/// The kind of positions that the tests are to use: `HOMING_TEST_POSITIONS=transaction cargo test …` runs them with positions
/// by transaction.
pub(crate) fn positions() -> Option<PositionKind> {
    match std::env::var("HOMING_TEST_POSITIONS").ok()?.as_str() {
        "lsn" => Some(PositionKind::Lsn),
        "transaction" => Some(PositionKind::Transaction),
        other => panic!("HOMING_TEST_POSITIONS is {other:?}: write lsn or transaction"),
    }
}

/// Whether positions are places in the log, which some tests are about.
pub(crate) fn are_places() -> bool {
    positions() != Some(PositionKind::Transaction)
}

pub(crate) async fn start(config: Config) -> homing::Result<Node> {
    Node::with_config(config).register(import).register(half).register(duplicate).start().await
}

pub(crate) async fn count_users(repo: &Repo) -> i64 {
    repo.count::<User>("", &[]).await.unwrap()
}

/// Waits until the query, which selects a boolean, selects true.
pub(crate) async fn wait_until_true(client: &Client, query: &str) {
    wait_until(query, async || client.query_one(query, &[]).await.unwrap().get(0)).await;
}

/// Waits until `count` statements like the pattern run on the server, in the database of the client.
pub(crate) async fn wait_until_running(client: &Client, pattern: &str, count: i64) {
    let sql = "select count(*) from pg_stat_activity
               where state = 'active' and query like $1 and datname = current_database() and pid <> pg_backend_pid()";
    let what = format!("{count} statements like {pattern} run");
    wait_until(&what, async || client.query_one(sql, &[&pattern]).await.unwrap().get::<_, i64>(0) == count).await;
}

/// The handle, and the reports of its calls.
pub(crate) fn recorded(repo: &Repo) -> (Repo, Reports) {
    let reports = Reports::default();
    let sink = reports.clone();
    let repo = repo.with_observer(move |report| sink.0.lock().unwrap().push(report.clone()));
    (repo, reports)
}

#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Report>>>);

impl Reports {
    pub(crate) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn last(&self) -> Report {
        self.0.lock().unwrap().last().cloned().unwrap()
    }

    /// The last call that did not fail.
    pub(crate) fn last_success(&self) -> Report {
        self.0.lock().unwrap().iter().rfind(|report| report.fate.is_none()).cloned().unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Far longer than anything that a test waits for: if it runs out, something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
