//! The driver alone, without Homing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::tables::{AGE, INSERT, NAME, SELECT};

/// A connection with the statements of the bench prepared.
#[derive(Debug)]
pub(super) struct Driver {
    client: Client,
    insert: Statement,
    select: Statement,
    statements: [Statement; 4],
}

impl Driver {
    pub(super) async fn connect(config: &Config) -> Result<Self> {
        let (client, connection) = config.connect(NoTls).await.context("cannot connect by the driver alone")?;
        // The task ends with the client. If the connection fails, the statements on it report the error.
        tokio::spawn(connection);
        let [insert, select] = [client.prepare(INSERT).await?, client.prepare(SELECT).await?];
        let [lock, raise, count, rename] = STATEMENTS.map(|sql| client.prepare(sql));
        let statements = [lock.await?, raise.await?, count.await?, rename.await?];
        Ok(Self { client, insert, select, statements })
    }

    /// Inserts a row and returns its id.
    pub(super) async fn insert(&self) -> Result<i64> {
        Ok(self.client.query_one(&self.insert, &[&NAME, &AGE]).await?.try_get(0)?)
    }

    pub(super) async fn query(&self, id: i64) -> Result<bool> {
        Ok(self.client.query_opt(&self.select, &[&id]).await?.is_some())
    }

    /// Runs the transaction of five statements, an INSERT and [`STATEMENTS`], each after the answer to the one before.
    pub(super) async fn transaction(&mut self) -> Result<()> {
        let transaction = self.client.transaction().await?;
        let row = transaction.query_one(&self.insert, &[&NAME, &AGE]).await?;
        let id: i64 = row.try_get(0)?;
        for statement in &self.statements {
            transaction.query(statement, &[&id]).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Asks for a row until it is there, and returns how long this took.
    pub(super) async fn wait_for(&self, id: i64) -> Result<Duration> {
        let started = Instant::now();
        while !self.query(id).await? {
            ensure!(started.elapsed() < MAX_REPLAY_TIME, "the replica does not get to row {id}");
        }
        Ok(started.elapsed())
    }

    /// Lets the server wait until it has replayed the position, looking every 50 ms.
    pub(super) async fn poll_for(&self, position: &str) -> Result<()> {
        self.client.execute("select poll_for($1::text::pg_lsn)", &[&position]).await?;
        Ok(())
    }
}

/// What the transactions do with the row that they have inserted.
pub(super) const STATEMENTS: [&str; 4] = [
    "select age from users where id = $1 for update",
    "update users set age = age + 1 where id = $1",
    "select count(*) from users where id = $1",
    "update users set name = 'Lovelace' where id = $1",
];

const MAX_REPLAY_TIME: Duration = Duration::from_secs(30);
