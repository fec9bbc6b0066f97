//! One look at the database here and at the primary region.

use std::time::Duration;

use homing::Repo;
use homing::database::Role;
use homing::position::Position;
use homing::replicas::Health as ReplicaHealth;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) role: Option<Role>,
    pub(super) position: Option<Position>,
    pub(super) lag: Option<Duration>,
    pub(super) primary_reachable: bool,
    /// How far the primary was.
    primary_position: Option<Position>,
}

/// Since when the primary is known to have more than the replica here.
///
/// A replica whose link carries nothing has replayed all it received, and calls that no lag until its receiver gives up
/// (`wal_receiver_timeout`, a minute by default).
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
        // What a node there remembers of its database is not enough: the database itself is asked, on the way that writes
        // take.
        let asking = repo.with_call_timeout(TIMEOUT);
        // The limit of a call is that of its statement: a database that hangs is given some time for its cancellation.
        let (here, primary) = tokio::join!(Self::here(repo), timeout(TIMEOUT, asking.primary_position()));
        let is_busy = match &primary {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => {
                debug!(%error, region = %repo.primary_region(), "the primary does not answer");
                error.is_overloaded()
            }
            Err(_) => {
                debug!(region = %repo.primary_region(), "the primary does not answer in time");
                false
            }
        };
        let primary_position = primary.ok().and_then(Result::ok);
        let primary_reachable = primary_position.is_some() || is_busy || here.role == Some(Role::Primary);
        Self { primary_reachable, primary_position, ..here }
    }

    async fn here(repo: &Repo) -> Self {
        let Some(database) = repo.database() else {
            return Self::left_out(repo);
        };
        match timeout(TIMEOUT, database.tracker().probe()).await {
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

    /// No replica is read from. One that is only too far behind is better known than none.
    fn left_out(repo: &Repo) -> Self {
        let status = repo.replicas().status();
        let behind = status.iter().filter(|replica| replica.health == ReplicaHealth::TooFarBehind);
        let Some(nearest) = behind.min_by_key(|replica| replica.lag) else {
            return Self::default();
        };
        Self { role: nearest.role, lag: nearest.lag, ..Self::default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lsn: u64) -> Option<Position> {
        Some(Position { system_identifier: 7.into(), timeline: 1.into(), lsn: lsn.into() })
    }

    fn look(here: Option<Position>, primary: Option<Position>, lag: Option<u64>) -> Look {
        Look { position: here, primary_position: primary, lag: lag.map(Duration::from_secs), ..Look::default() }
    }

    /// Each line is a second after the one before it.
    #[tokio::test(start_paused = true)]
    async fn what_is_missing_counts_from_when_it_was_heard_of() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let other = at(50).map(|position| Position { timeline: 2.into(), ..position });
        for (second, look, expected) in [
            (0, look(at(10), at(10), Some(0)), Some(0)),
            (1, look(at(10), at(20), Some(0)), Some(0)),
            (2, look(at(10), at(25), Some(0)), Some(1)),
            (3, look(at(15), at(30), Some(0)), Some(2)),
            (4, look(at(15), None, Some(0)), Some(3)),
            // The first that was missing has come, and the next is missing from now on.
            (5, look(at(20), at(40), Some(0)), Some(0)),
            (6, look(at(20), at(40), Some(9)), Some(9)),
            (7, look(at(40), at(40), Some(0)), Some(0)),
            // Numbers of another timeline say nothing.
            (8, look(at(40), other, None), None),
            (9, look(None, at(90), None), None),
        ] {
            let learned = lag.learn(&look, start + Duration::from_secs(second));
            assert_eq!(learned, expected.map(Duration::from_secs), "second {second}");
        }
    }
}
