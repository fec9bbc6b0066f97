//! A probe of the local database and of the primary.

use std::time::Duration;

use homing::Repo;
use homing::database::Role;
use homing::position::Position;
use homing::replicas::Health as ReplicaHealth;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// The results of a probe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probe {
    pub(super) role: Option<Role>,
    pub(super) position: Option<Position>,
    pub(super) lag: Option<Duration>,
    pub(super) primary_reachable: bool,
    /// The position of the primary.
    primary_position: Option<Position>,
}

/// How long the primary has been known to have more than the local replica.
///
/// A replica whose link carries nothing has replayed everything that it received, so it reports no lag until its receiver
/// gives up (`wal_receiver_timeout`, a minute by default).
#[derive(Debug, Default)]
pub(super) struct Lag(Option<Missing>);

#[derive(Debug)]
struct Missing {
    position: Position,
    since: Instant,
}

impl Probe {
    /// Probes both databases at the same time, for 2 s at most.
    pub(super) async fn run(repo: &Repo) -> Self {
        // A peer's memory of its database is not enough: this asks the database itself, on the path of writes.
        let asking = repo.with_call_timeout(TIMEOUT);
        // The limit of a call is that of its statement: a database that hangs gets more time, for its cancellation. So the
        // call has a limit here too.
        let (local, primary) = tokio::join!(Self::local(repo), timeout(TIMEOUT, asking.primary_position()));
        let is_busy = match &primary {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => {
                debug!(%error, region = %repo.current_primary_region(), "the primary does not answer");
                error.is_overloaded()
            }
            Err(_) => {
                debug!(region = %repo.current_primary_region(), "the primary does not answer in time");
                false
            }
        };
        let primary_position = primary.ok().and_then(Result::ok);
        let primary_reachable = primary_position.is_some() || is_busy || local.role == Some(Role::Primary);
        Self { primary_reachable, primary_position, ..local }
    }

    async fn local(repo: &Repo) -> Self {
        let Some(database) = repo.database() else {
            return Self::left_out(repo);
        };
        match timeout(TIMEOUT, database.tracker().probe()).await {
            Ok(Ok(state)) => {
                let position = state.reached();
                // A replica that does not tell its place has no lag besides what the primary is known to have more.
                let has_none = state.role == Role::Primary || position.is_by_transaction();
                let lag = if has_none { Some(Duration::ZERO) } else { state.lag };
                Self { role: Some(state.role), position: Some(position), lag, ..Self::default() }
            }
            Ok(Err(error)) => {
                debug!(%error, "the local database does not answer");
                Self::default()
            }
            Err(_) => {
                debug!("the local database does not answer in time");
                Self::default()
            }
        }
    }

    /// Describes the replica that is the least behind, if this node reads from no replica because all of them lag.
    fn left_out(repo: &Repo) -> Self {
        let status = repo.replicas().status();
        let behind = status.iter().filter(|replica| replica.health == ReplicaHealth::TooFarBehind);
        let Some(nearest) = behind.min_by_key(|replica| replica.lag) else {
            return Self::default();
        };
        Self { role: nearest.role, lag: nearest.lag, ..Self::default() }
    }

    /// Returns whether the local replica certainly has not replayed this position yet.
    fn lacks(&self, wanted: Position) -> bool {
        self.position.is_some_and(|local| {
            let is_same_history =
                (local.system_identifier, local.timeline) == (wanted.system_identifier, wanted.timeline);
            let lacks = match (local.is_by_transaction(), wanted.is_by_transaction()) {
                (true, true) => local.transaction < wanted.transaction,
                (false, false) => local.lsn < wanted.lsn,
                _ => false,
            };
            is_same_history && lacks
        })
    }
}

impl Lag {
    /// Returns the longer of two times: the lag that the replica reports, and how long the primary has been known to have
    /// more.
    pub(super) fn learn(&mut self, probe: &Probe, now: Instant) -> Option<Duration> {
        if self.0.as_ref().is_some_and(|missing| !probe.lacks(missing.position)) {
            self.0 = None;
        }
        if self.0.is_none() {
            let position = probe.primary_position.filter(|position| probe.lacks(*position));
            self.0 = position.map(|position| Missing { position, since: now });
        }
        let missing = self.0.as_ref().map(|missing| now.duration_since(missing.since));
        probe.lag.max(missing)
    }
}

/// The limit of each half of a probe. Proxies give up on a health check after a few seconds, and need an answer before.
const TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lsn: u64) -> Option<Position> {
        Some(Position::new(7, 1, lsn))
    }

    fn by(transaction: u64) -> Option<Position> {
        Some(Position::by_transaction(7, 1, transaction))
    }

    fn probe(local: Option<Position>, primary: Option<Position>, lag: Option<u64>) -> Probe {
        Probe { position: local, primary_position: primary, lag: lag.map(Duration::from_secs), ..Probe::default() }
    }

    /// Each line is one second after the line before it.
    #[tokio::test(start_paused = true)]
    async fn lag_counts_from_first_missing_position() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let other = at(50).map(|position| Position { timeline: 2.into(), ..position });
        for (second, probe, expected) in [
            (0, probe(at(10), at(10), Some(0)), Some(0)),
            (1, probe(at(10), at(20), Some(0)), Some(0)),
            (2, probe(at(10), at(25), Some(0)), Some(1)),
            (3, probe(at(15), at(30), Some(0)), Some(2)),
            (4, probe(at(15), None, Some(0)), Some(3)),
            // The first missing position has been replayed, and the next one is missing from now on.
            (5, probe(at(20), at(40), Some(0)), Some(0)),
            (6, probe(at(20), at(40), Some(9)), Some(9)),
            (7, probe(at(40), at(40), Some(0)), Some(0)),
            // A position of another timeline says nothing.
            (8, probe(at(40), other, None), None),
            (9, probe(None, at(90), None), None),
            (10, probe(by(10), by(20), Some(0)), Some(0)),
            (12, probe(by(15), by(30), Some(0)), Some(2)),
            (13, probe(by(20), by(20), Some(0)), Some(0)),
            (14, probe(by(20), at(40), Some(0)), Some(0)),
        ] {
            let learned = lag.learn(&probe, start + Duration::from_secs(second));
            assert_eq!(learned, expected.map(Duration::from_secs), "second {second}");
        }
    }
}
