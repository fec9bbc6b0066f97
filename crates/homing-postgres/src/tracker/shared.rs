//! [`Shared`], what the handles and the task of a tracker have in common: who waits, and who wants a look.
//!
//! A lock instead of a queue to the task: registering never waits, and leaving takes effect at once, so nothing is
//! left of a waiter who was dropped. It is held for a few map operations and never over an `.await`. Its size has no
//! bound of its own, since each entry belongs to a future that somebody holds.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::error::Unavailable;
use super::waiters::{Front, WaiterKey, Waiters};
use crate::position::state::{ServerState, Verdict};
use crate::position::{Position, SystemIdentifier, Timeline};

#[derive(Debug, Default)]
pub(super) struct Shared {
    registry: Mutex<Registry>,
    /// Told to the task, its only listener, when somebody came or the tracker was closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Registry {
    closed: bool,
    /// How many looks have begun; the number of the last one.
    looks: u64,
    waiters: Waiters<oneshot::Sender<Verdict>>,
    lookers: BTreeMap<u64, Looker>,
    next_looker: u64,
}

#[derive(Debug)]
struct Looker {
    /// How many looks had begun when it came; only a later one will do.
    looks: u64,
    answer: oneshot::Sender<Result<ServerState, Unavailable>>,
}

/// What the task has to do.
#[derive(Debug)]
pub(super) enum Agenda {
    /// End.
    Close,

    /// Somebody wants a look, whatever it brings.
    ProbeAnswer,

    /// ProbeAnswer when it is worth it for those in front.
    Wait(Front),

    /// Nobody is there.
    Rest,
}

impl Shared {
    /// `None` once closed.
    pub(super) fn register_wait(shared: &Arc<Self>, position: Position) -> Option<Registered<Verdict>> {
        let (answer, receiver) = oneshot::channel();
        let now = Instant::now();
        let mut registry = shared.lock_open()?;
        let looks = registry.looks;
        let place = WaiterPlace::Waiter(registry.waiters.insert(position, now, looks, answer));
        drop(registry);
        Some(Self::registered(shared, place, receiver))
    }

    /// `None` once closed.
    pub(super) fn register_look(shared: &Arc<Self>) -> Option<Registered<Result<ServerState, Unavailable>>> {
        let (answer, receiver) = oneshot::channel();
        let mut registry = shared.lock_open()?;
        let (looks, id) = (registry.looks, registry.next_looker);
        registry.next_looker += 1;
        registry.lookers.insert(id, Looker { looks, answer });
        drop(registry);
        Some(Self::registered(shared, WaiterPlace::Looker(id), receiver))
    }

    fn registered<T>(shared: &Arc<Self>, place: WaiterPlace, receiver: oneshot::Receiver<T>) -> Registered<T> {
        shared.changed.notify_one();
        Registered { shared: Arc::clone(shared), place, receiver }
    }

    /// Everyone who is there, or comes later, is told that the tracker has ended.
    pub(super) fn close(&self) {
        let mut registry = self.lock();
        registry.closed = true;
        // What is dropped here wakes others, which needs no lock.
        let gone = (mem::take(&mut registry.waiters), mem::take(&mut registry.lookers));
        drop(registry);
        drop(gone);
        self.changed.notify_one();
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Returns when the agenda may be another one.
    ///
    /// Cancel safe: a change that is not seen is kept.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn agenda(&self) -> Agenda {
        let registry = self.lock();
        if registry.closed {
            Agenda::Close
        } else if !registry.lookers.is_empty() {
            Agenda::ProbeAnswer
        } else {
            registry.waiters.front(registry.looks).map_or(Agenda::Rest, Agenda::Wait)
        }
    }

    /// The number of the look that begins now. Who comes from now on is not sure to be covered by it.
    pub(super) fn begin_look(&self) -> u64 {
        let mut registry = self.lock();
        registry.looks += 1;
        registry.looks
    }

    /// See [`Waiters::newest_timeline`].
    pub(super) fn newest_timeline(&self, system: SystemIdentifier) -> Option<Timeline> {
        self.lock().waiters.newest_timeline(system)
    }

    /// Answers all whom the look of this number can answer. Returns when the first of those came whose position is
    /// reached.
    pub(super) fn answer(&self, look: u64, state: ServerState) -> Option<Instant> {
        let mut registry = self.lock();
        let answered = registry.waiters.answer(look, &state);
        let lookers = registry.take_lookers(look);
        drop(registry);
        // Who has gone in the meantime needs no answer.
        for (answer, verdict) in answered.verdicts {
            let _ = answer.send(verdict);
        }
        for looker in lookers.into_values() {
            let _ = looker.answer.send(Ok(state));
        }
        answered.oldest_reached
    }

    /// Answers all who wanted a look that it is not possible. Who waits for a position waits on.
    pub(super) fn refuse(&self, cause: &Unavailable) {
        let lookers = mem::take(&mut self.lock().lookers);
        for looker in lookers.into_values() {
            let _ = looker.answer.send(Err(cause.clone()));
        }
    }

    fn lock_open(&self) -> Option<MutexGuard<'_, Registry>> {
        Some(self.lock()).filter(|registry| !registry.closed)
    }

    /// No code panics while it holds the lock half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn take_lookers(&mut self, look: u64) -> BTreeMap<u64, Looker> {
        let (covered, rest) = mem::take(&mut self.lookers).into_iter().partition(|(_, looker)| looker.looks < look);
        self.lookers = rest;
        covered
    }
}

/// A place in the registry, given up when dropped.
#[derive(Debug)]
pub(super) struct Registered<T> {
    shared: Arc<Shared>,
    place: WaiterPlace,
    receiver: oneshot::Receiver<T>,
}

#[derive(Clone, Copy, Debug)]
enum WaiterPlace {
    Waiter(WaiterKey),
    Looker(u64),
}

impl<T> Registered<T> {
    /// `None` when the tracker has ended.
    pub(super) async fn answer(mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        let mut registry = self.shared.lock();
        match self.place {
            WaiterPlace::Waiter(key) => registry.waiters.remove(key),
            WaiterPlace::Looker(id) => drop(registry.lookers.remove(&id)),
        }
    }
}
