//! How do I test an application in several regions?
//!
//! Start a world with `homing-testbed`: a real primary, replicas that a test can pause, and links that it can cut.
//! Start a node in each region with the settings of the world, and call the function to test.
//!
//! ```sh
//! cargo test -p answers --test testing
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use homing::{Config, Node, OnLag, Repo};
use homing_testbed::World;

/// The function of the application that is tested.
async fn sign(repo: &Repo, name: &str) -> homing::Result<i64> {
    repo.execute("insert into guests (name) values ($1)", &[&name]).await?;
    Ok(repo.query_one("select count(*) from guests", &[]).await?.get(0))
}

async fn node(world: &World, region: &str) -> Node {
    let settings = world.environment(region);
    let config = Config::from_lookup(&|name| settings.get(name).cloned()).unwrap();
    Node::with_config(config).start().await.unwrap()
}

#[tokio::test]
async fn guests_sign_in_sydney() {
    let world = World::builder()
        .primary("iad")
        .region("syd", Duration::from_millis(20))
        .schema("create table guests (name text not null)")
        .start()
        .await
        .unwrap();
    let (iad, syd) = (node(&world, "iad").await, node(&world, "syd").await);

    assert_eq!(sign(&syd.repo(), "Ada").await.unwrap(), 1);
    assert_eq!(sign(&iad.repo(), "Bob").await.unwrap(), 2);

    // A replica that does not replay: the write is committed, and the error says so.
    world.replica("syd").pause_replay().await.unwrap();
    let impatient = syd.repo().with_replay_timeout(Duration::from_millis(50)).with_on_lag(OnLag::Fail);
    assert!(sign(&impatient, "Eve").await.unwrap_err().is_committed());
    // By default the primary answers such a read.
    assert_eq!(sign(&syd.repo().with_replay_timeout(Duration::from_millis(50)), "Kay").await.unwrap(), 4);
    world.shutdown().await;
}
