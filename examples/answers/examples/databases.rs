//! How does one node use several databases?
//!
//! Name the further ones in the settings, and take a handle to one of them with `with_database`. All of them share a
//! session, and one token has the positions of all.
//!
//! ```sh
//! createdb --host 127.0.0.1 --username postgres analytics
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres \
//!     ANALYTICS_URL=postgres://postgres@127.0.0.1/analytics cargo run --example databases
//! ```

use homing::{Config, DatabaseConfig, Node, Repo, Result};

/// Adds the database `analytics`. The variables `HOMING_DATABASES=analytics`, `HOMING_ANALYTICS_DATABASE_URL` and
/// `HOMING_ANALYTICS_REPLICA_URL` do the same without code.
pub fn with_analytics(config: Config, url: &str) -> Config {
    let database = if config.topology.is_primary_region() {
        DatabaseConfig::new().with_database_url(url)
    } else {
        DatabaseConfig::new().with_replica_url(url)
    };
    config.with_database("analytics", database)
}

/// Stores an order in the unnamed database and a visit in `analytics`, and returns the number of visits.
///
/// These are two transactions: no transaction spans two databases.
pub async fn order(repo: &Repo, item: &str) -> Result<i64> {
    repo.execute("insert into orders (item) values ($1)", &[&item]).await?;
    let analytics = repo.with_database("analytics")?;
    analytics.execute("insert into visits (path) values ($1)", &[&format!("/order/{item}")]).await?;
    Ok(analytics.query_one("select count(*) from visits", &[]).await?.get(0))
}

/// Creates a table in each database.
pub async fn migrate(repo: &Repo) -> Result<()> {
    repo.batch_execute("create table if not exists orders (id bigserial primary key, item text not null)").await?;
    repo.with_database("analytics")?.batch_execute("create table if not exists visits (path text not null)").await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = with_analytics(Config::from_env()?, &std::env::var("ANALYTICS_URL")?);
    let node = Node::with_config(config).start().await?;
    migrate(&node.repo()).await?;
    println!("{} visits", order(&node.repo(), "lamp").await?);
    node.shutdown().await;
    Ok(())
}
