//! Asks the primary what became of a write.

use std::sync::Arc;

use futures_util::FutureExt;
use homing_proto::v1 as proto;
use homing_rpc::{Dispatched, Retry, explain_unimplemented};
use proto::settle_response::Outcome as Told;
use tokio::time::Instant;

use super::execute::to_wire;
use super::rejection::failed;
use super::{Primary, PrimaryRequest, local_place, peer_place};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::outcome::key::IdempotencyKey;
use crate::position::Position;
use crate::replicas::Member;

/// What became of a write, and a position that is not before its commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) position: Option<Position>,
    /// How often the key was settled, if the write is not committed.
    pub(crate) fence: i32,
}

struct Settle {
    key: IdempotencyKey,
    session: Vec<Position>,
    deadline: Instant,
}

impl Primary {
    /// Settles a key: if its write is not committed, no attempt that was sent before will be.
    ///
    /// # Errors
    ///
    /// Not sent: nothing is known. Misuse if the database has no table of outcomes.
    pub(crate) async fn settle(&self, key: IdempotencyKey, session: &[Position], deadline: Instant) -> Result<Settled> {
        let session = session.to_vec();
        let settled = self.send(&Settle { key, session, deadline }).await;
        // To ask again is safe.
        settled.map_err(|error| match error.is_outcome_unknown() {
            true => Error::not_sent(format!("what became of the write is still unknown: {error}")).with_source(error),
            false => error,
        })
    }
}

impl PrimaryRequest for Settle {
    type Answer = Settled;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, _: &Primary, member: &Arc<Member>) -> Result<Settled> {
        let database = member.database();
        let place = local_place(database);
        let response = database.executor().outcome(self.key, &self.session, self.deadline).boxed().await;
        settled(response.map_err(|failure| failed(failure, &place))?, self.key, &place)
    }

    async fn forward(&self, primary: &Primary) -> Result<Settled> {
        let request = proto::SettleRequest {
            database: primary.scope.database.as_str().to_owned(),
            key: self.key.as_bytes().to_vec().into(),
            session: to_wire(&self.session),
        };
        let settle = |mut client: super::DatabaseClient<_>, request| async move {
            client.settle(request).await.map_err(explain_unimplemented)
        };
        // Boxed, since the compiler limits how deep futures may be nested, and applications nest further.
        let dispatched = primary.dispatch("outcome", Retry::Always, self.deadline, settle, request).boxed().await?;
        let Dispatched { response, peer, .. } = dispatched;
        settled(response, self.key, &peer_place(&peer))
    }
}

fn settled(response: proto::SettleResponse, key: IdempotencyKey, place: &str) -> Result<Settled> {
    let outcome = match response.outcome() {
        Told::Committed => Outcome::Committed,
        Told::NotCommitted if key.has_expired() => Outcome::Expired,
        Told::NotCommitted => Outcome::NotCommitted,
        Told::Unspecified => {
            return Err(Error::misuse(format!(
                "{place} has no table of outcomes, so what became of the write cannot be known: see migration_sql"
            )));
        }
    };
    let position = response.position.as_ref().and_then(Position::from_proto);
    Ok(Settled { outcome, position, fence: response.fence })
}
