//! What the executor does with the keys of requests: it looks for them, and settles them.

use futures_util::FutureExt;
use homing_proto::v1 as proto;
use homing_rpc::Reason;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Error, Statement};

use super::claims::{Claim, recall, settle};
use crate::connection::pool::Connection;
use crate::executor::Executor;
use crate::executor::failure::Failure;
use crate::outcome::key::IdempotencyKey;
use crate::outcome::known::{Known, Start};
use crate::outcome::once::Once;
use crate::position::Position;
use crate::position::role::Role;

/// What to do with a request that has a key.
#[derive(Debug)]
pub(crate) enum Looked {
    /// It may run, with this claim.
    Run(Claim),

    /// An earlier attempt is committed.
    Committed(Option<Vec<u8>>),

    /// It must not run, since its caller was not told that the key was settled that many times.
    Settled(i32),

    Reused,

    /// What became of earlier attempts cannot be known.
    Unprotected,
}

impl Executor {
    /// Looks for the key if the request may have been sent before, and prepares its claim.
    ///
    /// # Errors
    ///
    /// Nothing was executed. Unprotected, for a first attempt, if there is no table: the caller may send it without a key.
    pub(crate) async fn look(&self, connection: &Connection, once: Once, fingerprint: i64) -> Result<Looked, Failure> {
        if connection.role() == Role::Replica {
            // It has no claims of its own, and cannot make any.
            return Err(Failure::not_primary(self.pool.address()));
        }
        let statement = match self.claim_statement(connection).await.map_err(unavailable)? {
            Some(statement) => statement,
            None if once.again => return Ok(Looked::Unprotected),
            None => {
                let message = format!("the database at {} has no table of outcomes", self.pool.address());
                return Err(Failure::NotExecuted(Reason::Unprotected, message));
            }
        };
        let known = match once.again {
            true => recall(connection, once.key, fingerprint).await.map_err(unavailable)?,
            false => Known::Nothing,
        };
        Ok(match known.start(once.fence) {
            Start::Run(fence) => Looked::Run(Claim::new(statement, once, fingerprint, fence)),
            Start::Committed(result) => Looked::Committed(result),
            Start::Settled(fence) => Looked::Settled(fence),
            Start::Reused => Looked::Reused,
        })
    }

    /// Settles a key: if it is not committed, no attempt that was sent before will be. With a fingerprint, tells whether
    /// another request has used the key, and otherwise the result. `None` if there is no table.
    ///
    /// # Errors
    ///
    /// Nothing is known, or the server is a replica.
    pub(crate) async fn settle(
        &self,
        key: IdempotencyKey,
        fingerprint: Option<i64>,
        deadline: Instant,
    ) -> Result<Option<Known>, Failure> {
        let unknown = |cause: String| Failure::Unknown(format!("what became of it cannot be asked for: {cause}"));
        let connection = self.pool.writing_connection(deadline).await.map_err(|error| unknown(error.to_string()))?;
        if connection.role() == Role::Replica {
            return Err(Failure::not_primary(self.pool.address()));
        }
        let settling = async {
            let Some(_) = self.claim_statement(&connection).await? else { return Ok(None) };
            settle(&connection, key, fingerprint).await.map(Some)
        };
        match timeout_at(deadline, settling).await {
            Ok(settled) => settled.map_err(|error: Error| unknown(error.to_string())),
            Err(_) => {
                connection.discard();
                Err(unknown("the database did not answer in time".into()))
            }
        }
    }

    /// Settles a key on a primary that has these positions in its history, and says what became of it.
    pub(crate) async fn outcome(
        &self,
        key: IdempotencyKey,
        session: &[Position],
        deadline: Instant,
    ) -> Result<proto::SettleResponse, Failure> {
        use proto::settle_response::Outcome;
        // Boxed, since the compiler limits how deep futures may be nested, and applications nest further.
        match self.check_session(session, deadline).boxed().await {
            // The outcome is what the session has to know now.
            Ok(()) | Err(Failure::NotExecuted(Reason::HistoryLost, _)) => {}
            Err(failure) => return Err(failure),
        }
        let (outcome, fence) = match self.settle(key, None, deadline).boxed().await? {
            None => (Outcome::Unspecified, 0),
            Some(Known::Committed(_)) => (Outcome::Committed, 0),
            Some(Known::Settled(fence)) => (Outcome::NotCommitted, fence),
            Some(Known::Nothing | Known::Reused) => (Outcome::NotCommitted, 0),
        };
        let position = match outcome {
            Outcome::Committed => self.probe(deadline).await.position(),
            Outcome::NotCommitted | Outcome::Unspecified => None,
        };
        let position = position.map(|position| position.to_proto(""));
        Ok(proto::SettleResponse { outcome: outcome.into(), position, fence })
    }

    /// Prunes the table, if that was not done yet in this interval of keys.
    pub(crate) fn prune_claims(&self) {
        self.claims.prune(self.own_pool.as_ref().unwrap_or(&self.pool));
    }

    /// Returns the statement that claims a key. `None` if the server has no table of outcomes, and the node's role may not
    /// create it.
    async fn claim_statement(&self, connection: &Connection) -> Result<Option<Statement>, Error> {
        self.claims.statement(connection, self.own_pool.as_ref()).await
    }
}

fn unavailable(error: Error) -> Failure {
    Failure::unavailable(format!("the database did not answer about the key of the write: {error}"))
}
