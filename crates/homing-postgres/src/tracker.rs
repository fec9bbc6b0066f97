//! [`Tracker`], which knows how far one server is and wakes those who wait for a position there.

mod cadence;
pub(crate) mod error;
mod history;
mod link;
mod probe;
mod shared;
mod task;
mod waiters;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Config;

use self::error::{Unavailable, WaitError};
use self::shared::Shared;
use self::task::TrackerTask;
use crate::position::Position;
use crate::position::state::{ServerState, Verdict};

/// Follows one server: its role, how far it has replayed, and who waits for what.
///
/// A handle, cheap to clone, of a task with a connection of its own. The task asks the server only while somebody
/// waits: at once when the first one arrives, then at intervals that follow the usual lag, with one query in flight
/// however many wait. When nobody waits there is no query at all. It ends, and closes its connection, when the last
/// handle is dropped.
///
/// A position that was reached is only reached on this very server. Give each address its own tracker, and its own
/// pool pinned to that address.
///
/// # Privileges
///
/// Any role that may connect will do. Members of `pg_monitor` learn the timeline of a replica as soon as it
/// changes; to other roles PostgreSQL does not tell it until the replica's next restart point. Until then
/// (`checkpoint_timeout`, five minutes by default) positions that cannot be told apart from those of another timeline
/// are answered with [`Verdict::OtherTimeline`] once the tracker has seen a sign of a switch: the replica's WAL
/// receiver was replaced or is gone, or somebody waits for a higher timeline. A switch without such a sign, of a
/// cascading replica whose upstream was promoted under it, is not noticed before the restart point. So
/// `GRANT pg_monitor TO …` where failovers happen.
#[derive(Clone)]
pub struct Tracker {
    inner: Arc<TrackerInner>,
}

struct TrackerInner {
    server: Arc<str>,
    shared: Arc<Shared>,
    state: watch::Receiver<Option<ServerState>>,
}

