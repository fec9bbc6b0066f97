//! The response to a request, from how its statements ended.

use std::time::Duration;

use homing_proto::v1 as proto;
use proto::execute_response::Outcome;
use proto::rejection::Cause;
use tokio_postgres::error::SqlState;

use super::RunOutcome;
use crate::statement::kind::Written;

impl RunOutcome {
    /// Returns the outcome after a cancel request: a statement that PostgreSQL cancelled has exceeded its deadline.
    pub(crate) fn after_cancellation(self) -> Self {
        match self {
            Self::Rejected { error, statement } if error.code() == &SqlState::QUERY_CANCELED => {
                Self::DeadlineExceeded { statement }
            }
            ended => ended,
        }
    }

    pub(crate) fn into_response(self, execute: Duration) -> proto::ExecuteResponse {
        let rejection =
            |statement, cause| (Outcome::Rejection(proto::Rejection { statement, cause: Some(cause) }), None);
        let unchanged = matches!(self, Self::Committed { written: Written::Nothing, .. });
        let not_replicated = matches!(self, Self::Committed { not_replicated: true, .. });
        let (outcome, position) = match self {
            Self::Committed { results, position, .. } => (Outcome::Results(results), position.position()),
            Self::Rejected { statement, error } => rejection(statement, Cause::DatabaseError(error.to_proto())),
            Self::DeadlineExceeded { statement } => {
                rejection(statement, Cause::DeadlineExceeded(proto::DeadlineExceeded {}))
            }
            Self::Unmet { statement, unmet } => rejection(Some(statement), unmet.into()),
            Self::LeftOpen => rejection(None, Cause::OpenTransaction(proto::OpenTransaction {})),
            // Whoever asked for the key has settled it.
            Self::Interrupted { .. } | Self::Taken => {
                rejection(None, Cause::KeySettled(proto::KeySettled { fence: 0 }))
            }
            Self::KeySettled(fence) => rejection(None, Cause::KeySettled(proto::KeySettled { fence })),
            Self::KeyReused => rejection(None, Cause::KeyReused(proto::KeyReused {})),
            Self::Unprotected => rejection(None, Cause::Unprotected(proto::Unprotected {})),
        };
        proto::ExecuteResponse {
            outcome: Some(outcome),
            position: position.map(|position| position.to_proto("")),
            execute_micros: u64::try_from(execute.as_micros()).unwrap_or(u64::MAX),
            unchanged,
            not_replicated,
            snapshot: None,
        }
    }
}
