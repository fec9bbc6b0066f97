//! [`Tracker`], which knows how far one server is and wakes the callers that wait for a position there.
//!
//! `Tracker` is the handle. The work is done by one background task, described at the head of `task.rs`.

mod backends;
mod cadence;
pub(crate) mod error;
mod history;
mod link;
mod probe;
mod registry;
mod task;
mod waiters;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Config, Error};

use self::backends::Backends;
pub(crate) use self::backends::Requirements;
use self::error::{Unavailable, WaitError};
use self::registry::{Registered, Registry};
use crate::connection::address::Address;
use crate::connection::known::KnownServer;
use crate::connection::pool::Connection;
use crate::position::Position;
use crate::position::shown::Shown;
use crate::position::state::{ServerState, Verdict};

/// Follows one server: its role, and how far it has replayed or flushed its write-ahead log.
///
/// A tracker is a cheap-to-clone handle of a background task with its own connection to the server. The task *probes*
/// the server, with one query that returns the role, the position and the lag. It does so only while calls wait: at
/// once for the first one, then at intervals that follow the usual lag. All waiting calls share one query. An idle
/// tracker sends nothing. The task ends and closes its connection when the last handle is dropped.
///
/// A position is reached when the server has replayed the log up to its place. A write is reached too when the server, on
/// the timeline of the write, shows its transaction as committed: the place of a write may lie inside a record that
/// another session has not finished, and then no replica gets there before some later commit.
///
/// A position that one server has reached says nothing about any other server. So give each address a tracker of its
/// own, and a pool that is pinned to that address. A load balancer between the tracker and PostgreSQL breaks this rule. The
/// tracker and the pool of a [`Database`](crate::Database) notice that. With positions by transaction, the tracker then tells
/// that one of the servers answers, and reads ask on their own connections; see
/// [its configuration](crate::Config#poolers-and-load-balancers).
///
/// There is no limit on the number of waiting calls: each is a future that its caller holds.
///
/// # Privileges
///
/// The connection may use any role. If failovers happen, run `GRANT pg_monitor TO …` for it: PostgreSQL shows members of
/// `pg_monitor` the timeline of a replica as soon as it changes. For other roles the tracker reads it from the server's
/// control file, which is updated at the replica's next restart point (`checkpoint_timeout`, five minutes by default).
///
/// Until then, once the tracker has seen a sign of a timeline switch, it answers [`Verdict::OtherTimeline`] for every
/// position that it cannot prove to be in the server's history. Reads that follow a write then go to the primary.
/// These are the signs: the replica's WAL receiver was replaced or is gone, or a caller waits for a higher timeline.
///
/// A server that tells positions [by transaction](crate::PositionKind::Transaction) tells timelines from its control file too. If it
/// refuses to tell of its WAL receiver, only a caller that waits for a higher timeline is a sign. If it refuses to tell of the
/// control file, the timeline is [unknown](crate::Timeline::UNKNOWN), and nothing tells a transaction that was lost in a failover
/// from a later one with the same id.
///
/// One switch shows no sign: a cascading replica stays connected while its upstream is promoted. Without `pg_monitor`,
/// the tracker notices that switch only at the restart point.
///
/// # Known limits
///
/// - Replay only moves forward while a server runs. A replica that crashed and came back with less than it had replayed
///   can be older than an earlier read. The tracker forgets its state when its connection is lost.
/// - A commit with `synchronous_commit = off` returns before it is flushed, so a position read after it can lie before
///   it. Homing sets `synchronous_commit` to `on` for its connections if it is `off`. Code that sets it to `off` again, such
///   as a function of the database, loses this protection.
#[derive(Clone)]
pub struct Tracker {
    inner: Arc<TrackerInner>,
}

struct TrackerInner {
    server: Arc<str>,
    registry: Arc<Registry>,
    /// The server that the connections of the same address lead to.
    known: Arc<KnownServer>,
    state: watch::Receiver<Option<ServerState>>,
    backends: Backends,
}

impl Tracker {
    /// Starts the task, which connects at the first call.
    ///
    /// `config` must lead to one server, so it should name one address. The application name becomes
    /// `homing-tracker`. `target_session_attrs` is ignored, since the server may have either role. TLS is used as the
    /// configuration says; no certificate is verified, since it cannot name an authority.
    ///
    /// # Panics
    ///
    /// Panics if it is called outside of a tokio runtime.
    pub fn spawn(config: Config) -> Self {
        Self::follow(Address::of_driver(config), Arc::new(KnownServer::new(Arc::default(), None)))
    }

    /// Starts the task for the server at an address. It follows the server to which the other connections of this address
    /// lead too.
    pub(crate) fn follow(address: Address, known: Arc<KnownServer>) -> Self {
        let server = Arc::from(address.to_string());
        let registry = Arc::new(Registry::default());
        let (publisher, state) = watch::channel(None);
        // Detached: it ends when `TrackerInner` is dropped.
        let shared =
            task::Shared { server: Arc::clone(&server), registry: Arc::clone(&registry), known: Arc::clone(&known) };
        tokio::spawn(task::run(address, shared, publisher));
        let backends = Backends::default();
        Self { inner: Arc::new(TrackerInner { server, registry, known, state, backends }) }
    }

