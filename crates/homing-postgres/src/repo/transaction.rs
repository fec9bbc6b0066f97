//! Interactive transactions, from their beginning to their commit.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use homing_rpc::CallKey;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Repo;
use crate::error::fate::Fate;
use crate::error::{Error, Result};
use crate::outcome::key::IdempotencyKey;
use crate::outcome::once::{Once, TransactionKey};
use crate::outcome::{MAX_RESULT_BYTES, Outcome};
use crate::primary::outcome::Settled;
use crate::statement::kind::Writes;
use crate::transaction::commit::commit;
use crate::transaction::exchange::Exchange;
use crate::transaction::retry::Retries;
use crate::transaction::savepoints::SavepointId;
use crate::transaction::{Access, Handle, Isolation, Transaction, TransactionOptions};

/// # Transactions
///
/// A transaction runs several statements, all or none, with code of the application in between. The closure gets a
/// handle of the transaction, which is a `Repo` as well. Each call through it belongs to the transaction, and a
/// [`transaction`](Self::transaction) through it is a savepoint. Calls through other handles, the outer one included,
/// do not belong to the transaction.
///
/// ```no_run
/// # async fn example(repo: homing_postgres::Repo, from: i64, to: i64, amount: i64) -> homing_postgres::Result<()> {
/// use homing_postgres::Error;
///
/// let left: i64 = repo
///     .transaction(|tx| async move {
///         let sql = "update accounts set balance = balance - $2 where id = $1 returning balance";
///         let left: i64 = tx.query_one(sql, &[&from, &amount]).await?.get(0);
///         if left < 0 {
///             return Err(Error::failed("there is not enough money")); // rolls back
///         }
///         tx.execute("update accounts set balance = balance + $2 where id = $1", &[&to, &amount]).await?;
///         Ok(left) // commits
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// A transaction runs on one connection to the primary. From another region each call is one round trip, and so is the
/// commit; the transaction holds its locks that long. If all steps are known in advance, a batch, a named function or a
/// single statement takes one round trip in all. A transaction that only reads ([`TransactionOptions::read_only`]) is a
/// snapshot of the local replica and needs no round trip to the primary.
///
/// - **Nothing is committed unless the closure returns `Ok`.** The call then waits for the local replica like any
///   write. The transaction is rolled back if the closure returns an error (the call returns it unchanged) or panics,
///   if the future is dropped, if the connection to the primary or the primary's node is lost, if no statement comes
///   for [`idle_timeout`](TransactionOptions::idle_timeout), and at its [`time_limit`](TransactionOptions::time_limit).
/// - **The first statement begins it.** A closure without statements sends nothing.
/// - **A statement that PostgreSQL refuses aborts it.** All further calls fail with an error that names the first one,
///   and the transaction is rolled back even if the closure returns `Ok`. Inside a nested transaction only the nested
///   one is aborted, and the outer one goes on after it. Errors that are not PostgreSQL's (a row that is not found, a
///   parameter that does not fit) abort nothing.
/// - **One call at a time.** Calls through clones of the handle that are made at the same time run in the order in
///   which they were made. While a nested transaction is open, calls through the outer handle are misuse: they would
///   become part of the nested one, or wait for each other forever.
/// - **A dropped call** that has no answer yet aborts the transaction, or the nested one that it belongs to. A call
///   that takes longer than `call_timeout` is cancelled and ends the whole transaction.
/// - **Named functions** cannot be called through its handle, since they run on a connection of their own.
/// - **After the closure has returned**, calls through its handle are misuse.
///
/// **Fates.** If a statement fails, the transaction is *rejected*: nothing of it remains. Nothing remains either if the
/// closure returns an error of its own, whatever the fate of that error says. If the connection is lost before `COMMIT`
/// was sent, the transaction is *not sent*. If the connection is lost while `COMMIT` is under way, the primary is asked what became of
/// it; only if it cannot be reached until the time limit, the *outcome is unknown*. The commit may be *rejected* too: by a deferred constraint, or with SQLSTATE 40001 under
/// [`Isolation::Serializable`]. A transaction is not repeated by itself, since its closure may do more than run statements:
/// [`retry_transaction`](Self::retry_transaction) repeats it after a serialization failure.
impl Repo {
    /// Runs the closure in a transaction with the default options: it reads and writes, and each statement sees what
    /// was committed before it. Through the handle of a transaction, this is a nested transaction at a savepoint.
    ///
    /// # Errors
    ///
    /// The closure's own error, or that of the commit: any of the [four fates](Error).
    /// [`is_overloaded`](Error::is_overloaded) if the primary's node has as many open transactions as it allows, and none
    /// of them ends within the handle's [`call_timeout`](crate::Options::call_timeout).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before the commit, the transaction is rolled back. If it is dropped during the commit,
    /// the transaction may be committed or not.
    pub async fn transaction<T, F, Fut>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.try_transaction(TransactionOptions::default(), body).await
    }

    /// Runs the closure in a transaction with these options.
    ///
    /// A nested transaction is part of the outer one and has its options. The time limits given for it are ignored.
    ///
    /// # Errors
    ///
    /// Those of [`transaction`](Self::transaction); [`is_misuse`](Error::is_misuse) if a nested transaction asks for an
    /// isolation or access other than the outer one's.
    ///
    /// # Cancel safety
    ///
    /// That of [`transaction`](Self::transaction).
    pub async fn transaction_with<T, F, Fut>(&self, options: TransactionOptions, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.try_transaction(options, body).await
    }

    /// Runs the closure in a transaction with these options. The closure may return an error type of the application.
    ///
    /// The compiler has to know this type: from an `Ok::<_, MyError>(…)` in the closure, or from the type of the
    /// result.
    ///
    /// ```no_run
    /// use homing_postgres::{Error, TransactionOptions};
    ///
    /// enum MyError {
    ///     TooYoung,
    ///     Database(Error),
    /// }
    ///
    /// impl From<Error> for MyError {
    ///     fn from(error: Error) -> Self {
    ///         Self::Database(error)
    ///     }
    /// }
    ///
    /// # async fn example(repo: homing_postgres::Repo) -> Result<(), MyError> {
    /// repo.try_transaction(TransactionOptions::default(), |tx| async move {
    ///     let age: i32 = tx.query_one("select age from users where id = 7 for update", &[]).await?.get(0);
    ///     if age < 18 {
    ///         return Err(MyError::TooYoung);
    ///     }
    ///     tx.execute("delete from users where id = 7", &[]).await?;
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`transaction_with`](Self::transaction_with).
    ///
    /// # Cancel safety
    ///
    /// That of [`transaction`](Self::transaction).
    pub async fn try_transaction<T, E, F, Fut>(&self, options: TransactionOptions, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error>,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.transaction {
            Some(outer) => self.nested(outer, options, body).await,
            None => self.outermost(options, body).await,
        }
    }

    /// Runs the closure in a transaction with these options, and runs it again if PostgreSQL chose the transaction to give way
    /// to others: after a serialization failure (SQLSTATE 40001) or a deadlock (40P01).
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo, id: i64) -> homing_postgres::Result<()> {
    /// use homing_postgres::{Isolation, TransactionOptions};
    ///
    /// let options = TransactionOptions::default().with_isolation(Isolation::Serializable);
    /// repo.retry_transaction(options, |tx| async move {
    ///     let on_call: i64 = tx.query_one("select count(*) from doctors where on_call", &[]).await?.get(0);
    ///     if on_call > 1 {
    ///         tx.execute("update doctors set on_call = false where id = $1", &[&id]).await?;
    ///     }
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// The closure runs at most [`max_attempts`](TransactionOptions::max_attempts) times, each time in a new transaction.
    /// Nothing remains of an attempt that failed, except what the closure did besides its statements: it has to stand being
    /// run again. Between two attempts the call waits for a random time of up to 10 ms, then 20 ms, and so on up to a second,
    /// without a connection. All attempts together have to end within [`time_limit`](TransactionOptions::time_limit).
    ///
    /// An attempt is repeated if it failed after PostgreSQL had reported such a conflict in it, whichever error the closure
    /// returned. Other failures are not repeated, and neither is a commit whose outcome is unknown.
    ///
    /// # Errors
    ///
    /// Those of [`transaction_with`](Self::transaction_with), of the last attempt. [`is_misuse`](Error::is_misuse) through the
    /// handle of a transaction: repeat the whole transaction.
    ///
    /// # Cancel safety
    ///
    /// That of [`transaction`](Self::transaction).
    pub async fn retry_transaction<T, F, Fut>(&self, options: TransactionOptions, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.try_retry_transaction(options, body).await
    }

    /// Runs the closure like [`retry_transaction`](Self::retry_transaction). The closure may return an error type of the
    /// application, as in [`try_transaction`](Self::try_transaction).
    ///
    /// # Errors
    ///
    /// Those of [`retry_transaction`](Self::retry_transaction).
    ///
    /// # Cancel safety
    ///
    /// That of [`transaction`](Self::transaction).
    pub async fn try_retry_transaction<T, E, F, Fut>(&self, options: TransactionOptions, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error>,
        F: Fn(Self) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if self.in_transaction() {
            let message = "a nested transaction cannot be repeated after a serialization failure, because the outer one keeps \
                           its snapshot and its locks: use retry_transaction for the outermost one";
            return Err(Error::misuse(message).into());
        }
        let deadline = self.engine.until.map_or(options.deadline(), |until| until.min(options.deadline()));
        let mut retries = Retries::new(options.max_attempts, deadline);
        loop {
            let failed =
                match self.attempt(Transaction::new(options, deadline, self.engine.transaction_key()), &body).await {
                    Ok(value) => return Ok(value),
                    Err(failed) => failed,
                };
            let pause = failed.is_conflict.then(|| retries.next(Instant::now(), &mut rand::rng())).flatten();
            let Some(pause) = pause else { return Err(failed.error) };
            debug!(?pause, "a transaction runs again after a serialization failure");
            sleep(pause).await;
        }
    }

    /// Runs the transaction of a named function whose caller has a key. The closure does not run if an earlier attempt is known to
    /// be committed. `keep` encodes the value for a later attempt.
    #[doc(hidden)]
    pub async fn transaction_of_call<T, F, Fut>(
        &self,
        options: TransactionOptions,
        key: &CallKey,
        body: F,
        keep: impl FnOnce(&T) -> Option<Bytes>,
    ) -> Result<RanOnce<T>>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let Some(known) = IdempotencyKey::from_wire(&key.bytes) else {
            return Err(Error::misuse("this build does not know the kind of the key: update this node"));
        };
        let once = Once { key: known, again: key.again || known.is_own(), keeps_result: true, fence: key.fence };
        let (engine, deadline) = (&self.engine, options.deadline());
        let transaction_key = TransactionKey { once, fingerprint: key.fingerprint };
        let owned = Owned(Arc::new(Transaction::new(options, deadline, Some(transaction_key)).requiring_key()));
        let Owned(transaction) = &owned;
        // Begins the transaction, which looks for the key.
        let looked = match once.again {
            // Boxed, since the compiler limits how deep futures may be nested, and applications nest further.
            true => Exchange { engine, transaction }.look().boxed().await,
            false => Ok(()),
        };
        let keep = |value: &T| keep(value).filter(|kept| kept.len() <= MAX_RESULT_BYTES);
        let error = match looked {
            Ok(()) => match self.attempt_keeping(transaction, body, keep).await {
                Ok(value) => return Ok(RanOnce::Now(value)),
                Err(failed) => failed.error,
            },
            // The key belongs to another call.
            Err(error) if error.is_misuse() => return Err(error),
            Err(error) => error,
        };
        if let Some(before) = transaction.before() {
            return Ok(RanOnce::Before(before.result.clone()));
        }
        if transaction.key().is_none() {
            return Err(Error::unprotected("the database has no table of outcomes"));
        }
        if !once.again || error.is_key_settled() || error.fate() == Fate::OutcomeUnknown {
            return Err(error);
        }
        // No earlier attempt may be committed after this one has failed.
        match engine.primary().settle(known, &engine.history(Writes::Yes), deadline.max(engine.deadline())).await {
            Ok(Settled { outcome: Outcome::NotCommitted | Outcome::Expired, .. }) => Err(error),
            Ok(Settled { outcome: Outcome::Committed, position, .. }) => Err(Error::committed(
                format!("an earlier attempt is committed, and this one failed: {error}"),
                position,
            )),
            Err(unknown) => Err(Error::outcome_unknown(format!(
                "this attempt failed ({error}), and what became of an earlier one is unknown: {unknown}"
            ))),
        }
    }

    /// Returns whether the calls of this handle belong to a transaction.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    async fn outermost<T, E, F, Fut>(&self, options: TransactionOptions, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error>,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let transaction = Transaction::new(options, options.deadline(), self.engine.transaction_key());
        self.attempt(transaction, body).await.map_err(|failed| failed.error)
    }

    async fn attempt<T, E, F, Fut>(&self, transaction: Transaction, body: F) -> Result<T, FailedAttempt<E>>
    where
        T: Send + 'static,
        E: From<Error>,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let owned = Owned(Arc::new(transaction));
        self.attempt_keeping(&owned.0, body, |_| None).await
    }

    /// Runs the closure and commits, and keeps what `keep` returns with the transaction's key.
    async fn attempt_keeping<T, E, F, Fut>(
        &self,
        transaction: &Arc<Transaction>,
        body: F,
        keep: impl FnOnce(&T) -> Option<Bytes>,
    ) -> Result<T, FailedAttempt<E>>
    where
        T: Send + 'static,
        E: From<Error>,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let tx = self.at(transaction.handle(SavepointId::OUTERMOST));
        match body(tx).await {
            Ok(value) => {
                let kept = keep(&value);
                commit(&self.engine, transaction, value, kept).await.map_err(|error| FailedAttempt {
                    is_conflict: transaction.has_conflicted() && error.is_rejected(),
                    error: error.into(),
                })
            }
            Err(error) => {
                Exchange { engine: &self.engine, transaction }.roll_back().await;
                Err(FailedAttempt { is_conflict: transaction.has_conflicted(), error })
            }
        }
    }

    async fn nested<T, E, F, Fut>(&self, outer: &Handle, options: TransactionOptions, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let transaction = outer.transaction()?;
        check_nested(&transaction.options, &options)?;
        let savepoint = transaction.savepoints().enter(outer.savepoint)?;
        let nested = Nested { transaction: &transaction, savepoint };
        let value = body(self.at(outer.at(savepoint))).await?;
        transaction.savepoints().keep(nested.savepoint)?;
        Ok(value)
    }

    fn at(&self, handle: Handle) -> Self {
        Self { transaction: Some(handle), ..self.clone() }
    }
}

