//! Keys of writes, and what became of them.

use super::Repo;
use crate::call::options::Wait;
use crate::error::Result;
use crate::outcome::Outcome;
use crate::outcome::key::IdempotencyKey;
use crate::primary::outcome::Settled;
use crate::statement::kind::Writes;

/// # Exactly once
///
/// A write is applied once, however often the network or a node fails under it: see [`Delivery`](crate::Delivery). If the time
/// limit passes before an answer comes, the error [is an unknown outcome](crate::Error::is_outcome_unknown) and has the
/// [key](crate::Error::idempotency_key) of the write, and [`outcome`](Repo::outcome) tells what became of it.
///
/// A write that another process may repeat, such as a request of a client that tries again or a job of a queue, needs a key that
/// all attempts know: [`with_key`](Repo::with_key).
impl Repo {
    /// Returns a handle for one write, which is applied once, however often it is called with this key, on any node and after a
    /// restart too. Later calls return the result of the first one that was committed. A call that failed without a trace may be
    /// called again.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo, header: &str, user: i64) -> homing_postgres::Result<()> {
    /// let sql = "insert into orders (customer) values ($1) returning id";
    /// let order: i64 = repo.with_key(format!("{user} {header}")).query_one(sql, &[&user]).await?.get(0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **A key belongs to one write** with its values, schema and settings. Another write with the same key is refused as
    ///   [misuse](crate::Error::is_misuse).
    /// - **It is kept for a day**, with the results of the write up to 64 KiB. If they are larger, a later call fails as
    ///   [committed](crate::Error::is_committed).
    /// - **It protects** a statement, an entity call, a batch, an interactive transaction or a transactional named function. A
    ///   transaction that is committed already runs its closure again, is rolled back, and fails as
    ///   [committed](crate::Error::is_committed).
    /// - **It costs** one more round trip between the primary's node and its database: the key is looked for first.
    /// - Anybody who can guess a key may use it up. So put something into it that only its owner has, such as the name of the
    ///   user.
    #[must_use]
    pub fn with_key(&self, key: impl Into<IdempotencyKey>) -> Self {
        let key = key.into();
        self.with(|engine| engine.key = Some(key))
    }

    /// Tells what became of a write: of one whose outcome was unknown, by the key in its error, or of one with a key of the
    /// application's own.
    ///
    /// If it is not committed, an attempt that is still under way is rolled back. So the answer does not change, unless the write
    /// is called again. After a failover, it is the answer of the promoted primary: a write that was committed and lost with the
    /// old primary is not committed. If it is committed, later reads of this session see it.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// use homing_postgres::Outcome;
    ///
    /// if let Err(error) = repo.execute("update accounts set balance = balance - 10 where id = 7", &[]).await {
    ///     let Some(key) = error.idempotency_key() else { return Err(error) };
    ///     match repo.outcome(key).await? {
    ///         Outcome::Committed => println!("paid"),
    ///         Outcome::NotCommitted => println!("not paid"),
    ///         Outcome::Expired => println!("look at the account"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_not_sent`](crate::Error::is_not_sent) if the primary does not answer: ask again.
    /// [`is_misuse`](crate::Error::is_misuse) if the database has no table of outcomes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: ask again.
    pub async fn outcome(&self, key: impl Into<IdempotencyKey> + Send) -> Result<Outcome> {
        let (engine, key) = (&self.engine, key.into());
        let session = engine.history(Writes::Yes);
        let settled = engine.primary().settle(key, &session, engine.deadline()).await;
        let Settled { outcome, position, .. } = engine.heed(&session, None, settled)?;
        if let Some(position) = position.filter(|_| engine.options.wait != Wait::Never) {
            engine.session.advance_past(&session, position);
        }
        Ok(outcome)
    }
}
