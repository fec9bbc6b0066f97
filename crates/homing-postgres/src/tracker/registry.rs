//! [`Registry`], which the handles and the task of a tracker share: the calls that wait, and those that want a probe.
//!
//! It is behind a lock, not at the end of a queue. So a call registers without waiting, and a dropped call leaves nothing
//! behind. The lock is held for a few map operations and never over an `.await`. The registry has no limit, since each
//! entry belongs to a future that a caller holds.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::error::Unavailable;
use super::waiters::{Found, Front, WaiterKey, Waiters, Wanted};
use crate::position::state::{ServerState, Verdict};
use crate::position::transaction_id::TransactionId;
use crate::position::{Position, SystemIdentifier, Timeline};

#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<RegistryInner>,
    /// Wakes the task, the only listener, when a call registers or the tracker is closed.
    changed: Notify,
    /// Wakes the calls that wait only as long as the server can be reached, when a connection could not be made.
    unreachable: Notify,
}

#[derive(Debug, Default)]
struct RegistryInner {
    closed: bool,
    /// How many probes have begun, which is also the number of the last one.
    probes: u64,
    waiters: Waiters<oneshot::Sender<Verdict>>,
    /// Positions by transaction that the server has shown to be reached since it was connected to. The lowest ones are dropped
    /// first: a later question finds them again.
    shown: BTreeSet<(SystemIdentifier, Timeline, TransactionId)>,
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

    /// Send a probe as soon as the cadence allows, since a call has asked for one.
    Probe,

    /// Send a probe when it is worth it for the waiter in front.
    Wait(Front),

    /// Do nothing until a call comes.
    Rest,
}

impl Registry {
    /// Registers a wait for a position. `None` if the tracker is closed.
    pub(super) fn register_wait(registry: &Arc<Self>, position: Position) -> Option<Registered<Verdict>> {
        let (answer, receiver) = oneshot::channel();
        let now = Instant::now();
        let mut inner = registry.lock_open()?;
        let probes = inner.probes;
        let place = WaiterPlace::Waiter(inner.waiters.insert(position, now, probes, answer));
        drop(inner);
        Some(Self::registered(registry, place, receiver))
    }

    /// Registers a request for a probe. `None` if the tracker is closed.
    pub(super) fn register_probe(registry: &Arc<Self>) -> Option<Registered<Result<ServerState, Unavailable>>> {
        let (answer, receiver) = oneshot::channel();
        let mut inner = registry.lock_open()?;
        let (probes, id) = (inner.probes, inner.next_probe_request);
        inner.next_probe_request += 1;
        inner.probe_requests.insert(id, ProbeRequest { probes, answer });
        drop(inner);
        Some(Self::registered(registry, WaiterPlace::ProbeRequest(id), receiver))
    }

    fn registered<T>(registry: &Arc<Self>, place: WaiterPlace, receiver: oneshot::Receiver<T>) -> Registered<T> {
        registry.changed.notify_one();
        Registered { registry: Arc::clone(registry), place, receiver }
    }

    /// Closes the tracker for all calls that are registered or come later.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        // Dropping the entries wakes their callers, which needs no lock.
        let gone = (mem::take(&mut inner.waiters), mem::take(&mut inner.probe_requests));
        drop(inner);
        drop(gone);
        self.changed.notify_one();
    }

    /// Returns when a connection to the server could not be made after this call.
    pub(super) fn unreachable(&self) -> Notified<'_> {
        self.unreachable.notified()
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
        let inner = self.lock();
        if inner.closed {
            Agenda::Close
        } else if !inner.probe_requests.is_empty() {
            Agenda::Probe
        } else {
            inner.waiters.front(inner.probes).map_or(Agenda::Rest, Agenda::Wait)
        }
    }

    /// Returns the number of the probe of this cluster that begins now, and what it has to ask. The probe may not cover a
    /// call that comes after this.
    pub(super) fn begin_probe(&self, system: SystemIdentifier) -> (u64, Wanted) {
        let mut inner = self.lock();
        inner.probes += 1;
        (inner.probes, inner.waiters.wanted(system))
    }

    /// Answers all calls that this probe answers. Returns when the first of the waiters came whose position is reached.
    pub(super) fn answer(&self, probe: u64, found: &Found) -> Option<Instant> {
        let mut inner = self.lock();
        let answered = inner.waiters.answer(probe, found);
        let probe_requests = inner.take_probe_requests(probe);
        inner.note_shown(&answered.shown);
        drop(inner);
        // A call that was dropped in the meantime needs no answer.
        for (answer, verdict) in answered.verdicts {
            let _ = answer.send(verdict);
        }
        for request in probe_requests.into_values() {
            let _ = request.answer.send(Ok(found.state));
        }
        answered.oldest_reached
    }

    /// Returns whether the server has shown the transaction of this position since it was connected to. What was reached stays
    /// reached, since replay only moves forward while a server runs.
    pub(super) fn has_shown(&self, position: Position) -> bool {
        shown(position).is_some_and(|shown| self.lock().shown.contains(&shown))
    }

    /// Forgets what the server has shown: another one may take its place.
    pub(super) fn forget_shown(&self) {
        self.lock().shown.clear();
    }

    /// Fails all requested probes. Calls that wait for a position keep waiting.
    pub(super) fn refuse(&self, cause: &Unavailable) {
        self.unreachable.notify_waiters();
        let probe_requests = mem::take(&mut self.lock().probe_requests);
        for request in probe_requests.into_values() {
            let _ = request.answer.send(Err(cause.clone()));
        }
    }

    fn lock_open(&self) -> Option<MutexGuard<'_, RegistryInner>> {
        Some(self.lock()).filter(|inner| !inner.closed)
    }

    /// Locks the registry. No code panics in the middle of a change, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, RegistryInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegistryInner {
    fn note_shown(&mut self, positions: &[Position]) {
        self.shown.extend(positions.iter().copied().filter_map(shown));
        while self.shown.len() > MAX_SHOWN {
            self.shown.pop_first();
        }
    }

    fn take_probe_requests(&mut self, probe: u64) -> BTreeMap<u64, ProbeRequest> {
        let (covered, rest) =
            mem::take(&mut self.probe_requests).into_iter().partition(|(_, request)| request.probes < probe);
        self.probe_requests = rest;
        covered
    }
}

fn shown(position: Position) -> Option<(SystemIdentifier, Timeline, TransactionId)> {
    let transaction = position.transaction.filter(|_| position.is_by_transaction())?;
    Some((position.system_identifier, position.timeline, transaction))
}

/// How many of the shown positions are remembered, in half a megabyte: those of some seconds on a busy node. The next read of an
/// older session costs a question to the replica, which is then remembered again.
const MAX_SHOWN: usize = 16_384;

/// A place in the registry, which is given up on drop.
#[derive(Debug)]
pub(super) struct Registered<T> {
    registry: Arc<Registry>,
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

    /// Returns the answer, if it has come.
    pub(super) fn answered(mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        match self.place {
            WaiterPlace::Waiter(key) => inner.waiters.remove(key),
            WaiterPlace::ProbeRequest(id) => drop(inner.probe_requests.remove(&id)),
        }
    }
}
