//! [`Watched`], what the task of a set knows of one server, and when to look at it again. Pure: it is told the time.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use super::lag::{Behind, Newest};
use super::member::{Member, Origin};
use super::settings::ReplicaSettings;
use super::status::{Health, ReplicaStatus};
use crate::connection::pool::Server;
use crate::database::Database;
use crate::position::role::Role;
use crate::position::state::ServerState;

/// One server of a set.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: u64,
    /// The number of its entry.
    pub(super) entry: u64,
    /// The address and database that it is known by.
    pub(super) key: String,
    pub(super) database: Database,
    pub(super) origin: Origin,
    /// What it said of itself when it was added; `None` if it did not answer, or has not yet.
    pub(super) introduced: Option<Server>,
    /// Whether it has been asked at all.
    pub(super) is_known: bool,
    /// The same server as another one of its entry, by another address.
    pub(super) is_alias: bool,
    pub(super) is_looked_at: bool,
    pub(super) look_at: Instant,
    health: Health,
    round_trip: Option<Duration>,
    behind: Behind,
    caught_up_at: Option<Instant>,
    /// Looks in a row at which it was too far behind.
    over: u32,
    /// Looks in a row that brought no answer.
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
            is_looked_at: false,
            look_at: now,
            health: Health::Up,
            round_trip: None,
            behind: Behind::default(),
            caught_up_at: None,
            over: 0,
            failures: 0,
        }
    }

    #[cfg(test)]
    fn health(&self) -> Health {
        self.health
    }

    /// Whether reads may know of it.
    pub(super) fn is_visible(&self) -> bool {
        self.is_known && !self.is_alias
    }

    /// Whether looks tell anything that matters. The primary next to this node is never left out: where it does not
    /// answer, its callers are to be told.
    pub(super) fn is_worth_a_look(&self) -> bool {
        let is_own_primary = self.origin == Origin::OwnPrimary && self.database.role() == Some(Role::Primary);
        self.is_visible() && !is_own_primary
    }

    /// It was asked for the first time.
    pub(super) fn introduce(&mut self, answer: Option<(Server, Duration)>, now: Instant) {
        self.is_known = true;
        self.look_at = now;
        match answer {
            Some((server, round_trip)) => {
                self.introduced = Some(server);
                self.round_trip = Some(round_trip);
                if self.origin == Origin::Here && server.role == Role::Primary {
                    self.origin = Origin::Elsewhere;
                }
            }
            None => self.health = Health::Down,
        }
    }

    /// A read could not be answered: look whether it is down.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.health != Health::Down {
            self.look_at = now;
        }
    }

    /// How long a look may take: a connection and some questions, if there is none.
    pub(super) fn look_timeout(&self) -> Duration {
        self.round_trip.map_or(LOOK_TIMEOUT, |round_trip| LOOK_PATIENCE + round_trip * ROUND_TRIPS_OF_A_LOOK)
    }

    /// A look brought an answer.
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
        self.behind = newest.behind(state, self.caught_up_at, now);
        let is_first = self.caught_up_at.is_none() && self.over == 0;
        if self.behind.time == Some(Duration::ZERO) {
            self.caught_up_at = Some(now);
        }
        self.over = if is_over(self.behind, settings) { self.over.saturating_add(1) } else { 0 };
        self.look_at = now + settings.look_interval;
        // One look may fall between the arrival of a commit and its replay. Who was not in use is not given that.
        let is_too_far = self.over > 1 || (self.over == 1 && (is_first || self.health != Health::Up));
        self.turn(if is_too_far { Health::TooFarBehind } else { Health::Up })
    }

    /// A look brought none.
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
        let longest = MAX_PROBE_INTERVAL.max(settings.look_interval);
        let pause = settings.look_interval.saturating_mul(doubled).min(longest);
        self.look_at = now + pause.mul_f64(rng.random_range(0.5..=1.0));
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
        Member { id: self.id, entry, status, database, origin: self.origin }
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

/// The last few looks count: one slow look does not send reads around the world.
fn smoothed(known: Option<Duration>, sample: Duration) -> Duration {
    known.map_or(sample, |known| (known * 3 + sample) / 4)
}