    /// Waits until the server has reached `position`.
    ///
    /// Returns without a query if the position is known to be reached. If the server cannot be reached, the wait
    /// continues until `deadline`.
    ///
    /// # Errors
    ///
    /// - [`WaitError::TimedOut`] if the position was not reached before `deadline`.
    /// - [`WaitError::OtherTimeline`] if the position cannot be shown to be in the server's history.
    /// - [`WaitError::OtherSystem`] if the server belongs to another cluster.
    /// - [`WaitError::Closed`] if the tracker's task has ended with its runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped wait leaves nothing behind.
    pub async fn wait(&self, position: Position, deadline: Instant) -> Result<(), WaitError> {
        if self.is_known_to_have_reached(position) {
            return Ok(());
        }
        let waiter = Registry::register_wait(&self.inner.registry, position).ok_or(WaitError::Closed)?;
        match timeout_at(deadline, waiter.answer()).await {
            Ok(Some(verdict)) => WaitError::from_verdict(verdict),
            Ok(None) => Err(WaitError::Closed),
            Err(_) => Err(WaitError::TimedOut),
        }
    }

    /// Waits as [`wait`](Self::wait) does, but only as long as the server can be reached: a caller that has another way
    /// does not wait for a server that is gone.
    pub(crate) async fn wait_while_reachable(&self, position: Position, deadline: Instant) -> Result<(), WaitError> {
        let unreachable = self.inner.registry.unreachable();
        tokio::select! {
            biased; // a position that was reached is reached, even if the server is gone by now
            result = self.wait(position, deadline) => result,
            () = unreachable => Err(WaitError::Unreachable),
        }
    }

    /// Returns whether `position` is reached now. Sends at most one query, and none if the position is known to be
    /// reached.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the server does not answer within a few seconds, or the tracker's task has ended or panicked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call leaves nothing behind.
    pub async fn check(&self, position: Position) -> Result<Verdict, Unavailable> {
        if self.is_known_to_have_reached(position) {
            return Ok(Verdict::Reached);
        }
        // A probe answers its waiters first.
        let waiter = Registry::register_wait(&self.inner.registry, position);
        let state = self.probe().await?;
        Ok(waiter.and_then(Registered::answered).unwrap_or_else(|| state.compare(position)))
    }

    /// Asks the server for its state now. Concurrent calls share a query.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the server does not answer within a few seconds, or the tracker's task has ended or panicked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call leaves nothing behind.
    pub async fn probe(&self) -> Result<ServerState, Unavailable> {
        let closed = || Unavailable::new(&self.inner.server, None);
        let request = Registry::register_probe(&self.inner.registry).ok_or_else(closed)?;
        request.answer().await.unwrap_or_else(|| Err(closed()))
    }

    /// Returns a channel with the server's last known state. It holds `None` before the first answer, and again after
    /// the connection was lost, since a restarted server may be behind where it was.
    ///
    /// The state is not updated while no call waits. Use [`probe`](Self::probe) to update it.
    pub fn state(&self) -> watch::Receiver<Option<ServerState>> {
        self.inner.state.clone()
    }

    /// Asks the server of a connection whether it has everything that is required there, unless that is known. If it does not,
    /// the verdict is the one that is the least hopeful.
    ///
    /// # Errors
    ///
    /// That of the connection.
    ///
    /// # Cancel safety
    ///
    /// The connection may be waiting for an answer.
    pub(crate) async fn ask_on(&self, connection: &Connection, required: &Requirements) -> Result<Verdict, Error> {
        self.inner.backends.ask(connection, required).await
    }

    /// Asks the server of a connection what it shows now. `None` if its timeline is in doubt.
    ///
    /// # Errors
    ///
    /// That of the connection.
    ///
    /// # Cancel safety
    ///
    /// The connection may be waiting for an answer.
    pub(crate) async fn shown_on(&self, connection: &Connection) -> Result<Option<Shown>, Error> {
        self.inner.backends.shown(connection).await
    }

    /// Returns whether a connection to a server that lags may be closed, so that a new one leads to another server. Often it may
    /// not.
    pub(crate) fn may_renew(&self) -> bool {
        self.inner.backends.may_renew()
    }

    /// Returns the last known state, if it is that of the server to which the connections of this address lead, and of no other.
    pub(crate) fn known_state(&self) -> Option<ServerState> {
        if self.inner.known.is_spread() {
            return None;
        }
        let state = *self.inner.state.borrow();
        state.filter(|state| state.server.is_none_or(|server| self.inner.known.is(server)))
    }

    /// Returns how many calls of [`wait`](Self::wait) and [`check`](Self::check) are waiting.
    pub fn waiting(&self) -> usize {
        self.inner.registry.waiting()
    }

