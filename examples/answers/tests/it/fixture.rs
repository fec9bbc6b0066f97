//! Two regions with a node of this process in each: `iad` with the primary, `syd` with a replica.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homing::{Config, Node, Repo, Secret};
use homing_testbed::{Fsync, Postgres, World};
use tokio::sync::OnceCell;

use crate::examples::static_peers::{sydney, virginia};

/// The world of all tests that neither pause replay nor cut a link. Each has a database of its own.
static SHARED: OnceCell<Arc<World>> = OnceCell::const_new();

static STAGES: AtomicUsize = AtomicUsize::new(0);

/// A database, and a node in each region.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) database: String,
    pub(crate) iad: Node,
    pub(crate) syd: Node,
}

impl Stage {
    /// Returns a new database in the shared world, after it ran `schema`.
    pub(crate) async fn shared(schema: &str) -> Self {
        Self::new(Arc::clone(SHARED.get_or_init(start).await), schema).await
    }

    /// Returns a database in a world of its own, for a test that pauses replay or cuts a link.
    pub(crate) async fn alone(schema: &str) -> Self {
        Self::new(start().await, schema).await
    }

    async fn new(world: Arc<World>, schema: &str) -> Self {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let database = format!("stage_{number}");
        world.primary().create_database(&database).await.unwrap();
        world.primary().connect_to(&database).await.unwrap().batch_execute(schema).await.unwrap();
        world.replica("syd").caught_up_with(world.primary()).await.unwrap();
        let iad = start_node(primary_config(&world, &database, number)).await;
        let peers = &world.peer_addresses("syd", "iad")[number..=number];
        let replica_url = world.replica("syd").database_url(&database);
        let syd = start_node(sydney(secret(&world), Some(replica_url), peers).unwrap()).await;
        Self { world, database, iad, syd }
    }

    /// Returns a handle in each region.
    pub(crate) fn repos(&self) -> [Repo; 2] {
        [self.iad.repo(), self.syd.repo()]
    }

    pub(crate) fn secret(&self) -> Secret {
        secret(&self.world)
    }

    pub(crate) fn replica(&self) -> &Postgres {
        self.world.replica("syd")
    }
}

async fn start() -> Arc<World> {
    let postgres = Postgres::options().with_fsync(Fsync::Off).with_max_connections(300);
    let world = World::builder().primary("iad").region("syd", ROUND_TRIP).nodes("iad", MAX_STAGES).postgres(postgres);
    Arc::new(world.start().await.unwrap())
}

/// The settings of the node in `iad` that the relays of this number lead to.
fn primary_config(world: &World, database: &str, number: usize) -> Config {
    let listen: SocketAddr = world.node_address("iad", number);
    virginia(secret(world), world.primary().database_url(database), listen).unwrap()
}

pub(crate) async fn start_node(config: Config) -> Node {
    Node::with_config(config).start().await.unwrap()
}

fn secret(world: &World) -> Secret {
    Secret::new(world.secret()).unwrap()
}

/// Long enough to show a forgotten wait, short enough for a test.
const ROUND_TRIP: Duration = Duration::from_millis(4);

/// One for each test of this program.
const MAX_STAGES: usize = 16;
