//! [`Backends`], the servers behind an address that is spread over several of them.
//!
//! The tracker's own connection leads to one of them and says nothing of the others. So each read asks on its own connection,
//! with the question of a probe.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Error;

use super::history::History;
use super::probe::ProbeQuery;
use super::waiters::Found;
use crate::connection::pool::Connection;
use crate::position::lsn::Lsn;
use crate::position::role::Role;
use crate::position::shown::Shown;
use crate::position::state::{ServerId, ServerState, Verdict};
use crate::position::{Position, Timeline};

/// What has been learned of each server behind an address, on all connections to it.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// The lock is held to read or replace an entry only. At most [`MAX_BACKENDS`].
    servers: Mutex<BTreeMap<ServerId, Backend>>,
    /// When a connection was last closed because its server lagged.
    renewed_at: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Backend {
    history: History,
    /// Its last answer.
    state: ServerState,
}

/// What a server has to have for a read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requirements {
    pub(crate) positions: Vec<Position>,

    /// What earlier reads have seen on servers behind this address.
    pub(crate) shown: Vec<Shown>,
}

impl Backends {
    /// Asks the server of a connection, unless it is known to have everything.
    pub(super) async fn ask(&self, connection: &Connection, required: &Requirements) -> Result<Verdict, Error> {
        let known = Found { state: self.known(connection.server_id()), visible: Default::default() };
        if required.verdict(&known) == Verdict::Reached {
            return Ok(Verdict::Reached);
        }
        // An answer that leaves a doubt and holds no evidence will be clearer soon.
        Ok(self.probe(connection, required).await?.map_or(Verdict::NotYet, |found| required.verdict(&found)))
    }

    /// Asks the server of a connection what it shows.
    pub(super) async fn shown(&self, connection: &Connection) -> Result<Option<Shown>, Error> {
        let found = self.probe(connection, &Requirements::default()).await?;
        Ok(found.and_then(|found| Shown::by(&found.state)))
    }

    /// Returns whether a connection to a server that lags may be closed, so that a new one leads to another server.
    pub(super) fn may_renew(&self) -> bool {
        let now = Instant::now();
        let mut renewed_at = self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may = renewed_at.is_none_or(|at| now >= at + RENEWAL_INTERVAL);
        if may {
            *renewed_at = Some(now);
        }
        may
    }

    async fn probe(&self, connection: &Connection, required: &Requirements) -> Result<Option<Found>, Error> {
        let server = connection.server_id();
        let query = ProbeQuery::Transactions(connection.abilities());
        let statement = connection.statement(&query.sql()).await?;
        let transactions: Vec<_> = required.positions.iter().filter_map(|position| position.transaction).collect();
        let row = connection.query_one(&statement, &[&transactions]).await?;
        let (answer, visible) = (query.read(&row)?, ProbeQuery::read_visible(&row)?);
        let of_cluster = |position: &&Position| position.system_identifier == server.system_identifier;
        let newest = required.positions.iter().filter(of_cluster).map(|position| position.timeline).max();
        let mut servers = self.servers();
        if servers.len() >= MAX_BACKENDS && !servers.contains_key(&server) {
            // The one that was started first.
            servers.pop_first();
        }
        let backend = servers.entry(server).or_insert_with(|| Backend::new(server));
        let state = backend.history.read(&answer, newest, Instant::now());
        Ok(state.map(|state| {
            backend.state = ServerState { server: Some(server), ..state };
            Found { state: backend.state, visible }
        }))
    }

    /// Returns the last answer of a server.
    fn known(&self, server: ServerId) -> ServerState {
        self.servers().get(&server).map_or_else(|| nothing_known(server), |backend| backend.state)
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<ServerId, Backend>> {
        // No code under the lock panics in the middle of a change.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend {
    fn new(server: ServerId) -> Self {
        Self { history: History::new(server.system_identifier), state: nothing_known(server) }
    }
}

impl Requirements {
    /// Returns whether a server has everything, or else the verdict that is the least hopeful.
    fn verdict(&self, found: &Found) -> Verdict {
        let positions = self.positions.iter().map(|position| match found.shows(*position) {
            true => Verdict::Reached,
            false => found.state.compare(*position),
        });
        let shown = self.shown.iter().map(|shown| match shown.is_shown_by(&found.state) {
            true => Verdict::Reached,
            false => Verdict::NotYet,
        });
        positions.chain(shown).max_by_key(|verdict| hopelessness(*verdict)).unwrap_or(Verdict::Reached)
    }
}

fn hopelessness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Reached => 0,
        Verdict::NotYet => 1,
        Verdict::OtherTimeline => 2,
        Verdict::OtherSystem => 3,
    }
}

/// Returns the state of a server that has not been asked.
fn nothing_known(server: ServerId) -> ServerState {
    let position = Position::new(server.system_identifier, Timeline::UNKNOWN, Lsn::INVALID);
    ServerState { server: Some(server), ..ServerState::new(Role::Replica, position) }
}

/// The time between two connections that are closed because their servers lag. A pool of 16 is renewed within two seconds, and
/// reads that wait together, however many they are, open no more connections than that.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(100);

/// How many servers are remembered: more than an address usually has, with those that were started again.
const MAX_BACKENDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(started_at: i64) -> ServerId {
        ServerId { system_identifier: 7.into(), started_at }
    }

    fn state(server: i64, finished: u64, next: u64) -> ServerState {
        ServerState {
            server: Some(id(server)),
            finished_before: Some(finished.into()),
            next_transaction: Some(next.into()),
            ..ServerState::new(Role::Replica, Position::new(7, 1, Lsn::INVALID))
        }
    }

    #[test]
    fn everything_has_to_be_there() {
        use Verdict::{NotYet, OtherSystem, OtherTimeline, Reached};
        let by = |timeline: u32, transaction: u64| Position::by_transaction(7, timeline, transaction);
        let elsewhere = Position { system_identifier: 8.into(), ..by(1, 1) };
        let shown = Shown::by(&state(1, 890, 900)).unwrap();
        let found = |server, finished, next, visible: &[u64]| Found {
            state: state(server, finished, next),
            visible: visible.iter().map(|id| (*id).into()).collect(),
        };
        for (positions, shown, found, expected) in [
            (vec![], vec![], Found { state: nothing_known(id(2)), ..found(2, 0, 0, &[]) }, Reached),
            (vec![], vec![shown], Found { state: nothing_known(id(1)), ..found(2, 0, 0, &[]) }, Reached),
            (vec![], vec![shown], Found { state: nothing_known(id(2)), ..found(2, 0, 0, &[]) }, NotYet),
            (vec![by(1, 895)], vec![shown], found(1, 890, 900, &[]), NotYet),
            (vec![by(1, 895)], vec![shown], found(1, 890, 900, &[895]), Reached),
            (vec![by(1, 895)], vec![shown], found(2, 890, 900, &[895]), NotYet),
            (vec![by(1, 895)], vec![shown], found(2, 900, 910, &[]), Reached),
            (vec![by(1, 895), by(1, 905)], vec![], found(2, 900, 910, &[]), NotYet),
            (vec![by(0, 895), by(1, 905)], vec![], found(2, 900, 910, &[]), OtherTimeline),
            (vec![by(0, 895), elsewhere], vec![], found(2, 900, 910, &[]), OtherSystem),
        ] {
            let required = Requirements { positions, shown };
            assert_eq!(required.verdict(&found), expected, "{required:?} on {found:?}");
        }
    }
}
