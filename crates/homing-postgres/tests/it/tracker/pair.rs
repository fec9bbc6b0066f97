//! A primary and its replica, with helpers for the tests.

use std::time::Duration;

use homing_postgres::{Lsn, Position, Role, Tracker};
use homing_testbed::{Fsync, Postgres, wait_until};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{Instant, timeout};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Config};

pub(crate) struct Pair {
    pub(crate) primary: Postgres,
    pub(crate) replica: Postgres,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let options = Postgres::options().with_fsync(Fsync::Off).with_setting("log_statement", "all");
        let primary = options.start().await.unwrap();
        let client = primary.connect().await.unwrap();
        client.batch_execute("create table written (id bigserial); create role ordinary login").await.unwrap();
        let replica = Postgres::options().start_replica_of(&primary).await.unwrap();
        replica.caught_up_with(&primary).await.unwrap();
        Self { primary, replica }
    }

    /// One pair for all tests that leave it as it was. They take turns, since some pause its replay.
    pub(crate) async fn shared() -> MutexGuard<'static, Self> {
        static PAIR: OnceCell<Mutex<Pair>> = OnceCell::const_new();
        PAIR.get_or_init(|| async { Mutex::new(Self::start().await) }).await.lock().await
    }

    pub(crate) fn tracker(&self) -> Tracker {
        Tracker::spawn(self.replica.config())
    }
}

/// Returns the configuration for a role that is not a member of `pg_monitor`.
pub(crate) fn ordinary(server: &Postgres) -> Config {
    let mut config = server.config();
    config.user("ordinary");
    config
}

/// Writes, and returns a position at or after the commit.
pub(crate) async fn write(primary: &Postgres) -> Position {
    let client = primary.connect().await.unwrap();
    client.batch_execute("insert into written default values").await.unwrap();
    position(primary, &client, "pg_current_wal_flush_lsn()").await
}

/// Returns the primary's position.
async fn position(primary: &Postgres, client: &Client, function: &str) -> Position {
    let lsn: Lsn = value(client, &format!("select {function}")).await;
    let tracker = Tracker::spawn(primary.config());
    let state = within(tracker.probe()).await.unwrap();
    assert_eq!(state.role, Role::Primary);
    Position { lsn, ..state.position }
}

pub(crate) async fn value<T: for<'a> FromSql<'a>>(client: &Client, query: &str) -> T {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Waits until the query returns true.
pub(crate) async fn until(client: &Client, query: &str) {
    wait_until(query, async || value(client, query).await).await;
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LIMIT, work).await.expect("this takes milliseconds, or a few seconds on a very busy machine")
}

/// Returns a deadline that a working wait never reaches.
pub(crate) fn late() -> Instant {
    Instant::now() + LIMIT
}

const LIMIT: Duration = Duration::from_secs(30);
