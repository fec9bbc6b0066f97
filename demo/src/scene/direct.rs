//! The driver alone, connected to the primary's database: the measure for Homing.

use std::time::Duration;

use anyhow::{Result, ensure};
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
        self.insert_row(name, age).await?;
        Ok(milliseconds_since(started))
    }

    /// Inserts a row, and returns its id.
    pub(crate) async fn insert_row(&self, name: &str, age: i32) -> Result<i64> {
        let row = self.client.query_one(&self.insert, &[&name, &age]).await?;
        Ok(row.try_get(0)?)
    }
}

/// A connection to a replica that looks for rows.
#[derive(Debug)]
pub(crate) struct Replayed {
    client: Client,
    is_there: Statement,
}

impl Replayed {
    pub(crate) async fn connect(scene: &Scene, region: &str) -> Result<Self> {
        let client = scene.database(region).connect().await?;
        let is_there = client.prepare(IS_THERE).await?;
        Ok(Self { client, is_there })
    }

    /// Asks for a row until it is there, and returns the milliseconds that this took.
    pub(crate) async fn wait(&self, id: i64) -> Result<f64> {
        let started = Instant::now();
        while !self.client.query_one(&self.is_there, &[&id]).await?.try_get::<_, bool>(0)? {
            ensure!(started.elapsed() < MAX_REPLAY_TIME, "the replica does not get to row {id}");
        }
        Ok(milliseconds_since(started))
    }
}

fn milliseconds_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1_000.0
}

const INSERT: &str = r#"insert into "users" ("name", "age") values ($1, $2) returning "id", "name", "age""#;

const IS_THERE: &str = r#"select exists (select from "users" where "id" = $1)"#;

const MAX_REPLAY_TIME: Duration = Duration::from_secs(30);
