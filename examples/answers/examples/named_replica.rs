//! How do I send a heavy report to one particular replica?
//!
//! Take a handle with `replica` and the name that the replica has in `HOMING_REPLICA_URL`. All reads of the handle go
//! to that replica, in the primary region too.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres \
//!     HOMING_REPLICA_URL=reports=postgres://postgres@127.0.0.1:5433/postgres cargo run --example named_replica reports
//! ```

use homing::{Node, OnLag, Repo, Result};

/// Returns the number of measurements for each sensor, as the replica knows them.
///
/// # Errors
///
/// [`is_misuse`](homing::Error::is_misuse) if the node has no replica of this name. If the replica does not answer, the
/// report fails: [`OnLag::Fail`] keeps it away from the primary.
pub async fn report(repo: &Repo, replica: &str) -> Result<Vec<(String, i64)>> {
    // A session of its own: the report waits for nothing that this handle has written.
    let reports = repo.session().replica(replica)?.with_on_lag(OnLag::Fail);
    let rows = reports.query("select sensor, count(*) from measurements group by sensor order by sensor", &[]).await?;
    Ok(rows.iter().map(|row| (row.get("sensor"), row.get("count"))).collect())
}

#[tokio::main]
async fn main() -> Result<()> {
    let node = Node::from_env()?.start().await?;
    let repo = node.repo();
    repo.batch_execute(SCHEMA).await?;
    for replica in repo.replicas().status() {
        println!("{} at {}: {:?}", replica.name, replica.address, replica.health);
    }
    if let Some(name) = std::env::args().nth(1) {
        println!("{:?}", report(&repo, &name).await?);
    }
    node.shutdown().await;
    Ok(())
}

/// The table of measurements.
pub const SCHEMA: &str = "create table if not exists measurements (sensor text not null, value float8 not null)";
