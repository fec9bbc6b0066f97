//! [`PreparedStatements`], the statements that one connection has prepared.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio_postgres::{Client, Error, Statement};

/// The statements that one connection has prepared, by their text. The least recently used one goes first; the driver
/// closes it on the server.
#[derive(Debug)]
pub(crate) struct PreparedStatements(Mutex<LruCache<Box<str>, Statement>>);

impl PreparedStatements {
    pub(crate) fn new(max: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(max)))
    }

    /// Returns the statement, and prepares it if it is not there.
    pub(crate) async fn get_or_prepare(&self, client: &Client, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.lock().get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await?;
        self.lock().put(sql.into(), statement.clone());
        Ok(statement)
    }

    pub(crate) fn forget(&self, sql: &str) {
        self.lock().pop(sql);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Box<str>, Statement>> {
        // No code panics in the middle of a change, so a poisoned lock can be used.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many prepared statements one connection keeps. They take memory in the server too.
pub(super) const MAX_STATEMENTS: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;

    use super::*;

    #[tokio::test]
    async fn least_recently_used_statement_is_closed() {
        let server = Postgres::options().start().await.unwrap();
        let client = server.connect().await.unwrap();
        let statements = PreparedStatements::new(NonZeroUsize::new(2).unwrap());
        for sql in ["select 1", "select 2", "select 1", "select 3"] {
            statements.get_or_prepare(&client, sql).await.unwrap();
        }
        let sql = "select array_agg(statement order by statement) from pg_prepared_statements where statement like 'select _'";
        let kept: Vec<String> = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(kept, ["select 1", "select 3"]);
    }
}
