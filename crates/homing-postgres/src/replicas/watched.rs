//! [`Watched`], the state of one server in the task, and the time of its next probe. Pure: the time is an argument.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use super::lag::{Behind, Newest};
use super::member::{Member, Origin, PRIMARY};
use super::settings::ReplicaSettings;
use super::status::{Health, ReplicaStatus};
use crate::connection::known::Server;
use crate::connection::session_attrs::{Admission, SessionAttrs};
use crate::database::Database;
use crate::position::role::Role;
use crate::position::state::ServerState;

/// One server of a replica set, as its task knows it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: u64,
    /// The number of its entry.
    pub(super) entry: u64,
    /// Its address and database, which tell it from other servers.
    pub(super) key: String,
    pub(super) database: Database,
    pub(super) origin: Origin,
    /// Its answer to the first query; `None` if it has not answered.
    pub(super) introduced: Option<Server>,
    /// Whether the first query has ended, with or without an answer.
    pub(super) is_known: bool,
    /// Whether it is another address of a server that is already known.
    pub(super) is_alias: bool,
    pub(super) session_attrs: SessionAttrs,
    pub(super) is_being_probed: bool,
    /// The earliest time of the next probe.
    pub(super) probe_at: Instant,
    /// How many reads had been made when the last probe began. `None` if it has to be probed in any case.
    pub(super) probed_reads: Option<u64>,
    health: Health,
    round_trip: Option<Duration>,
    behind: Behind,
    caught_up_at: Option<Instant>,
    /// Probes in a row that found it too far behind.
    over: u32,
    /// Probes in a row without an answer.
    failures: u32,
}

/// How a server's health changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: Health,
    pub(super) to: Health,
}

impl Watched {
    pub(super) fn new(id: u64, entry: u64, key: String, database: Database, origin: Origin, now: Instant) -> Self {
        Self {
            id,
            entry,
            key,
            database,
            origin,
            introduced: None,
            is_known: false,
            is_alias: false,
            session_attrs: SessionAttrs::default(),
            is_being_probed: false,
            probe_at: now,
            probed_reads: Some(0),
            health: Health::Up,
            round_trip: None,
            behind: Behind::default(),
            caught_up_at: None,
            over: 0,
            failures: 0,
        }
    }

    /// Creates the only member of a fixed set.
    pub(super) fn alone(database: Database) -> Member {
        let (name, origin) = match database.config().role {
            Role::Primary => (PRIMARY.into(), Origin::OwnPrimary),
            Role::Replica => (Arc::from(database.pool().address().authority()), Origin::Local),
        };
        Self::new(0, 0, String::new(), database, origin, Instant::now()).member(&name, Arc::clone(&name), None)
    }

    #[cfg(test)]
    fn health(&self) -> Health {
        self.health
    }

    /// Tells whether it is a member that reads may choose.
    pub(super) fn is_visible(&self) -> bool {
        self.is_known && !self.is_alias
    }

    /// Tells whether to probe it. The primary next to this node is not behind, and the search tells if it does not answer.
    /// So probes are not needed. A server that is down may come back with another role.
    pub(super) fn is_worth_probing(&self) -> bool {
        if self.health == Health::Down {
            return self.is_visible();
        }
        let is_own_primary = self.origin == Origin::OwnPrimary && self.database.role() != Some(Role::Replica);
        let is_read_only = self.introduced.is_some_and(|server| server.is_read_only);
        let answers_reads = self.session_attrs.admission(self.database.role(), is_read_only) != Admission::No;
        self.is_visible() && !is_own_primary && answers_reads
    }

    /// Tells whether it answered and is the primary.
    pub(super) fn is_primary(&self) -> bool {
        self.is_visible() && self.health != Health::Down && self.database.role() == Some(Role::Primary)
    }

    /// Notes that the server reported its role, or that it could not be reached, for a search of the primary. The health of
    /// a replica is left to its probes.
    pub(super) fn reported(&mut self, server: Option<Server>, now: Instant) -> Option<Change> {
        self.introduced = server.or(self.introduced);
        match server.map(|server| server.role) {
            Some(Role::Primary) => self.turn(Health::Up),
            Some(Role::Replica) => {
                self.suspect_again(now);
                None
            }
            None if self.is_worth_probing() => None,
            None => self.turn(Health::Down),
        }
    }

