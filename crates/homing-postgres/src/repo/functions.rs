//! Calls of named functions in the primary region.

use homing_proto::v1 as proto;
use homing_rpc::{CallKey, Called, Expectations, IntoArguments, Reason, Region};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::debug;

use super::Repo;
use crate::call::options::Wait;
use crate::call::report::AnsweredBy;
use crate::engine::answered::Answered;
use crate::engine::operation::Operation;
use crate::error::{Error, Result, is_out_of_reach};
use crate::outcome::once::TransactionKey;
use crate::position::Position;
use crate::primary::execute::Trip;
use crate::primary::pauses::Pauses;
use crate::scope::DatabaseName;
use crate::session::Session;
use crate::writing::writer::{Committed, Writer};

/// # Named functions
///
/// A function runs in the primary region, next to the database. From another region its statements cost one round trip
/// in all, instead of one each. Arguments and results are values of any type that serde supports. A reference is one
/// argument, a tuple is several: `repo.rpc("import", &names)`, `repo.rpc("transfer", (from, to, amount))`.
///
/// A call of a transactional function is applied [exactly once](crate::Delivery): its attempts may run it several times, and
/// one of them is committed. Any other function is run at most once. If its answer is lost, the error is
/// [`is_outcome_unknown`](crate::Error::is_outcome_unknown).
///
/// A function may fail with an error type of the application ([`Error::failed_with`](crate::Error::failed_with)): its
/// caller gets the value back by [`Error::failure`](crate::Error::failure). The node that runs the function logs each
/// failure.
impl Repo {
    /// Calls a function, and waits until the local replica has replayed the function's writes.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let names = vec!["Ada".to_owned(), "Grace".to_owned()];
    /// let imported: u64 = repo.rpc_and_wait("import", &names).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Any of the [four fates](crate::Error), and besides:
    ///
    /// - [`is_function_failed`](crate::Error::is_function_failed) if the function returned an error. Writes that it
    ///   committed before remain. A transactional function is [rejected](crate::Error::is_rejected) instead.
    /// - [`is_unknown_function`](crate::Error::is_unknown_function) if the primary region has no function with that
    ///   name.
    /// - [`is_misuse`](crate::Error::is_misuse) through the handle of a transaction.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety): a dropped call may have been executed or not.
    pub async fn rpc_and_wait<R>(&self, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        self.call(None, function, arguments).await
    }

    /// Calls a function in a region, on this node if it is there.
    ///
    /// In the primary region it is the same as [`rpc_and_wait`](Self::rpc_and_wait). Elsewhere it does not wait for the local
    /// replica, because the node that runs the function does not know how far the primary is. The next read through this
    /// handle asks the primary for that, and sees what the function wrote, unless the handle's option is [`Wait::Never`].
    ///
    /// # Errors
    ///
    /// Those of [`rpc_and_wait`](Self::rpc_and_wait).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety): a dropped call may have been executed or not.
    pub async fn rpc_in<R>(&self, region: &Region, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        self.call(Some(region), function, arguments).await
    }

    /// Calls a function, and does not wait for the local replica.
    ///
    /// The next read through this handle waits, so that it sees the function's writes, unless the handle's option is
    /// [`Wait::Never`].
    ///
    /// # Errors
    ///
    /// Those of [`rpc_and_wait`](Self::rpc_and_wait).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety): a dropped call may have been executed or not.
    pub async fn rpc<R>(&self, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let repo = self.with(|engine| *engine = engine.without_waiting());
        repo.call(None, function, arguments).await
    }

    /// Calls a function in a region, or where the primary is.
    async fn call<R>(&self, region: Option<&Region>, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        if self.in_transaction() {
            return Err(Error::misuse(format!(
                "function {function:?} was called through the handle of a transaction, but a function runs on a \
                 connection of its own: call it through another handle, before or after the transaction"
            )));
        }
        if self.engine.key.is_some() && (region.is_some() || !self.rpc_client().takes_key(function)) {
            return Err(Error::misuse(format!(
                "function {function:?} was called with a key, which only transactional functions take, in the primary region: \
                 mark it as transactional and register it on this node, or call it without a key"
            )));
        }
        let call = async {
            let started = Instant::now();
            let (session, before) = (self.engine.session.positions(), self.engine.session.forked());
            let called = match region {
                Some(region) => self.call_region(region, function, arguments, None, &session).await,
                None => self.call_once(function, arguments, &session).await,
            };
            let is_elsewhere = region.is_some_and(|region| *region != self.engine.primary().region());
            let called = called.map_err(|error| self.note_partial_writes(&before, is_elsewhere, error));
            let called: Called<R> = self.engine.heed(&session, None, called)?;
            let position = self.advance_to(&before, is_elsewhere && !called.unchanged, &called.positions);
            if let Err(error) = self.engine.check_timeline(position, !called.unchanged) {
                return Err(error.with_value(called.value));
            }
            let trip = Trip {
                answered_by: called.peer.map_or(AnsweredBy::Local, AnsweredBy::Peer),
                attempts: called.attempts,
                forward: called.forward.saturating_sub(called.execute),
                execute: called.execute,
            };
            if called.unchanged {
                // It was a read: there is nothing to wait for now.
                if let Some(position) = position.filter(|_| self.options().wait != Wait::Never) {
                    self.engine.session.advance_past(&session, position);
                }
                return Ok(Answered::new(Ok(called.value), trip.report(OPERATION, started, None)));
            }
            let report = trip.report(OPERATION, started, position);
            if is_elsewhere {
                return Ok(Answered::new(Ok(called.value), report));
            }
            // A function's own calls report that, and it may return their error.
            let committed =
                Committed { value: Ok(called.value), position, before: session, not_replicated: false, report };
            Ok(Writer::new(&self.engine, OPERATION).settle(committed).await)
        };
        self.engine.reported(Operation::new(OPERATION), call).await
    }