/// From one look at a server that does not answer to the next.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// As long as the tracker itself gives a new connection and a question.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that hangs is to be left out soon; one that is busy is not.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// Connecting, preparing and asking is about ten.
const ROUND_TRIPS_OF_A_LOOK: u32 = 20;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::connection::address::Address;
    use crate::position::Position;

    const INTERVAL: Duration = Duration::from_millis(500);

    struct Looks {
        watched: Watched,
        newest: Newest,
        settings: ReplicaSettings,
        now: Instant,
        rng: SmallRng,
    }

    impl Looks {
        async fn begin(settings: ReplicaSettings) -> Self {
            let url = "postgres://app@127.0.0.1/app";
            let address = Address::resolve(url, "V").await.unwrap().remove(0);
            let database = Database::at(address, crate::database::Config::new(url, Role::Replica));
            let now = Instant::now();
            let watched = Watched::new(1, 1, "key".into(), database, Origin::Here, now);
            Self { watched, newest: Newest::new(INTERVAL), settings, now, rng: SmallRng::seed_from_u64(7) }
        }

        /// The replica has replayed this much of what there is, its last commit this long ago.
        fn look(&mut self, replayed: u64, known: u64, age: u64) -> Health {
            self.now += INTERVAL;
            let position = |lsn: u64| Position { system_identifier: 7.into(), timeline: 1.into(), lsn: lsn.into() };
            self.newest.hear(position(known), self.now);
            let state = ServerState::new(Role::Replica, position(replayed));
            let state = ServerState { lag: Some(Duration::from_secs(age)), ..state };
            self.watched.answered(&state, &self.newest, &self.settings, self.now);
            self.watched.health()
        }

        fn fail(&mut self) -> Duration {
            self.watched.did_not_answer(&self.settings, &mut self.rng, self.now);
            assert_eq!(self.watched.health(), Health::Down);
            self.watched.look_at - self.now
        }
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_left_out_until_it_has_caught_up() {
        let limit = Duration::from_secs(1);
        let mut looks = Looks::begin(ReplicaSettings::default().with_max_lag(limit)).await;
        assert_eq!(looks.look(100, 100, 900), Health::Up);
        for _ in 0..3 {
            assert_eq!(looks.look(100, 200, 900), Health::Up, "it was seen with all, less than the limit ago");
        }
        assert_eq!(looks.look(100, 200, 900), Health::TooFarBehind);
        assert_eq!(looks.look(150, 200, 900), Health::TooFarBehind);
        assert_eq!(looks.look(200, 200, 900), Health::Up);
    }

    #[tokio::test]
    async fn bytes_count_as_time_does() {
        let mut looks = Looks::begin(ReplicaSettings::default().with_max_lag(None).with_max_lag_bytes(100)).await;
        assert_eq!(looks.look(1000, 1000, 0), Health::Up);
        assert_eq!(looks.look(1000, 1100, 3600), Health::Up);
        assert_eq!(looks.look(1000, 1101, 0), Health::Up, "one look may fall between arrival and replay");
        assert_eq!(looks.look(1000, 1101, 0), Health::TooFarBehind);
        assert_eq!(looks.look(1001, 1101, 0), Health::Up);
    }

    #[tokio::test]
    async fn who_comes_back_far_behind_is_not_used_before_it_has_caught_up() {
        let mut looks = Looks::begin(ReplicaSettings::default()).await;
        assert_eq!(looks.look(100, 200, 31), Health::TooFarBehind, "nothing speaks for it");
        assert_eq!(looks.look(200, 200, 31), Health::Up);
        looks.fail();
        assert_eq!(looks.look(200, 300, 31), Health::TooFarBehind);
    }

    #[tokio::test]
    async fn who_does_not_answer_is_asked_ever_less_often() {
        let mut looks = Looks::begin(ReplicaSettings::default()).await;
        for step in [500, 1000, 2000, 4000, 5000, 5000] {
            let pause = looks.fail();
            assert!(pause >= Duration::from_millis(step / 2) && pause <= Duration::from_millis(step), "{pause:?}");
        }
        looks.look(1, 1, 0);
        assert!(looks.fail() <= INTERVAL);
    }

    #[test]
    fn one_slow_look_weighs_little() {
        let millis = Duration::from_millis;
        assert_eq!(smoothed(None, millis(8)), millis(8));
        assert_eq!(smoothed(Some(millis(8)), millis(80)), millis(26));
        let settled = (0..20).fold(millis(200), |known, _| smoothed(Some(known), millis(8)));
        assert!(settled < millis(9), "{settled:?}");
    }
}
