//! How fresh is a read, and how do I choose?
//!
//! A read sees what its session has written and read, unless the handle asks for less (`Eventual`, which never waits)
//! or for more (`Global`, one round trip to the primary). A handle is cheap, so choose for each call.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example consistency
//! ```

use homing::{Consistency, Node, Repo, Result};

/// Puts pieces into stock.
pub async fn deliver(repo: &Repo, pieces: i64) -> Result<()> {
    repo.execute("insert into deliveries (pieces) values ($1)", &[&pieces]).await.map(drop)
}

/// For the person who has just made the delivery: sees it, whichever server answers.
pub async fn own_stock(repo: &Repo) -> Result<i64> {
    stock(repo).await
}

/// For a page that everyone looks at: as fast as the local replica, and as far behind.
pub async fn rough_stock(repo: &Repo) -> Result<i64> {
    stock(&repo.with_consistency(Consistency::Eventual)).await
}

/// For a check: sees everything that any client committed before. Another client may commit a moment later, so if a
/// write depends on the result, read and write in one serializable transaction.
pub async fn exact_stock(repo: &Repo) -> Result<i64> {
    stock(&repo.with_consistency(Consistency::Global)).await
}

async fn stock(repo: &Repo) -> Result<i64> {
    Ok(repo.query_one("select coalesce(sum(pieces), 0)::bigint from deliveries", &[]).await?.get(0))
}

#[tokio::main]
async fn main() -> Result<()> {
    let node = Node::from_env()?.start().await?;
    let repo = node.repo();
    repo.batch_execute(SCHEMA).await?;
    deliver(&repo, 10).await?;
    let (own, rough, exact) = (own_stock(&repo).await?, rough_stock(&repo).await?, exact_stock(&repo).await?);
    println!("own {own}, rough {rough}, exact {exact}");
    node.shutdown().await;
    Ok(())
}

/// The table of deliveries.
pub const SCHEMA: &str = "create table if not exists deliveries (pieces bigint not null)";
