//! A pool of connections to the primary, as an application beside the database has it.

use anyhow::Result;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::{Config, NoTls};

use super::tables::{AGE, INSERT, NAME};

pub(super) fn pool(config: Config) -> Result<Pool> {
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Ok(Pool::builder(manager).max_size(CONNECTIONS).build()?)
}

pub(super) async fn insert(pool: &Pool) -> Result<i64> {
    let client = pool.get().await?;
    let insert = client.prepare_cached(INSERT).await?;
    Ok(client.query_one(&insert, &[&NAME, &AGE]).await?.try_get(0)?)
}

/// As many as Homing's own pool has.
const CONNECTIONS: usize = 16;
