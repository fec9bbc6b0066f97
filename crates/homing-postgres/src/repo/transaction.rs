//! Interactive transactions: from their beginning to their commit.

use std::sync::Arc;

use super::Repo;
use crate::error::{Error, Result};
use crate::transaction::commit::commit;
use crate::transaction::exchange::Exchange;
use crate::transaction::savepoints::SavepointId;
use crate::transaction::{Access, Handle, Isolation, Transaction, TransactionOptions};

/// # Transactions
///
/// Several statements, all or none, with code of the application in between. The closure gets a handle to the
/// transaction, which is a `Repo` as well: each of its calls belongs to the transaction, and one of its own
/// [`transaction`](Self::transaction) is a savepoint. Calls of other handles, the outer one included, do not belong to it.
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
/// It runs on one connection of the primary; from another region each call is one round trip, and so is the commit:
/// locks are held that long. Where the steps are known before, a named function or one statement is one round trip in all.
/// One that only reads ([`TransactionOptions::read_only`]) is a snapshot of the replica here, without any.
///
/// - **Nothing is committed unless the closure returns `Ok`**, and then the call waits for the replica here like any
///   write. It is rolled back if the closure returns an error, which the call returns as it is; if it panics; if the
///   future is dropped; if the connection to the primary or its node is lost; if no statement comes for
///   [`idle_timeout`](TransactionOptions::idle_timeout); at its [`time_limit`](TransactionOptions::time_limit).
/// - **It begins with the first statement.** A closure without one sends nothing.
/// - **A statement that PostgreSQL refuses aborts it.** All further calls are errors that name the first one, and it is
///   rolled back even if the closure returns `Ok`. Within a nested transaction only that one is aborted: the outer one goes
///   on after it. Errors that are not PostgreSQL's (a row that is not found, a parameter that does not fit) abort nothing.
/// - **One call at a time.** Calls that are made at the same time, through clones of the handle, run in the order in which
///   they were made. While a nested transaction is open, calls through the outer handle are misuse: they would become
///   part of it, or wait for each other for ever.
/// - **A call that is dropped** before its answer came aborts the transaction, or the nested one that it belongs to. One that
///   takes longer than `call_timeout` is cancelled and ends the whole transaction.
/// - **Named functions** cannot be called through its handle: they run on a connection of their own.
/// - A handle that is kept beyond the closure is of no use any more: misuse.
///
/// **Fates.** A statement that fails is *rejected*: nothing of the transaction remains. Lost before COMMIT was sent, it is
/// *not sent*; lost while COMMIT was under way, *outcome unknown*. A commit may be *rejected* too: a deferred constraint, or
/// SQLSTATE 40001 with [`Isolation::Serializable`]. Nothing is repeated by itself, since the closure may do more than
/// statements. To repeat it where others were in the way:
///
/// ```no_run
/// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
/// use homing_postgres::{Isolation, SqlState, TransactionOptions};
///
/// let options = TransactionOptions::default().with_isolation(Isolation::Serializable);
/// for attempt in 1.. {
///     let done = repo.transaction_with(options, |tx| async move {
///         tx.execute("update counters set value = value + 1", &[]).await
///     });
///     match done.await {
///         Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) && attempt < 5 => {}
///         done => return done.map(drop),
///     }
/// }
/// # unreachable!()
/// # }
/// ```
impl Repo {
    /// Runs the closure in a transaction of the default options: it reads and writes, and each statement sees what was
    /// committed before it. On the handle of a transaction: a nested one, at a savepoint.
    ///
    /// # Errors
    ///
    /// The closure's own. [`is_overloaded`](Error::is_overloaded) if as many transactions are open as the primary's node
    /// allows. See [`Error`] for the others.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it commits, it is rolled back. Dropped while it commits, whether it was committed nobody is told.
    pub async fn transaction<T, F, Fut>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.try_transaction(TransactionOptions::default(), body).await
    }

    /// The same with other options. A nested transaction is part of the outer one and has its options: other ones for
    /// isolation or access are misuse, the time limits are ignored.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    ///
    /// # Cancel safety
    ///
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_with<T, F, Fut>(&self, options: TransactionOptions, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.try_transaction(options, body).await
    }

    /// The same with an error of the application's own, which the compiler has to be told: by the type of the closure's
    /// `Ok::<_, MyError>(…)`, or by that of the result.
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
    /// As [`transaction`](Self::transaction).
    ///
    /// # Cancel safety
    ///
    /// As [`transaction`](Self::transaction).
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

    /// Whether the calls of this handle belong to a transaction.
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
        let transaction = Owned(Arc::new(Transaction::new(options)));
        let tx = self.at(transaction.0.handle(SavepointId::OUTERMOST));
        match body(tx).await {
            Ok(value) => Ok(commit(&self.engine, &transaction.0, value).await?),
            Err(error) => {
                Exchange { engine: &self.engine, transaction: &transaction.0 }.roll_back().await;
                Err(error)
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

/// The transaction ends with the call that made it.
struct Owned(Arc<Transaction>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A savepoint that is rolled back to unless it was kept.
struct Nested<'a> {
    transaction: &'a Transaction,
    savepoint: SavepointId,
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        self.transaction.savepoints().undo(self.savepoint);
    }
}

/// The default asks for nothing.
fn check_nested(outer: &TransactionOptions, inner: &TransactionOptions) -> Result<()> {
    let isolation = inner.isolation == Isolation::default() || inner.isolation == outer.isolation;
    let access = inner.access == Access::default() || inner.access == outer.access;
    if isolation && access {
        return Ok(());
    }
    Err(Error::misuse(
        "a nested transaction is part of the outer one and has its isolation and access: ask for these where the outer \
         one is made",
    ))
}
