//! The tour gives the same result in three regions, and on a node that is its own primary.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use homing::{Config, DatabaseConfig, Node};
use homing_testbed::World;

/// Long enough to show a forgotten wait, short enough for a test.
const ROUND_TRIP: Duration = Duration::from_millis(4);

fn with_analytics(mut config: Config, own: &str) -> Config {
    let url = format!("{}/analytics", own.trim_end_matches('/').rsplit_once('/').unwrap().0);
    let database = if config.topology.is_primary_region() {
        DatabaseConfig::new().with_database_url(url)
    } else {
        DatabaseConfig::new().with_replica_url(url)
    };
    config.databases.push(("analytics".into(), database));
    config
}

async fn node(config: Config) -> Node {
    tour::register(Node::with_config(config)).start().await.unwrap()
}

#[tokio::test]
async fn the_tour_is_the_same_in_every_region() {
    let world = World::builder().app("tour").primary("iad").nodes("iad", 1);
    let world = world.region("ams", ROUND_TRIP).region("syd", ROUND_TRIP * 2).start().await.unwrap();
    world.primary().create_database("analytics").await.unwrap();

    let mut nodes = Vec::new();
    for region in ["iad", "ams", "syd"] {
        let environment = world.node_environment(region, 0);
        let config = Config::from_lookup(&|name| environment.get(name).cloned()).unwrap();
        let url = config.database_url.clone().or(config.replica_url.clone()).unwrap();
        nodes.push((region, node(with_analytics(config, &url)).await));
    }
    tour::migrate(&nodes[0].1.repo()).await.unwrap();
    for region in ["ams", "syd"] {
        world.replica(region).caught_up_with(world.primary()).await.unwrap();
    }

    let at_home = tour::tour(&nodes[0].1.repo()).await.unwrap();
    assert!(at_home.len() > 40, "{at_home:#?}");
    for (region, node) in &nodes[1..] {
        assert_eq!(tour::tour(&node.repo()).await.unwrap(), at_home, "{region}");
    }
    let alone = Config::local(world.primary().database_url("postgres"));
    let alone = node(with_analytics(alone, &world.primary().database_url("postgres"))).await;
    assert_eq!(tour::tour(&alone.repo()).await.unwrap(), at_home, "a node by itself");
    world.shutdown().await;
}
