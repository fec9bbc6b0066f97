//! Transactions begin as the role and the database say, unless their caller asks for something else.

use homing::Repo;
use homing::transaction::TransactionOptions;

use crate::fixture::{Servers, World, in_iad};

async fn isolation(repo: &Repo, options: TransactionOptions) -> String {
    let sql = "select current_setting('transaction_isolation')";
    let asked = repo.transaction_with(options, |tx| async move { tx.query_one(sql, &[]).await });
    asked.await.unwrap().get(0)
}

/// Nodes that connect after the default was set.
#[tokio::test]
async fn isolation_default_of_database_stands() {
    let (world, servers) = (World::shared().await, Servers::shared().await);
    let strict = format!("alter database {} set default_transaction_isolation = serializable", world.database);
    world.primary.batch_execute(&strict).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    let iad = servers.primary_node(&world.database).await;
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    for (region, node) in [("iad", &iad), ("syd", &syd)] {
        let repo = node.repo();
        assert_eq!(isolation(&repo, TransactionOptions::default()).await, "serializable", "{region}");
        assert_eq!(isolation(&repo, TransactionOptions::read_only()).await, "repeatable read", "{region}");
    }
}
