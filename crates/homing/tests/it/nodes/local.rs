//! A node with no region settings: its own primary, no server, no wait.

use homing::report::AnsweredBy;
use homing::{Config, Node, Repo};

use crate::fixture::{NewUser, Servers, User, World, import, in_iad, recorded, start};

#[tokio::test]
async fn node_without_regions_is_primary() {
    let world = World::shared().await;
    let url = Servers::shared().await.primary.database_url(&world.database);
    let lookup = |name: &str| (name == "DATABASE_URL").then(|| url.clone());
    let config = Config::from_lookup(&lookup).unwrap();
    let node = Node::with_config(config).register(import).start().await.unwrap();
    assert_eq!(node.local_addr(), None);

    let (repo, reports) = recorded(&node.repo());
    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    let report = reports.last();
    assert_eq!((report.answered_by, report.attempts), (AnsweredBy::Local, 0));
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    assert_eq!(import::call(&repo, vec!["Grace".into()]).await.unwrap(), 1);
    assert_eq!(repo.rpc_and_wait::<u64>("import", &["Edsger"]).await.unwrap(), 1);
    assert_eq!(repo.query("select * from users", &[]).await.unwrap().len(), 3);
    node.shutdown().await;
}

/// For development: the second region reads from the only database as if it were a replica.
#[tokio::test]
async fn one_database_serves_two_regions() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let url = servers.primary.database_url(&world.database);
    let mark = if url.contains('?') { '&' } else { '?' };
    let mut config = servers.replica_config(&world.database, in_iad(world.iad.local_addr()));
    config.replica_url = Some(format!("{url}{mark}options=-c%20homing.role%3Dreplica"));
    let node = start(config).await.unwrap();
    let (repo, reports) = recorded(&node.repo());
    let ada = repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)), "{:?}", reports.last());
    assert_eq!(repo.get::<User>(ada.id).await.unwrap().unwrap().name, "Ada");
    assert_eq!((reports.last().answered_by, reports.last().replica.is_some()), (AnsweredBy::Local, true));
    let sql = "insert into users (name) values ($1) returning id";
    repo.query_one(sql, &[&"Grace"]).await.unwrap();
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)), "{:?}", reports.last());
    let count = repo.transaction(async |tx: Repo| {
        tx.insert(&NewUser::named("Edsger")).await?;
        tx.count::<User>("", &[]).await
    });
    assert_eq!(count.await.unwrap(), 3);
    assert_eq!(import::call(&repo, vec!["Barbara".into()]).await.unwrap(), 1);
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 4);
}
