//! A primary that is served to peers, and two replicas of it.

use std::sync::Arc;
use std::time::Duration;

use homing_postgres::{
    Config, Database, Databases, Options, PositionKind, Replica, ReplicaList, ReplicaSettings, Replicas, Repo, Role,
};
use homing_rpc::{DEFAULT_MAX_MESSAGE_BYTES, NodeConfig, Region, Rpc, Server, ServerHandle, StaticPeers, Topology};
use homing_testbed::Postgres;

/// A primary that is served to peers, and two replicas of it.
pub(crate) struct Servers {
    pub(crate) primary: Postgres,
    pub(crate) replicas: [Postgres; 2],
    pub(crate) rpc: Rpc,
    _server: ServerHandle,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        Self::start_by(positions()).await
    }

    /// Starts servers with a primary that tells positions in this way.
    pub(crate) async fn start_by(positions: Option<PositionKind>) -> Self {
        let primary = Postgres::options().with_name("iad").start().await.unwrap();
        primary.connect().await.unwrap().batch_execute("create table notes (text text)").await.unwrap();
        let replica = |name: &'static str| Postgres::options().with_name(name).start_replica_of(&primary);
        let replicas = [replica("syd").await.unwrap(), replica("mel").await.unwrap()];
        for replica in &replicas {
            replica.caught_up_with(&primary).await.unwrap();
        }
        let region = |name| Region::new(name).unwrap();
        let database =
            Database::connect(Config::new(primary.url(), Role::Primary).with_positions(positions)).await.unwrap();
        let databases = Databases::new().with("", database).unwrap();
        let node = |name| NodeConfig::new(Topology::new(region(name), region("iad")));
        let server = Server::builder(node("iad"))
            .listen(([127, 0, 0, 1], 0).into())
            .service(databases.service(DEFAULT_MAX_MESSAGE_BYTES));
        let server = server.start().await.unwrap();
        let peers = StaticPeers::none().with_region(region("iad"), [server.local_addr()]);
        let rpc = Rpc::new(node("syd"), Arc::new(peers));
        Self { primary, replicas, rpc, _server: server }
    }

    /// A handle for each replica; both share a session.
    pub(crate) async fn handles(&self) -> [Repo; 2] {
        self.handles_as("postgres").await
    }

    pub(crate) async fn handles_as(&self, role: &str) -> [Repo; 2] {
        let repo = self.repo_as(role).await;
        [repo.replica("syd").unwrap(), repo.replica("mel").unwrap()]
    }

    /// A handle for both replicas.
    pub(crate) async fn repo_as(&self, role: &str) -> Repo {
        let url = |server: &Postgres| server.url().replace("://postgres@", &format!("://{role}@"));
        let named = |server: &Postgres, name| Replica::new(url(server)).unwrap().with_name(name);
        let [syd, mel] = &self.replicas;
        let list = ReplicaList::new([named(syd, "syd"), named(mel, "mel")]).unwrap();
        let settings = ReplicaSettings::default().with_positions(positions());
        let replicas = Replicas::start(None, &list, settings).await.unwrap();
        Repo::new(self.rpc.clone(), replicas, options())
    }
}

pub(crate) fn options() -> Options {
    Options::default().with_replay_timeout(Duration::from_millis(200))
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