impl Tracker {
    /// Starts the task. It connects when it is first asked something.
    ///
    /// `config` must lead to one server, so it should name one address. Its application name becomes
    /// `homing-tracker`, its `target_session_attrs` are ignored since either role is welcome.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(config: Config) -> Self {
        let server = link::name_of(&config);
        let shared = Arc::new(Shared::default());
        let (publisher, state) = watch::channel(None);
        // Detached: it ends when `TrackerInner` is dropped, and its panic reaches everyone through `Shared::close`.
        tokio::spawn(TrackerTask::new(config, Arc::clone(&server), Arc::clone(&shared), publisher).run());
        Self { inner: Arc::new(TrackerInner { server, shared, state }) }
    }

    /// Waits until everything up to `position` is visible on the server.
    ///
    /// AnsweredWaiters without any query where that is already known. While the server cannot be reached the wait goes on,
    /// until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped wait leaves nothing behind.
    pub async fn wait(&self, position: Position, deadline: Instant) -> Result<(), WaitError> {
        if self.is_known_to_have_reached(position) {
            return Ok(());
        }
        let waiter = Shared::register_wait(&self.inner.shared, position).ok_or(WaitError::Closed)?;
        match timeout_at(deadline, waiter.answer()).await {
            Ok(Some(verdict)) => WaitError::from_verdict(verdict),
            Ok(None) => Err(WaitError::Closed),
            Err(_) => Err(WaitError::TimedOut),
        }
    }

    /// Whether `position` is reached now. At most one query, and none where it is already known to be.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when the server could not be asked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call leaves nothing behind.
    pub async fn check(&self, position: Position) -> Result<Verdict, Unavailable> {
        if self.is_known_to_have_reached(position) {
            return Ok(Verdict::Reached);
        }
        Ok(self.look().await?.compare(position))
    }

    /// Asks the server once, now. Calls at the same time share a query.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when the server could not be asked: no connection could be made, within a few seconds.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call leaves nothing behind.
    pub async fn look(&self) -> Result<ServerState, Unavailable> {
        let closed = || Unavailable::new(&self.inner.server, None);
        let looker = Shared::register_look(&self.inner.shared).ok_or_else(closed)?;
        looker.answer().await.unwrap_or_else(|| Err(closed()))
    }

    /// What the server told last. `None` before the first answer, and again after its connection was lost: a server
    /// that was restarted may be behind where it was.
    ///
    /// Not renewed while nobody waits; see [`look`](Self::look).
    pub fn state(&self) -> watch::Receiver<Option<ServerState>> {
        self.inner.state.clone()
    }

    /// How many calls of [`wait`](Self::wait) are waiting.
    pub fn waiting(&self) -> usize {
        self.inner.shared.waiting()
    }

    /// Replay only moves forward while a server runs, so what was reached stays reached.
    fn is_known_to_have_reached(&self, position: Position) -> bool {
        let state = self.inner.state.borrow();
        state.is_some_and(|state| state.compare(position) == Verdict::Reached)
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
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::shared::Agenda;
    use super::*;
    use crate::position::role::Role;

    fn position(lsn: u64) -> Position {
        Position { system_identifier: 7.into(), timeline: 1.into(), lsn: lsn.into() }
    }

    /// A handle whose task is the test.
    fn tracker(state: Option<ServerState>) -> (Tracker, watch::Sender<Option<ServerState>>) {
        let (publisher, state) = watch::channel(state);
        (
            Tracker { inner: Arc::new(TrackerInner { server: "a test".into(), shared: Arc::default(), state }) },
            publisher,
        )
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn what_is_known_needs_no_look() {
        let (tracker, publisher) = tracker(Some(ServerState::new(Role::Replica, position(10))));
        assert_eq!(tracker.wait(position(10), soon()).await, Ok(()));
        assert_eq!(tracker.check(position(10)).await.unwrap(), Verdict::Reached);
        assert!(matches!(tracker.inner.shared.agenda(), Agenda::Rest));
        publisher.send_replace(None);
        let past = Instant::now();
        assert_eq!(tracker.wait(position(10), past).await, Err(WaitError::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_who_gave_up() {
        let (tracker, _publisher) = tracker(None);
        assert_eq!(tracker.wait(position(10), soon()).await, Err(WaitError::TimedOut));
        let mut waits = Vec::new();
        for lsn in 0..10_000 {
            let mut wait = Box::pin(tracker.wait(position(lsn % 100), soon()));
            assert!(futures_util::poll!(&mut wait).is_pending());
            waits.push(wait);
        }
        let mut look = Box::pin(tracker.look());
        assert!(futures_util::poll!(&mut look).is_pending());
        assert_eq!(tracker.waiting(), 10_000);
        assert!(matches!(tracker.inner.shared.agenda(), Agenda::ProbeAnswer));
        drop(look);
        drop(waits);
        assert_eq!(tracker.waiting(), 0);
        assert!(matches!(tracker.inner.shared.agenda(), Agenda::Rest));
    }

    #[tokio::test]
    async fn look_under_way_does_not_answer_a_later_call() {
        let (tracker, _publisher) = tracker(None);
        let shared = &tracker.inner.shared;
        let under_way = shared.begin_look();
        let mut look = Box::pin(tracker.look());
        assert!(futures_util::poll!(&mut look).is_pending());
        shared.answer(under_way, ServerState::new(Role::Replica, position(1)));
        assert!(futures_util::poll!(&mut look).is_pending());
        shared.answer(shared.begin_look(), ServerState::new(Role::Replica, position(2)));
        assert_eq!(look.await.unwrap().position, position(2));
    }

    #[tokio::test]
    async fn panic_of_the_task_reaches_who_waits_and_who_comes() {
        let (tracker, _publisher) = tracker(None);
        let mut wait = Box::pin(tracker.wait(position(1), soon()));
        assert!(futures_util::poll!(&mut wait).is_pending());
        let last_words = task::CloseOnDrop(Arc::clone(&tracker.inner.shared));
        let task = tokio::spawn(async move {
            let _last_words = last_words;
            panic!("as a test");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(wait.await, Err(WaitError::Closed));
        assert_eq!(tracker.wait(position(1), soon()).await, Err(WaitError::Closed));
        assert!(tracker.look().await.is_err());
    }
}