    /// Notes the result of the first query. `is_own` tells whether the settings say that it is in this node's region.
    pub(super) fn introduce(&mut self, answer: Option<(Server, Duration)>, is_own: bool, now: Instant) {
        self.is_known = true;
        self.probe_at = now;
        match answer {
            Some((server, round_trip)) => {
                self.introduced = Some(server);
                self.round_trip = Some(round_trip);
                if self.origin == Origin::Local && server.role == Role::Primary && !is_own {
                    self.origin = Origin::Elsewhere;
                }
            }
            None => self.health = Health::Down,
        }
    }

    /// Schedules a probe at once, because a read could not be answered.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.health != Health::Down {
            self.probe_at = now;
            self.probed_reads = None;
        }
    }

    /// Schedules a probe of a replica that is down, since it answers again.
    fn suspect_again(&mut self, now: Instant) {
        if self.health == Health::Down {
            self.probe_at = now;
        }
    }

    /// Returns the time limit of a probe, which may have to connect first.
    pub(super) fn probe_timeout(&self) -> Duration {
        self.round_trip.map_or(PROBE_TIMEOUT, |round_trip| PROBE_PATIENCE + round_trip * ROUND_TRIPS_OF_A_PROBE)
    }

    /// Notes the answer to a probe.
    pub(super) fn answered(
        &mut self,
        state: &ServerState,
        newest: &Newest,
        settings: &ReplicaSettings,
        now: Instant,
    ) -> Option<Change> {
        self.failures = 0;
        if let Some(sample) = state.round_trip {
            self.round_trip = Some(smoothed(self.round_trip, sample));
        }
        // What one server of a spread address has replayed says nothing of the others.
        let is_spread = self.database.is_spread();
        self.behind = if is_spread { Behind::default() } else { newest.behind(state, self.caught_up_at, now) };
        let is_first = self.caught_up_at.is_none() && self.over == 0;
        if self.behind.time == Some(Duration::ZERO) {
            self.caught_up_at = Some(now);
        }
        self.over = if is_over(self.behind, settings) { self.over.saturating_add(1) } else { 0 };
        self.probe_at = now + settings.probe_interval;
        // One probe may fall between the arrival of a commit and its replay. A server that was left out gets no such
        // benefit.
        let is_too_far = self.over > 1 || (self.over == 1 && (is_first || self.health != Health::Up));
        self.turn(if is_too_far { Health::TooFarBehind } else { Health::Up })
    }

    /// Notes that a probe had no answer.
    pub(super) fn did_not_answer(
        &mut self,
        settings: &ReplicaSettings,
        rng: &mut impl Rng,
        now: Instant,
    ) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        self.caught_up_at = None;
        self.behind = Behind::default();
        let doubled = 2_u32.saturating_pow(self.failures - 1);
        let longest = MAX_PROBE_PAUSE.max(settings.probe_interval);
        let pause = settings.probe_interval.saturating_mul(doubled).min(longest);
        self.probe_at = now + pause.mul_f64(rng.random_range(0.5..=1.0));
        self.turn(Health::Down)
    }

    pub(super) fn member(&self, entry: &Arc<str>, name: Arc<str>, region: Option<&homing_rpc::Region>) -> Member {
        let status = ReplicaStatus {
            name,
            region: region.cloned(),
            address: self.database.pool().address().to_string(),
            role: self.database.role(),
            health: self.health,
            round_trip: self.round_trip,
            lag: self.behind.time,
            lag_bytes: self.behind.bytes,
        };
        let (entry, database) = (Arc::clone(entry), self.database.clone());
        let (origin, session_attrs) = (self.origin, self.session_attrs);
        Member { id: self.id, entry, status, database, origin, session_attrs }
    }

    fn turn(&mut self, to: Health) -> Option<Change> {
        let from = std::mem::replace(&mut self.health, to);
        (from != to).then_some(Change { from, to })
    }
}

fn is_over(behind: Behind, settings: &ReplicaSettings) -> bool {
    let too_long = settings.max_lag.is_some_and(|limit| behind.time.is_some_and(|time| time > limit));
    let too_much = settings.max_lag_bytes.is_some_and(|limit| behind.bytes.is_some_and(|bytes| bytes > limit));
    too_long || too_much
}

/// Averages the last few round trips, so that one slow probe does not send reads around the world.
fn smoothed(known: Option<Duration>, sample: Duration) -> Duration {
    known.map_or(sample, |known| (known * 3 + sample) / 4)
}

/// The longest pause between probes of a server that does not answer.
const MAX_PROBE_PAUSE: Duration = Duration::from_secs(5);

