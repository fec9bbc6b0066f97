//! Calls of named functions in the primary region.

use homing_proto::v1 as proto;
use homing_rpc::{Called, IntoArguments};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::Instrument;

use super::Repo;
use super::write::{Committed, report};
use crate::home::Trip;
use crate::report::AnsweredBy;
use crate::{Error, Position, Result, Wait};

/// # Named functions
///
/// A function runs in the primary region, next to the database: what takes a round trip for each statement from here
/// takes one in all. Arguments and results are anything that serde knows. A reference is one argument, a tuple is
/// several: `repo.rpc("import", &names)`, `repo.rpc("transfer", (from, to, amount))`.
///
/// A call is sent at most once. If the answer is lost the error is
/// [`is_outcome_unknown`](crate::Error::is_outcome_unknown).
impl Repo {
    /// Calls a function and waits until the replica here has replayed what it wrote.
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
    /// [`is_function_failed`](crate::Error::is_function_failed) if the function returned an error;
    /// [`is_unknown_function`](crate::Error::is_unknown_function) if the primary region has none of that name. See
    /// [`Error`](crate::Error) for the others.
    pub async fn rpc_and_wait<R>(&self, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        self.call(function, arguments).await
    }

    /// Calls a function and does not wait for the replica here. The next read through this handle does, so that it sees
    /// what the function wrote, unless the handle's option is [`Wait::Never`].
    ///
    /// # Errors
    ///
    /// As [`rpc_and_wait`](Self::rpc_and_wait).
    pub async fn rpc<R>(&self, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        self.without_waiting().call(function, arguments).await
    }

    async fn call<R>(&self, function: &str, arguments: impl IntoArguments + Send) -> Result<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        if self.in_transaction() {
            return Err(Error::misuse(format!(
                "function {function:?} was called through the handle of a transaction, but functions run on connections \
                 of their own: call it through another handle, before or after the transaction"
            )));
        }
        let span = self.span("rpc");
        async {
            let started = Instant::now();
            let called = self.rpc_client().call_primary(function, arguments, self.options().call_timeout).await;
            let called: Called<R> = called.map_err(|error| self.note_what_remains(error))?;
            let position = position_of(&called.positions);
            let trip = Trip {
                answered_by: called.peer.map_or(AnsweredBy::Here, AnsweredBy::Peer),
                attempts: called.attempts,
                route: called.route,
                forward: called.forward.saturating_sub(called.execute),
                execute: called.execute,
            };
            let report = report("rpc", started, &trip, position);
            self.settle(Committed { value: Ok(called.value), position, report }).await
        }
        .instrument(span)
        .await
    }

    /// What a function had committed before it failed stays committed, and has to be seen like any other write.
    fn note_what_remains(&self, error: homing_rpc::Error) -> Error {
        if let Some(position) = position_of(error.positions())
            && self.options().wait != Wait::Never
        {
            self.session.advance(position);
        }
        error.into()
    }
}

/// The position in the node's only database.
fn position_of(positions: &[proto::Position]) -> Option<Position> {
    let position = positions.iter().find(|position| position.database.is_empty())?;
    Position::try_from(position).ok()
}
