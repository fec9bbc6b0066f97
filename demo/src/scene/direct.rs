//! The driver alone, connected to the primary's database: the measure for Homing.

use anyhow::Result;
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::scene::Scene;

/// One connection over a region's link, with the example's INSERT prepared.
#[derive(Debug)]
pub(crate) struct Direct {
    client: Client,
    insert: Statement,
}

impl Direct {
    pub(crate) async fn connect(scene: &Scene, region: &str) -> Result<Self> {
        Self::connect_with(&scene.direct_config(region)?).await
    }

    async fn connect_with(config: &Config) -> Result<Self> {
        let (client, connection) = config.connect(NoTls).await?;
        // The task ends with the client. If the connection fails, the statements on it report the error.
        tokio::spawn(connection);
        let insert = client.prepare(INSERT).await?;
        Ok(Self { client, insert })
    }

    /// Inserts a row, and returns the milliseconds until the row was back.
    pub(crate) async fn insert(&self, name: &str, age: i32) -> Result<f64> {
        let started = Instant::now();
        self.client.query_one(&self.insert, &[&name, &age]).await?;
        Ok(milliseconds_since(started))
    }
}

fn milliseconds_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1_000.0
}

const INSERT: &str = r#"insert into "users" ("name", "age") values ($1, $2) returning "id", "name", "age""#;