/// The time limit of the first probe: as long as the tracker gives a new connection and a query.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit of later probes, besides the round trips: a server that hangs is left out soon, a busy one is not.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// The round trips that a probe may take. Connecting, preparing and asking takes about ten.
const ROUND_TRIPS_OF_A_PROBE: u32 = 20;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::connection::address::Address;
    use crate::position::Position;

    const INTERVAL: Duration = Duration::from_millis(500);

    struct Probes {
        watched: Watched,
        newest: Newest,
        settings: ReplicaSettings,
        now: Instant,
        rng: SmallRng,
    }

    impl Probes {
        async fn begin(settings: ReplicaSettings) -> Self {
            let url = "postgres://app@127.0.0.1/app";
            let address = Address::resolve(url, "V").await.unwrap().remove(0);
            let database = Database::at(address, crate::database::Config::new(url, Role::Replica), Arc::default());
            let now = Instant::now();
            let watched = Watched::new(1, 1, "key".into(), database, Origin::Local, now);
            Self { watched, newest: Newest::new(INTERVAL), settings, now, rng: SmallRng::seed_from_u64(7) }
        }

        /// Probes a replica that has replayed up to `replayed`, while the log is known to reach `known`. Its last
        /// commit is `age` seconds old.
        fn probe(&mut self, replayed: u64, known: u64, age: u64) -> Health {
            self.now += INTERVAL;
            let position = |lsn: u64| Position::new(7, 1, lsn);
            self.newest.hear(position(known), self.now);
            let state = ServerState::new(Role::Replica, position(replayed));
            let state = ServerState { lag: Some(Duration::from_secs(age)), ..state };
            self.watched.answered(&state, &self.newest, &self.settings, self.now);
            self.watched.health()
        }

        fn fail(&mut self) -> Duration {
            self.watched.did_not_answer(&self.settings, &mut self.rng, self.now);
            assert_eq!(self.watched.health(), Health::Down);
            self.watched.probe_at - self.now
        }
    }

    #[tokio::test]
    async fn lagging_replica_is_left_out_until_caught_up() {
        let limit = Duration::from_secs(1);
        let mut probes = Probes::begin(ReplicaSettings::default().with_max_lag(limit)).await;
        assert_eq!(probes.probe(100, 100, 900), Health::Up);
        for _ in 0..3 {
            assert_eq!(probes.probe(100, 200, 900), Health::Up, "it had caught up less than the limit ago");
        }
        assert_eq!(probes.probe(100, 200, 900), Health::TooFarBehind);
        assert_eq!(probes.probe(150, 200, 900), Health::TooFarBehind);
        assert_eq!(probes.probe(200, 200, 900), Health::Up);
    }

    #[tokio::test]
    async fn bytes_count_like_time() {
        let mut probes = Probes::begin(ReplicaSettings::default().with_max_lag(None).with_max_lag_bytes(100)).await;
        assert_eq!(probes.probe(1000, 1000, 0), Health::Up);
        assert_eq!(probes.probe(1000, 1100, 3600), Health::Up);
        assert_eq!(probes.probe(1000, 1101, 0), Health::Up, "one probe may fall between arrival and replay");
        assert_eq!(probes.probe(1000, 1101, 0), Health::TooFarBehind);
        assert_eq!(probes.probe(1001, 1101, 0), Health::Up);
    }

    #[tokio::test]
    async fn returning_replica_has_to_catch_up_first() {
        let mut probes = Probes::begin(ReplicaSettings::default()).await;
        assert_eq!(probes.probe(100, 200, 31), Health::TooFarBehind, "it has never caught up");
        assert_eq!(probes.probe(200, 200, 31), Health::Up);
        probes.fail();
        assert_eq!(probes.probe(200, 300, 31), Health::TooFarBehind);
    }

    #[tokio::test]
    async fn silent_server_is_probed_less_often() {
        let mut probes = Probes::begin(ReplicaSettings::default()).await;
        for step in [500, 1000, 2000, 4000, 5000, 5000] {
            let pause = probes.fail();
            assert!(pause >= Duration::from_millis(step / 2) && pause <= Duration::from_millis(step), "{pause:?}");
        }
        probes.probe(1, 1, 0);
        assert!(probes.fail() <= INTERVAL);
    }

    #[test]
    fn one_slow_probe_weighs_little() {
        let millis = Duration::from_millis;
        assert_eq!(smoothed(None, millis(8)), millis(8));
        assert_eq!(smoothed(Some(millis(8)), millis(80)), millis(26));
        let settled = (0..20).fold(millis(200), |known, _| smoothed(Some(known), millis(8)));
        assert!(settled < millis(9), "{settled:?}");
    }
}
