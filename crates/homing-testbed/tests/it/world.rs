//! Whole worlds.

use std::time::Duration;

use homing_testbed::{Cut, NodeCommand, Postgres, Traffic, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_postgres::NoTls;

use crate::within;

#[tokio::test]
async fn world_replicates_through_its_links() {
    let world = World::builder()
        .region("syd", Duration::from_millis(20))
        .postgres(Postgres::options().with_setting("work_mem", "2MB"))
        .schema("create table t (id int8)")
        .start()
        .await
        .unwrap();
    let (primary, replica) = (world.primary(), world.replica("syd"));
    assert_eq!((primary.name(), replica.name()), ("iad", "syd"));
    let writer = connect(&world.direct_url("syd")).await;
    let sent = Instant::now();
    writer.batch_execute("insert into t values (1)").await.unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(20));
    replica.caught_up_with(primary).await.unwrap();

    // The stream stands still, the direct connection goes on.
    let link = world.link("syd");
    let received = replica.connect().await.unwrap();
    link.only(Traffic::Replication).cut(Cut::Blackhole).await;
    writer.batch_execute("insert into t values (2)").await.unwrap();
    // Had it been let through, it would have been replayed before this gives up.
    let caught_up = tokio::time::timeout(Duration::from_millis(300), replica.caught_up_with(primary));
    assert!(caught_up.await.is_err());
    link.heal().await.unwrap();
    replica.caught_up_with(primary).await.unwrap();

    world.isolate("syd", Cut::Reset).await;
    writer.batch_execute("select").await.unwrap_err();
    assert!(tokio_postgres::connect(&world.direct_url("syd"), NoTls).await.is_err());
    world.rejoin("syd").await.unwrap();
    connect(&world.direct_url("syd")).await.batch_execute("insert into t values (3)").await.unwrap();
    replica.caught_up_with(primary).await.unwrap();
    let count = "select count(*) from t";
    assert_eq!(received.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 3);
    world.shutdown().await;
}

#[tokio::test]
async fn foreign_nodes_are_behind_links() {
    let world = World::builder()
        .app("shop")
        .primary("iad")
        .nodes("iad", 2)
        .region("ams", Duration::from_millis(10))
        .region("syd", Duration::from_millis(30))
        .start()
        .await
        .unwrap();
    assert_eq!(world.regions().collect::<Vec<_>>(), ["iad", "ams", "syd"]);
    assert_eq!(world.link("syd").round_trip(), Duration::from_millis(30));
    assert_eq!(world.link_between("syd", "ams").round_trip(), Duration::from_millis(40));

    // As in a test of an application: a node in this process, on the port that is reserved for it.
    let environment = world.node_environment("iad", 1);
    let listener = TcpListener::bind(&environment["HOMING_LISTEN"]).await.unwrap();
    assert_eq!(listener.local_addr().unwrap(), world.node_address("iad", 1));
    assert_eq!(world.peer_addresses("iad", "iad")[1], world.node_address("iad", 1));
    let begun = Instant::now();
    let mut far = TcpStream::connect(world.peer_addresses("syd", "iad")[1]).await.unwrap();
    far.write_all(b"x").await.unwrap();
    let mut near = within(listener.accept()).await.unwrap().0;
    assert_eq!(within(near.read_u8()).await.unwrap(), b'x');
    assert!(begun.elapsed() >= Duration::from_millis(45));

    world.link_between("syd", "iad").cut(Cut::Reset).await;
    within(far.read_u8()).await.unwrap_err();
    TcpStream::connect(world.peer_addresses("syd", "iad")[1]).await.unwrap_err();
    TcpStream::connect(world.peer_addresses("ams", "iad")[1]).await.unwrap();
}

#[tokio::test]
async fn nodes_get_their_environment() {
    let script = "printenv | sort >&2; echo \"ready $HOMING_LISTEN $EXTRA\"; sleep 60";
    let command = NodeCommand::new("/bin/sh").arg("-c").arg(script);
    let world = World::builder()
        .nodes("iad", 2)
        .region("syd", Duration::ZERO)
        .node_command(command.env("EXTRA", "more").env("HOMING_APP", "other"))
        .start()
        .await
        .unwrap();
    let node = &world.nodes("syd")[0];
    assert_eq!(node.name(), "syd-1");
    assert_eq!(node.ready_line().await, format!("{} more", world.node_address("syd", 0)));
    let printed = node.log().contents().unwrap();
    let mut expected = world.environment("syd");
    assert_eq!(expected.keys().map(String::as_str).collect::<Vec<_>>(), SYDNEY);
    assert!(expected["HOMING_SECRET"].len() >= 32);
    expected.insert("HOMING_APP".to_owned(), "other".to_owned());
    for (name, value) in expected {
        assert!(printed.contains(&format!("{name}={value}\n")), "{name} in {printed}");
    }
    assert_eq!(world.environment("iad")["DATABASE_URL"], world.primary().url());

    world.kill_node("iad", 0).await.unwrap();
    assert!(!world.nodes("iad")[0].is_running().await);
    assert!(world.nodes("iad")[1].is_running().await);
    world.nodes("iad")[0].restart().await.unwrap();
    assert!(world.nodes("iad")[0].is_running().await);
    world.shutdown().await;
}

#[tokio::test]
async fn region_may_fail_over() {
    let world =
        World::builder().region("syd", Duration::ZERO).schema("create table t (id int8)").start().await.unwrap();
    world.primary().kill().await.unwrap();
    world.replica("syd").promote().await.unwrap();
    let client = connect(&world.environment("syd")["HOMING_REPLICA_URL"]).await;
    client.batch_execute("insert into t values (1)").await.unwrap();
}

async fn connect(url: &str) -> tokio_postgres::Client {
    // The driver does not know `verify-full`, for which URLs ask if HOMING_TEST_TLS is 1.
    let url = url.split('?').next().unwrap_or(url);
    let (client, connection) = within(tokio_postgres::connect(url, NoTls)).await.unwrap();
    tokio::spawn(connection);
    client
}

const SYDNEY: [&str; 9] = [
    "HOMING_APP",
    "HOMING_DNS_SERVER",
    "HOMING_LISTEN",
    "HOMING_PEER_DNS",
    "HOMING_PRIMARY_REGION",
    "HOMING_REGION",
    "HOMING_REGIONS",
    "HOMING_REPLICA_URL",
    "HOMING_SECRET",
];