    /// Returns, without a query, whether `position` is known to be reached. Replay only moves forward while a server runs, so
    /// what was reached stays reached.
    pub(crate) fn is_known_to_have_reached(&self, position: Position) -> bool {
        self.known_state().is_some_and(|state| {
            state.compare(position) == Verdict::Reached
                || (position.is_by_transaction() && self.inner.registry.has_shown(position))
        })
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker")
            .field("server", &self.inner.server)
            .field("state", &*self.inner.state.borrow())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl Drop for TrackerInner {
    fn drop(&mut self) {
        self.registry.close();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use homing_testbed::Postgres;

    use super::registry::Agenda;
    use super::waiters::Found;
    use super::*;
    use crate::connection::identity::tests::sighting;
    use crate::position::role::Role;
    use crate::testing::PanicOnce;

    fn position(lsn: u64) -> Position {
        Position::new(7, 1, lsn)
    }

    /// A handle whose task is the test.
    fn tracker(state: Option<ServerState>) -> (Tracker, watch::Sender<Option<ServerState>>) {
        let (publisher, state) = watch::channel(state);
        (
            Tracker {
                inner: Arc::new(TrackerInner {
                    server: "a test".into(),
                    registry: Arc::default(),
                    known: Arc::new(KnownServer::new(Arc::default(), None)),
                    state,
                    backends: Backends::default(),
                }),
            },
            publisher,
        )
    }

    fn replica_at(lsn: u64) -> Found {
        Found { state: ServerState::new(Role::Replica, position(lsn)), visible: BTreeSet::default() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn known_state_needs_no_probe() {
        let (tracker, publisher) = tracker(Some(ServerState::new(Role::Replica, position(10))));
        assert_eq!(tracker.wait(position(10), soon()).await, Ok(()));
        assert_eq!(tracker.check(position(10)).await.unwrap(), Verdict::Reached);
        assert!(matches!(tracker.inner.registry.agenda(), Agenda::Rest));
        publisher.send_replace(None);
        let past = Instant::now();
        assert_eq!(tracker.wait(position(10), past).await, Err(WaitError::TimedOut));
    }

    #[tokio::test]
    async fn replaced_server_has_no_known_state() {
        let state = ServerState::new(Role::Replica, position(10));
        let (tracker, _publisher) = tracker(Some(ServerState { server: Some(sighting(1, 1).id), ..state }));
        let _ = tracker.inner.known.note(&sighting(1, 1), None);
        assert_eq!(tracker.wait(position(10), soon()).await, Ok(()));
        let _ = tracker.inner.known.note(&sighting(2, 2), None);
        assert_eq!(tracker.wait(position(10), Instant::now()).await, Err(WaitError::TimedOut));
        assert_eq!(tracker.known_state(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_calls_leave_nothing_behind() {
        let (tracker, _publisher) = tracker(None);
        assert_eq!(tracker.wait(position(10), soon()).await, Err(WaitError::TimedOut));
        let mut waits = Vec::new();
        for lsn in 0..10_000 {
            let mut wait = Box::pin(tracker.wait(position(lsn % 100), soon()));
            assert!(futures_util::poll!(&mut wait).is_pending());
            waits.push(wait);
        }
        let mut probe = Box::pin(tracker.probe());
        assert!(futures_util::poll!(&mut probe).is_pending());
        assert_eq!(tracker.waiting(), 10_000);
        assert!(matches!(tracker.inner.registry.agenda(), Agenda::Probe));
        drop(probe);
        drop(waits);
        assert_eq!(tracker.waiting(), 0);
        assert!(matches!(tracker.inner.registry.agenda(), Agenda::Rest));
    }

    #[tokio::test]
    async fn later_call_needs_a_later_probe() {
        let (tracker, _publisher) = tracker(None);
        let registry = &tracker.inner.registry;
        let (under_way, _) = registry.begin_probe(7.into());
        let mut probe = Box::pin(tracker.probe());
        assert!(futures_util::poll!(&mut probe).is_pending());
        registry.answer(under_way, &replica_at(1));
        assert!(futures_util::poll!(&mut probe).is_pending());
        registry.answer(registry.begin_probe(7.into()).0, &replica_at(2));
        assert_eq!(probe.await.unwrap().position, position(2));
    }

    #[tokio::test]
    async fn end_of_task_reaches_present_and_future_callers() {
        let (tracker, _publisher) = tracker(None);
        let mut wait = Box::pin(tracker.wait(position(1), soon()));
        assert!(futures_util::poll!(&mut wait).is_pending());
        drop(task::CloseOnDrop(Arc::clone(&tracker.inner.registry)));
        assert_eq!(wait.await, Err(WaitError::Closed));
        assert_eq!(tracker.wait(position(1), soon()).await, Err(WaitError::Closed));
        assert!(tracker.probe().await.is_err());
    }

    #[tokio::test]
    async fn panic_does_not_end_the_task() {
        let server = Postgres::options().start().await.unwrap();
        let position = Tracker::spawn(server.config()).probe().await.unwrap().position;
        let _bug = PanicOnce::at("database server found");
        let tracker = Tracker::spawn(server.config());
        let (wait, probe) = tokio::join!(tracker.wait(position, soon()), tracker.probe());
        assert_eq!(wait, Ok(()));
        assert!(probe.is_err());
        assert_eq!(tracker.probe().await.unwrap().role, Role::Primary);
    }
}
