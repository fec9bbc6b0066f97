//! One look at the database here and at the primary region.

use std::time::Duration;

use homing::{Position, Repo, Role};
use homing_proto::v1 as proto;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) role: Option<Role>,
    pub(super) position: Option<Position>,
    pub(super) lag: Option<Duration>,
    pub(super) primary_reachable: bool,
    /// How far the primary was when its node last heard of it.
    primary_position: Option<Position>,
}

/// Since when the primary is known to have more than the replica here.
///
/// A replica that is cut off from its primary has replayed all it received, and calls that no lag.
#[derive(Debug, Default)]
pub(super) struct Lag(Option<Missing>);

#[derive(Debug)]
struct Missing {
    position: Position,
    since: Instant,
}

impl Look {
    /// Looks, for a few seconds at most.
    pub(super) async fn at(repo: &Repo) -> Self {
        let mut look = Self::here(repo).await;
        if look.role == Some(Role::Primary) {
            look.primary_reachable = true;
            return look;
        }
        let region = repo.primary_region();
        match repo.rpc_client().describe(region, TIMEOUT).await {
            Ok(described) => {
                let primary = proto::database_state::Role::Primary;
                let found = described.databases.iter().find(|database| database.role() == primary);
                look.primary_reachable = found.is_some();
                look.primary_position = found.and_then(|database| database.position.as_ref()?.try_into().ok());
            }
            Err(error) => debug!(%error, %region, "the primary region does not answer"),
        }
        look
    }

    async fn here(repo: &Repo) -> Self {
        let Some(database) = repo.database() else {
            return Self::default();
        };
        match timeout(TIMEOUT, database.tracker().look()).await {
            Ok(Ok(state)) => {
                let lag = if state.role == Role::Primary { Some(Duration::ZERO) } else { state.lag };
                Self { role: Some(state.role), position: Some(state.position), lag, ..Self::default() }
            }
            Ok(Err(error)) => {
                debug!(%error, "the database here does not answer");
                Self::default()
            }
            Err(_) => {
                debug!("the database here does not answer in time");
                Self::default()
            }
        }
    }

    /// Whether the replica here certainly has not replayed this yet.
    fn lacks(&self, wanted: Position) -> bool {
        self.position.is_some_and(|here| {
            (here.system_identifier, here.timeline) == (wanted.system_identifier, wanted.timeline)
                && here.lsn < wanted.lsn
        })
    }
}

impl Lag {
    /// The lag as the replica says it, or as the time for which something is known to be missing, if that is longer.
    pub(super) fn learn(&mut self, look: &Look, now: Instant) -> Option<Duration> {
        if self.0.as_ref().is_some_and(|missing| !look.lacks(missing.position)) {
            self.0 = None;
        }
        if self.0.is_none() {
            let position = look.primary_position.filter(|position| look.lacks(*position));
            self.0 = position.map(|position| Missing { position, since: now });
        }
        let missing = self.0.as_ref().map(|missing| now.duration_since(missing.since));
        look.lag.max(missing)
    }
}

/// A health check gives up after a few seconds, and would rather have an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
