//! How do I configure nodes in code, with peers at fixed addresses?
//!
//! Begin with `Config::new` and set its fields; `StaticPeers` lists the nodes of each region. `main` runs two nodes in
//! one process: the one in Sydney has no database and forwards everything to the one in Virginia.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example static_peers
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use homing::discover::StaticPeers;
use homing::{Config, Node, Region, Result, Secret, Topology};

/// The settings of a node in Virginia, next to the primary.
pub fn virginia(secret: Secret, database_url: String, listen: SocketAddr) -> Result<Config> {
    let iad = Region::new("iad")?;
    let mut config = Config::new(Topology::new(iad.clone(), iad));
    config.secret = Some(secret);
    config.database_url = Some(database_url);
    config.listen = Some(listen);
    Ok(config)
}

/// The settings of a node in Sydney, which knows the nodes in Virginia.
pub fn sydney(secret: Secret, replica_url: Option<String>, virginia: &[SocketAddr]) -> Result<Config> {
    let (iad, syd) = (Region::new("iad")?, Region::new("syd")?);
    let mut config = Config::new(Topology::new(syd, iad.clone()));
    config.secret = Some(secret);
    config.replica_url = replica_url;
    config.discover = Arc::new(StaticPeers::none().with_region(iad, virginia.iter().copied()));
    Ok(config)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // All nodes have the same secret. A real one comes from the environment or a file.
    let secret = Secret::new("anything-of-32-visible-characters")?;
    let listen = (Ipv4Addr::LOCALHOST, 0).into(); // any free port
    let far = Node::with_config(virginia(secret.clone(), std::env::var("DATABASE_URL")?, listen)?).start().await?;
    let near = Node::with_config(sydney(secret, None, far.local_addr().as_slice())?).start().await?;

    let repo = near.repo().with_observer(|report| println!("answered by {:?}", report.answered_by));
    repo.execute("create table if not exists notes (text text not null)", &[]).await?;
    near.shutdown().await;
    far.shutdown().await;
    Ok(())
}
