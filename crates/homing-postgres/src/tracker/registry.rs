//! [`Shared`], the state that the handles and the task of a tracker share: the calls that wait, and those that want a
//! probe.
//!
//! It is a registry behind a lock, not a queue to the task. So a call registers without waiting, and a dropped call
//! leaves nothing behind. The lock is held for a few map operations and never over an `.await`. The registry has no
//! limit, since each entry belongs to a future that a caller holds.

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
    /// Wakes the task, the only listener, when a call registers or the tracker is closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Registry {
    closed: bool,
    /// How many probes have begun, which is also the number of the last one.
    probes: u64,
    waiters: Waiters<oneshot::Sender<Verdict>>,
    probe_requests: BTreeMap<u64, ProbeRequest>,
    next_probe_request: u64,
}

#[derive(Debug)]
struct ProbeRequest {
    /// How many probes had begun when the request came. Only a later probe can answer it.
    probes: u64,
    answer: oneshot::Sender<Result<ServerState, Unavailable>>,
}

/// The next job of the task.
#[derive(Debug)]
pub(super) enum Agenda {
    /// End.
    Close,

    /// Send a probe now, since a call has asked for one.
    Probe,

    /// Send a probe when it is worth it for the waiter in front.
    Wait(Front),

    /// Do nothing until a call comes.
    Rest,
}

impl Shared {
    /// Registers a wait for a position. `None` if the tracker is closed.
    pub(super) fn register_wait(shared: &Arc<Self>, position: Position) -> Option<Registered<Verdict>> {
        let (answer, receiver) = oneshot::channel();
        let now = Instant::now();
        let mut registry = shared.lock_open()?;
        let probes = registry.probes;
        let place = WaiterPlace::Waiter(registry.waiters.insert(position, now, probes, answer));
        drop(registry);
        Some(Self::registered(shared, place, receiver))
    }

    /// Registers a request for a probe. `None` if the tracker is closed.
    pub(super) fn register_probe(shared: &Arc<Self>) -> Option<Registered<Result<ServerState, Unavailable>>> {
        let (answer, receiver) = oneshot::channel();
        let mut registry = shared.lock_open()?;
        let (probes, id) = (registry.probes, registry.next_probe_request);
        registry.next_probe_request += 1;
        registry.probe_requests.insert(id, ProbeRequest { probes, answer });
        drop(registry);
        Some(Self::registered(shared, WaiterPlace::ProbeRequest(id), receiver))
    }

    fn registered<T>(shared: &Arc<Self>, place: WaiterPlace, receiver: oneshot::Receiver<T>) -> Registered<T> {
        shared.changed.notify_one();
        Registered { shared: Arc::clone(shared), place, receiver }
    }

    /// Closes the tracker for all calls that are registered or come later.
    pub(super) fn close(&self) {
        let mut registry = self.lock();
        registry.closed = true;
        // Dropping the entries wakes their callers, which needs no lock.
        let gone = (mem::take(&mut registry.waiters), mem::take(&mut registry.probe_requests));
        drop(registry);
        drop(gone);
        self.changed.notify_one();
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Waits until the agenda may have changed.
    ///
    /// Cancel safe: a change that was not seen is kept.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn agenda(&self) -> Agenda {
        let registry = self.lock();
        if registry.closed {
            Agenda::Close
        } else if !registry.probe_requests.is_empty() {
            Agenda::Probe
        } else {
            registry.waiters.front(registry.probes).map_or(Agenda::Rest, Agenda::Wait)
        }
    }

    /// Returns the number of the probe that begins now. The probe may not cover a call that comes after this.
    pub(super) fn begin_probe(&self) -> u64 {
        let mut registry = self.lock();
        registry.probes += 1;
        registry.probes
    }

    /// Returns the highest timeline of the cluster among the awaited positions.
    pub(super) fn newest_timeline(&self, system: SystemIdentifier) -> Option<Timeline> {
        self.lock().waiters.newest_timeline(system)
    }

    /// Answers all calls that this probe's state answers. Returns when the first of the waiters came whose position is
    /// reached.
    pub(super) fn answer(&self, probe: u64, state: ServerState) -> Option<Instant> {
        let mut registry = self.lock();
        let answered = registry.waiters.answer(probe, &state);
        let probe_requests = registry.take_probe_requests(probe);
        drop(registry);
        // A call that was dropped in the meantime needs no answer.
        for (answer, verdict) in answered.verdicts {
            let _ = answer.send(verdict);
        }
        for request in probe_requests.into_values() {
            let _ = request.answer.send(Ok(state));
        }
        answered.oldest_reached
    }

    /// Fails all requested probes. Calls that wait for a position keep waiting.
    pub(super) fn refuse(&self, cause: &Unavailable) {
        let probe_requests = mem::take(&mut self.lock().probe_requests);
        for request in probe_requests.into_values() {
            let _ = request.answer.send(Err(cause.clone()));
        }
    }

    fn lock_open(&self) -> Option<MutexGuard<'_, Registry>> {
        Some(self.lock()).filter(|registry| !registry.closed)
    }

    /// Locks the registry. No code panics in the middle of a change, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn take_probe_requests(&mut self, probe: u64) -> BTreeMap<u64, ProbeRequest> {
        let (covered, rest) =
            mem::take(&mut self.probe_requests).into_iter().partition(|(_, request)| request.probes < probe);
        self.probe_requests = rest;
        covered
    }
}

/// A place in the registry, which is given up on drop.
#[derive(Debug)]
pub(super) struct Registered<T> {
    shared: Arc<Shared>,
    place: WaiterPlace,
    receiver: oneshot::Receiver<T>,
}

#[derive(Clone, Copy, Debug)]
enum WaiterPlace {
    Waiter(WaiterKey),
    ProbeRequest(u64),
}

impl<T> Registered<T> {
    /// Waits for the answer. `None` if the tracker has ended.
    pub(super) async fn answer(mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        let mut registry = self.shared.lock();
        match self.place {
            WaiterPlace::Waiter(key) => registry.waiters.remove(key),
            WaiterPlace::ProbeRequest(id) => drop(registry.probe_requests.remove(&id)),
        }
    }
}
