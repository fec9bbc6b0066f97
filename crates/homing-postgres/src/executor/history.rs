//! Compares the history of the server with the positions that a caller's session has to see.

use homing_proto::v1 as proto;
use homing_rpc::Reason;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::Executor;
use super::failure::Failure;
use crate::connection::address::Address;
use crate::connection::known::Server;
use crate::connection::pool::Connection;
use crate::error::function::with_causes;
use crate::position::history::TimelineHistory;
use crate::position::state::Verdict;
use crate::position::{Position, SystemIdentifier, Timeline};

impl Executor {
    /// Refuses a request before anything runs if the server is of another cluster than the caller expects.
    pub(crate) fn check_cluster(&self, connection: &Connection) -> Result<(), Failure> {
        match self.expected {
            Some(expected) if expected != connection.system_identifier() => {
                Err(other_cluster(self.pool.address(), connection.system_identifier(), expected))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a request before anything runs if the server is of another [cluster](Self::check_cluster) than the caller
    /// expects, or if it is a primary whose history does not have these positions, or cannot be shown to have them. A
    /// position of the server's own timeline takes no question. Neither does a replica: its callers wait for the position.
    pub(crate) async fn check_history(
        &self,
        connection: &Connection,
        session: &[Position],
        deadline: Instant,
    ) -> Result<(), Failure> {
        self.check_cluster(connection)?;
        let Some(timeline) = connection.timeline() else { return Ok(()) };
        let of_this_cluster = |position: &&Position| position.system_identifier == connection.system_identifier();
        for &position in session.iter().filter(of_this_cluster) {
            if position.timeline > timeline {
                return Err(self.old_primary(position, timeline));
            }
            if position.timeline < timeline && !self.has_survived(connection, position, timeline, deadline).await? {
                return Err(self.lost(position, timeline));
            }
        }
        Ok(())
    }

    /// Refuses work that takes connections of its own, as [`check_history`](Self::check_history) refuses a request.
    pub(crate) async fn check_session(&self, session: &[Position], deadline: Instant) -> Result<(), Failure> {
        let has_timeline_of = |server: Server| {
            let of_this_cluster = |position: &&Position| position.system_identifier == server.system_identifier;
            session.iter().filter(of_this_cluster).all(|position| server.timeline == Some(position.timeline))
        };
        if self.pool.server().is_some_and(has_timeline_of) {
            return Ok(());
        }
        let connection = self.pool.connection(deadline).await;
        let connection = connection.map_err(|error| Failure::unavailable(with_causes(&error)))?;
        self.check_history(&connection, session, deadline).await
    }

    /// Returns whether a position of an earlier timeline is in the server's history. The tracker knows if it followed the
    /// server at that time. Otherwise the history file tells, if this role may read it.
    async fn has_survived(
        &self,
        connection: &Connection,
        position: Position,
        timeline: Timeline,
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let own = match &self.own_pool {
            Some(pool) => {
                Some(pool.connection(deadline).await.map_err(|error| Failure::unavailable(with_causes(&error)))?)
            }
            None => None,
        };
        let server = connection.server_id();
        let connection = own.as_ref().unwrap_or(connection);
        let asked = async {
            if let Ok(Verdict::Reached) = self.tracker.check(position).await
                && self.pool.known().is(server)
            {
                return Ok(true);
            }
            if connection.server_id() != server {
                return Ok(false);
            }
            let may_read: bool = connection.query_one(MAY_READ_FILE, &[]).await?.try_get(0)?;
            if !may_read {
                return Ok(false);
            }
            let file = connection.query_one(READ_FILE, &[&TimelineHistory::file(timeline)]).await?;
            let text: Option<&str> = file.try_get(0)?;
            Ok::<_, tokio_postgres::Error>(text.is_some_and(|text| TimelineHistory::parse(text).contains(position)))
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(has_survived)) => Ok(has_survived),
            Ok(Err(error)) if error.as_db_error().is_some() => {
                debug!(%error, "cannot read the history of the primary's timeline");
                Ok(false)
            }
            Ok(Err(_)) | Err(_) => Err(Failure::unavailable(format!(
                "the database at {} did not report its history in time",
                self.pool.address()
            ))),
        }
    }

    fn old_primary(&self, position: Position, timeline: Timeline) -> Failure {
        Failure::NotExecuted(
            Reason::NotPrimary,
            format!(
                "the database at {} is an old primary: it is on timeline {timeline}, and this session has seen {position}, \
                 which is of a later one",
                self.pool.address()
            ),
        )
    }

    fn lost(&self, position: Position, timeline: Timeline) -> Failure {
        Failure::NotExecuted(
            Reason::HistoryLost,
            format!(
                "the primary at {} was promoted to timeline {timeline}, and its history does not have {position}, or \
                 cannot be shown to have it: what this session wrote or saw up to there may be lost; read what the call \
                 depends on, and call again: the session goes on without it",
                self.pool.address()
            ),
        )
    }
}

/// Returns the refusal of a request that expects another cluster behind this node.
pub(crate) fn other_cluster(address: &Address, ours: SystemIdentifier, expected: SystemIdentifier) -> Failure {
    Failure::NotExecuted(
        Reason::OtherCluster,
        format!(
            "the database at {address} belongs to the cluster {ours}, and the caller expects the cluster {expected}, that of \
             its own replica: correct the connection strings of one of the two nodes, or build the replica anew"
        ),
    )
}

/// Returns the positions in a request. Those that this build cannot read are of no server.
pub(crate) fn positions(session: &[proto::Position]) -> Vec<Position> {
    session.iter().filter_map(Position::from_proto).collect()
}

/// By default, superusers only.
const MAY_READ_FILE: &str =
    "select has_function_privilege('pg_catalog.pg_read_file(text,bigint,bigint,boolean)', 'execute')";

/// NULL if the file is missing. A timeline takes some tens of bytes.
const READ_FILE: &str = "select pg_catalog.pg_read_file($1, 0, 1048576, true)";
