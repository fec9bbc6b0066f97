//! A node with no region settings: its own primary, no server, no wait.

use homing::report::AnsweredBy;
use homing::{Config, Node};

use crate::fixture::{NewUser, Servers, User, World, import, recorded};

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
