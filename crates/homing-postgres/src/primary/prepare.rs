//! Asks the primary for the types of a statement.

use std::sync::Arc;

use homing_proto::v1 as proto;
use homing_rpc::Retry;
use proto::prepare_response::Outcome;
use tokio::time::Instant;

use super::rejection::failed;
use super::{Primary, PrimaryRequest, local_place, peer_place};
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::replicas::Member;
use crate::statement::description::StatementDescription;

struct Prepare<'a> {
    sql: &'a str,
    deadline: Instant,
}

impl Primary {
    /// Prepares a statement on the primary, and returns its types.
    pub(crate) async fn prepare(&self, sql: &str, deadline: Instant) -> Result<StatementDescription> {
        self.send(&Prepare { sql, deadline }).await
    }
}

impl PrimaryRequest for Prepare<'_> {
    type Answer = StatementDescription;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, primary: &Primary, member: &Arc<Member>) -> Result<StatementDescription> {
        let database = member.database();
        let place = local_place(database);
        let local = primary.local().clone();
        let response = database.executor().prepare(self.sql.to_owned(), local, self.deadline).await;
        description(response.map_err(|failure| failed(failure, &place))?, place)
    }

    async fn forward(&self, primary: &Primary) -> Result<StatementDescription> {
        let request = proto::PrepareRequest { database: primary.scope.to_wire(), sql: self.sql.to_owned() };
        let dispatched = primary
            .dispatch(
                "prepare",
                Retry::Always,
                self.deadline,
                |mut client, request| async move { client.prepare(request).await },
                request,
            )
            .await?;
        description(dispatched.response, peer_place(&dispatched.peer))
    }
}

fn description(response: proto::PrepareResponse, place: String) -> Result<StatementDescription> {
    let unreadable = || {
        Error::not_sent(format!(
            "{place} sent a description of the statement that this build cannot read: update this node"
        ))
    };
    match response.outcome {
        Some(Outcome::Statement(statement)) => StatementDescription::from_proto(statement).ok_or_else(unreadable),
        Some(Outcome::Rejected(error)) => Err(Error::rejected_by(DatabaseError::from_proto(error), place)),
        None => Err(unreadable()),
    }
}