    async fn call_region<R: DeserializeOwned>(
        &self,
        region: &Region,
        function: &str,
        arguments: impl IntoArguments,
        key: Option<CallKey>,
        session: &[Position],
    ) -> homing_rpc::Result<Called<R>> {
        let (primary, arguments) = (self.engine.primary(), arguments.into_arguments()?);
        let (rpc, scope, deadline) = (self.rpc_client(), primary.scope().to_wire(), self.options().call_deadline());
        let session: Vec<_> = session.iter().map(|position| position.to_proto(self.database_name())).collect();
        let call = |cluster| {
            let expected = Expectations { session: session.clone(), cluster, key: key.clone() };
            let left = deadline.saturating_duration_since(Instant::now());
            rpc.call_after(region, &scope, function, arguments.clone(), expected, left)
        };
        primary.expecting(deadline, call).await
    }

    /// Calls a function where the primary is. If it takes a key and no answer comes, or its key was settled meanwhile, finds out what
    /// became of it, and calls it again: it then runs, or its answer is what it returned before.
    async fn call_once<R: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        session: &[Position],
    ) -> homing_rpc::Result<Called<R>> {
        let arguments = arguments.into_arguments()?;
        let Some(TransactionKey { once, .. }) =
            self.engine.transaction_key().filter(|_| self.rpc_client().takes_key(function))
        else {
            return self.call_primary(function, arguments, None, session).await;
        };
        let deadline = self.options().call_deadline();
        let mut pauses = Pauses::until(deadline);
        let mut key = CallKey { bytes: once.key.as_bytes().to_vec(), again: once.again, fence: 0, fingerprint: 0 };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let repo = self.with_call_timeout(left);
            let error = match repo.call_primary(function, arguments.clone(), Some(key.clone()), session).await {
                Err(error) if error.is_outcome_unknown() || error.reason() == Some(Reason::KeySettled) => error,
                Err(error) if error.reason() == Some(Reason::Unprotected) && !key.again => {
                    self.engine.primary().protection.note_missing();
                    return repo.call_primary(function, arguments, None, session).await;
                }
                called => return called,
            };
            key.again = true;
            loop {
                if !pauses.pause().await {
                    return Err(error);
                }
                match self.engine.primary().settle(once.key, session, deadline).await {
                    Ok(settled) => {
                        key.fence = settled.fence;
                        break;
                    }
                    Err(missing) if missing.is_misuse() => return Err(error),
                    Err(unreachable) => debug!(error = %unreachable, "what became of a call is not known"),
                }
            }
        }
    }

    async fn call_primary<R: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        key: Option<CallKey>,
        session: &[Position],
    ) -> homing_rpc::Result<Called<R>> {
        let (primary, arguments) = (self.engine.primary(), arguments.into_arguments()?);
        let deadline = self.options().call_deadline();
        let call = async || {
            let repo = self.with_call_timeout(deadline.saturating_duration_since(Instant::now()));
            repo.call_region(&primary.region(), function, arguments.clone(), key.clone(), session).await
        };
        if primary.is_region_gone() {
            primary.find_region(deadline).await;
        }
        match call().await {
            // Nothing was executed. The primary may be in another region now.
            Err(error) if is_out_of_reach(&error) && primary.find_region(deadline).await => call().await,
            outcome => outcome,
        }
    }

    /// Advances the session in the node's other databases, since the function may have written to them too: the next
    /// read of such a database waits. Returns the position in this handle's own database.
    ///
    /// Nodes of other regions than the primary one have no positions. What a function has forwarded from there is committed at
    /// an unknown one.
    fn advance_to(&self, before: &Session, has_forwarded: bool, positions: &[proto::Position]) -> Option<Position> {
        let mut own = None;
        if has_forwarded && self.options().wait != Wait::Never {
            let is_known = |name: &DatabaseName| positions.iter().any(|known| known.database == name.as_str());
            self.catalog
                .keys()
                .filter(|name| !is_known(name))
                .for_each(|name| self.engine.session.of(name).lost_track());
        }
        for message in positions {
            let position = Position::from_proto(message);
            match self.catalog.keys().find(|known| known.as_str() == message.database) {
                Some(database) if database.as_str() == self.database_name() => own = position,
                Some(database) if self.options().wait != Wait::Never => {
                    let session = self.engine.session.of(database);
                    let before = before.of(database).positions();
                    position.map_or_else(|| session.lost_track(), |position| session.advance_past(&before, position));
                }
                // This node cannot read a database that it does not have.
                Some(_) | None => {}
            }
        }
        own
    }

    /// Advances the session past the writes that a function had committed before it failed: later reads have to see
    /// them.
    fn note_partial_writes(&self, before: &Session, is_elsewhere: bool, error: homing_rpc::Error) -> Error {
        if error.is_executed()
            && let Some(position) = self.advance_to(before, is_elsewhere, error.positions())
            && self.options().wait != Wait::Never
        {
            self.engine.session.advance_past(&before.positions(), position);
        }
        error.into()
    }
}

const OPERATION: &str = "rpc";