/// How the transaction of a named function with a key ended.
#[doc(hidden)]
#[derive(Debug)]
pub enum RanOnce<T> {
    /// It is committed.
    Now(T),

    /// An earlier attempt is committed, and this result was kept with it.
    Before(Option<Bytes>),
}

impl<T> RanOnce<T> {
    /// Returns the error for an earlier attempt whose result was not kept, or cannot be read.
    pub fn without_result() -> Error {
        Error::committed("an earlier attempt of the function is committed, and its result was not kept", None)
    }
}

/// An attempt of which nothing remains, or whose commit failed.
struct FailedAttempt<E> {
    error: E,
    /// Whether it may succeed if it runs again: PostgreSQL has reported a conflict, and nothing remains.
    is_conflict: bool,
}

/// Ends the transaction when the call that began it returns or is dropped.
struct Owned(Arc<Transaction>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Rolls back to the savepoint when dropped, unless the savepoint was kept.
struct Nested<'a> {
    transaction: &'a Transaction,
    savepoint: SavepointId,
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        self.transaction.savepoints().undo(self.savepoint);
    }
}

/// Refuses options that the outer transaction does not have. A default is not a request.
fn check_nested(outer: &TransactionOptions, inner: &TransactionOptions) -> Result<()> {
    let isolation = inner.isolation == Isolation::default() || inner.isolation == outer.isolation;
    let access = inner.access == Access::default() || inner.access == outer.access;
    if isolation && access {
        return Ok(());
    }
    Err(Error::misuse(
        "a nested transaction has the isolation and access of the outer one: set them in the options of the outer \
         transaction",
    ))
}
