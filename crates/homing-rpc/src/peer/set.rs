//! The peers of one region, and the task that watches them.
//!
//! - **Spawned** by [`PeerSet::spawn`], which [`Rpc`](crate::Rpc) calls at the first use of a region.
//! - **Owns** the list of addresses, the look-up under way, and the task of each peer. It looks the addresses up again
//!   when their time to live is over, and early when a peer was lost or no peer is up ([`Schedule`]). It adds and
//!   removes peers, and publishes a [`Snapshot`] after each change.
//! - **Channels:** in, the states of the peers ([`REPORT_QUEUE_CAPACITY`]) and a `Notify` of calls that wait for a
//!   peer; out, a `watch` of snapshots.
//! - **Ends** with the last [`PeerSet`]: that of the `Rpc`, and those of calls under way. Its peers' tasks end with it.
//! - **Panics** of a [`Discover`] count as failed look-ups. A panic of the task itself is logged and fails the calls
//!   that wait; the next call spawns a new task.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{self, Instant};
use tracing::{Instrument, error, info, warn};

use crate::discover::{Discover, Resolution};
use crate::error::causes::Causes;
use crate::error::{Error, Result};
use crate::metadata::identity::Identity;
use crate::peer::budget::Budget;
use crate::peer::channel::Link;
use crate::peer::load::Load;
use crate::peer::look_up::{LookUp, look_up};
use crate::peer::monitor::{Peer, PeerState};
use crate::peer::name::PeerName;
use crate::peer::pick::{Choice, LastLookup, Member, PickRequest, Snapshot};
use crate::peer::queue::Queue;
use crate::peer::schedule::{Pace, Schedule};
use crate::peer::settings::PeerSettings;
use crate::region::Region;
use crate::task::{BoxFuture, catch_panic, resume_panic};

/// The peers of one region. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PeerSet {
    region: Region,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    wanted: Arc<Notify>,
    /// Peers whose database was not the primary, and until when others are preferred. The lock is held for one
    /// operation on the map.
    passed_over: Arc<Mutex<HashMap<SocketAddr, Instant>>>,
    /// The lock is held for one operation on the budget.
    budget: Arc<Mutex<Budget>>,
    queue: Arc<Queue>,
    /// Since when every answer was that the peer cannot reach its database. The lock is held for one operation.
    no_database_since: Arc<Mutex<Option<Instant>>>,
}

impl PeerSet {
    pub(crate) fn spawn(
        region: Region,
        primary_region: Region,
        discover: Arc<dyn Discover>,
        identity: Arc<Identity>,
        settings: PeerSettings,
    ) -> Self {
        let beginning = Snapshot { without_peer_since: Some(Instant::now()), ..Snapshot::default() };
        let (publish, snapshot) = watch::channel(Arc::new(beginning));
        let (reporter, reports) = mpsc::channel(REPORT_QUEUE_CAPACITY);
        let wanted = Arc::new(Notify::new());
        let task = PeerSetTask {
            region: region.clone(),
            primary_region,
            discover,
            identity,
            settings,
            publish,
            reporter,
            reports,
            wanted: Arc::clone(&wanted),
            entries: BTreeMap::new(),
            tasks: JoinSet::new(),
            lookup: None,
            looking_up: None,
            schedule: Schedule::new(Instant::now()),
            rng: rand::make_rng(),
            numbers: 0,
            complained: false,
            is_without_peer: false,
        };
        let span = tracing::info_span!(parent: None, "homing.peers", %region);
        let task = async move {
            if let Err(panic) = catch_panic(task.run()).await {
                error!(panic, "a bug: watching the peers of a region panicked; the next call starts again");
            }
        };
        tokio::spawn(task.instrument(span));
        let budget = Arc::new(Mutex::new(Budget::new(Instant::now())));
        let (passed_over, no_database_since) = Default::default();
        Self {
            region,
            snapshot,
            wanted,
            passed_over,
            budget,
            queue: Queue::new(settings.max_waiting),
            no_database_since,
        }
    }

    /// Returns whether the task has ended, through a panic or with its runtime.
    pub(crate) fn has_ended(&self) -> bool {
        self.snapshot.has_changed().is_err()
    }

    /// Records a request, which allows for a part of a second attempt.
    pub(crate) fn begin(&self) {
        self.budget().deposit();
    }

    /// Returns whether an attempt may be repeated that load may have caused to fail.
    pub(crate) fn may_retry(&self) -> bool {
        self.budget().withdraw(Instant::now())
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Returns where requests wait while all peers are full.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Records whether the database of a peer could be reached. Returns since when none could be.
    pub(crate) fn note_database(&self, was_reached: bool) -> Option<Instant> {
        let mut since = self.no_database_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if was_reached { None } else { since.or(Some(Instant::now())) };
        *since
    }

    /// Returns since when no peer has been up, or no peer could reach its database.
    pub(crate) fn unreachable_since(&self) -> Option<Instant> {
        let no_database_since = *self.no_database_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.snapshot.borrow().without_peer_since.or(no_database_since)
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prefers other peers for [`PASS_OVER_TIME`], because the database of this one is not the primary.
    pub(crate) fn pass_over(&self, address: SocketAddr) {
        let until = Instant::now() + PASS_OVER_TIME;
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).insert(address, until);
    }

    /// Returns the peers that are passed over at the moment.
    pub(crate) fn passed_over(&self) -> Vec<SocketAddr> {
        let mut passed_over = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        passed_over.retain(|_, until| *until > now);
        passed_over.keys().copied().collect()
    }

    /// Returns the connection for the next attempt. Waits for a peer to come up, until the deadline. If no peer has been
    /// up for a long time, it waits only until all peers have failed since the request began.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn pick(&self, request: &PickRequest<'_>, deadline: Instant) -> Result<Arc<Link>> {
        let mut snapshots = self.snapshot.clone();
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let snapshot = snapshot.only(request.peer, &self.region)?;
            match snapshot.choose(request, Instant::now(), &mut rand::rng()) {
                Choice::Peer(link) => return Ok(link),
                Choice::NoPeer => return Err(snapshot.no_peer(&self.region)),
                Choice::Wait => self.wanted.notify_one(),
            }
            let gives_up = snapshot.gives_up_at(request).filter(|at| *at > Instant::now());
            let until = gives_up.map_or(deadline, |at| at.min(deadline));
            match time::timeout_at(until, snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(self.ended()),
                Err(_) if until < deadline => {}
                Err(_) => return Err(self.too_late(&snapshot)),
            }
        }
    }

    /// Waits until a request that waits for an answer on this connection should be sent again, see
    /// [`Snapshot::replaces`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn replacement(&self, link: &Arc<Link>, tried: &[SocketAddr]) {
        let mut snapshots = self.snapshot.clone();
        if snapshots.wait_for(|snapshot| snapshot.replaces(link, tried)).await.is_err() {
            std::future::pending().await
        }
    }

    fn too_late(&self, snapshot: &Snapshot) -> Error {
        let Self { region, .. } = self;
        let state = match snapshot.members.is_empty() {
            true => "its addresses are still being looked up".to_owned(),
            false => snapshot.describe(),
        };
        Error::not_sent(format!("no peer in region {region} came up within the time limit: {state}"))
    }

    /// Without a panic the task ends only after its last handle, or with the runtime.
    fn ended(&self) -> Error {
        let Self { region, .. } = self;
        Error::not_sent(format!(
            "the peers of region {region} are no longer watched, because of a bug that is in the log, or because the \
             runtime is shutting down; call again"
        ))
    }
}

struct PeerSetTask {
    region: Region,
    primary_region: Region,
    discover: Arc<dyn Discover>,
    identity: Arc<Identity>,
    settings: PeerSettings,
    publish: watch::Sender<Arc<Snapshot>>,
    /// A clone is given to each peer.
    reporter: mpsc::Sender<(u64, PeerState)>,
    reports: mpsc::Receiver<(u64, PeerState)>,
    wanted: Arc<Notify>,
    entries: BTreeMap<SocketAddr, Entry>,
    tasks: JoinSet<()>,
    lookup: Option<LastLookup>,
    looking_up: Option<BoxFuture<'static, Result<LookUp>>>,
    schedule: Schedule,
    rng: SmallRng,
    /// The number of the newest peer. An address that is removed and added again gets another number, so that reports
    /// of its former task are ignored.
    numbers: u64,
    /// Whether the failure of the look-up has been logged.
    complained: bool,
    /// Whether it has been logged that no peer is up, since one was.
    is_without_peer: bool,
}

struct Entry {
    number: u64,
    state: PeerState,
    load: Arc<Load>,
    wanted: Arc<Notify>,
    task: AbortHandle,
}

impl PeerSetTask {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.publish.closed() => return,
                Some((number, state)) = self.reports.recv() => self.on_report(number, state),
                answer = answer(&mut self.looking_up) => self.on_answer(answer),
                () = time::sleep_until(self.schedule.due()), if self.looking_up.is_none() => self.start_look_up(),
                () = self.wanted.notified() => self.on_wanted(),
                Some(ended) = self.tasks.join_next() => { resume_panic(ended); },
            }
        }
    }

    fn on_report(&mut self, number: u64, state: PeerState) {
        let Some(entry) = self.entries.values_mut().find(|entry| entry.number == number) else { return };
        let was_up = entry.state.is_ready();
        entry.state = state;
        let is_up = entry.state.is_ready();
        if was_up && !is_up {
            self.hasten(Pace::Fast);
        } else if !self.is_any_up() {
            self.hasten(Pace::Slow);
        }
        self.publish();
    }

    fn is_any_up(&self) -> bool {
        self.entries.values().any(|entry| entry.state.is_ready())
    }

    /// Looks the addresses up early, because a peer may have been replaced.
    fn hasten(&mut self, pace: Pace) {
        self.schedule.hasten(Instant::now(), pace, self.looking_up.is_some(), &mut self.rng);
    }

    fn start_look_up(&mut self) {
        self.looking_up = Some(Box::pin(look_up(Arc::clone(&self.discover), self.region.clone())));
    }

    fn on_answer(&mut self, answer: Result<LookUp>) {
        self.looking_up = None;
        match answer {
            Ok(LookUp { resolution, place }) if resolution.addresses.is_empty() => {
                self.on_no_address(true, &format!("there is no address in {place}"));
            }
            Ok(LookUp { resolution, .. }) => self.on_addresses(resolution),
            Err(error) => self.on_no_address(false, &Causes(&error).to_string()),
        }
        self.publish();
    }

    fn on_addresses(&mut self, resolution: Resolution) {
        if resolution.is_complete {
            if std::mem::take(&mut self.complained) {
                info!(region = %self.region, "peer addresses are known again");
            }
            let ttl = resolution.ttl.clamp(Resolution::MIN_TTL, Resolution::MAX_TTL);
            self.schedule.answered(Instant::now(), ttl, &mut self.rng);
        } else {
            if !std::mem::replace(&mut self.complained, true) {
                warn!(region = %self.region, "a part of the look-up of peer addresses failed; keeping the known ones");
            }
            self.schedule.failed(Instant::now(), &mut self.rng);
        }
        self.lookup = Some(LastLookup { at: Instant::now(), is_answer: true, failure: None });
        if resolution.addresses.len() > MAX_PEERS {
            let addresses = resolution.addresses.len();
            warn!(region = %self.region, addresses, MAX_PEERS, "too many peers; using the first");
        }
        let addresses: BTreeSet<SocketAddr> = resolution.addresses.into_iter().take(MAX_PEERS).collect();
        self.entries.retain(|address, entry| {
            let may_be_missing = !resolution.is_complete && !matches!(entry.state, PeerState::Down(_));
            let stays = may_be_missing || addresses.contains(address);
            if !stays {
                info!(%address, "peer is removed");
                entry.task.abort();
            }
            stays
        });
        for address in addresses {
            if !self.entries.contains_key(&address) {
                self.add(address);
            }
        }
    }

    /// Keeps the list of peers.
    fn on_no_address(&mut self, is_answer: bool, failure: &str) {
        self.schedule.failed(Instant::now(), &mut self.rng);
        self.lookup = Some(LastLookup { at: Instant::now(), is_answer, failure: Some(failure.into()) });
        if !std::mem::replace(&mut self.complained, true) {
            let kept = self.entries.len();
            let advice = "check the name of the region and the settings of discovery";
            warn!(region = %self.region, %failure, kept, advice, "no peer addresses found; keeping the known ones");
        }
    }

    fn add(&mut self, address: SocketAddr) {
        self.numbers += 1;
        let (load, wanted) = (Arc::<Load>::default(), Arc::new(Notify::new()));
        let peer = Peer {
            name: PeerName::new(self.region.clone(), address),
            identity: Arc::clone(&self.identity),
            settings: self.settings,
            primary_region: self.primary_region.clone(),
            load: Arc::clone(&load),
            wanted: Arc::clone(&wanted),
            reports: self.reporter.clone(),
            number: self.numbers,
        };
        let task = self.tasks.spawn(peer.run().in_current_span());
        let entry = Entry { number: self.numbers, state: PeerState::Connecting, load, wanted, task };
        self.entries.insert(address, entry);
    }

    /// Ends the delays of peers that are down, because a call waits for a peer. If no peer is up, looks for others.
    fn on_wanted(&mut self) {
        let down = self.entries.values().filter(|entry| matches!(entry.state, PeerState::Down(_)));
        down.for_each(|entry| entry.wanted.notify_one());
        if !self.is_any_up() {
            self.hasten(Pace::Fast);
        }
    }

    fn publish(&mut self) {
        let without_peer_since = match self.is_any_up() {
            true => None,
            false => self.publish.borrow().without_peer_since.or(Some(Instant::now())),
        };
        let member = |(address, entry): (&SocketAddr, &Entry)| Member {
            name: PeerName::new(self.region.clone(), *address),
            state: entry.state.clone(),
            load: Arc::clone(&entry.load),
        };
        let members = self.entries.iter().map(member).collect();
        let snapshot = Snapshot { members, lookup: self.lookup.clone(), without_peer_since };
        self.warn_without_peer(&snapshot);
        self.publish.send_replace(Arc::new(snapshot));
    }

    /// Logs once that every peer has failed, until one is up again. At the start of a node this is a wrong setting: a port,
    /// a firewall, the secret.
    fn warn_without_peer(&mut self, snapshot: &Snapshot) {
        let are_all_down = self.entries.values().all(|entry| matches!(entry.state, PeerState::Down(_)));
        if self.is_any_up() {
            self.is_without_peer = false;
        } else if !self.entries.is_empty() && are_all_down && !std::mem::replace(&mut self.is_without_peer, true) {
            warn!(region = %self.region, peers = snapshot.describe(), "no peer of the region takes calls");
        }
    }
}

/// Waits for the look-up under way; without one, for ever.
async fn answer(looking_up: &mut Option<BoxFuture<'static, Result<LookUp>>>) -> Result<LookUp> {
    match looking_up {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The capacity of the queue of reports: one for each peer of a region of usual size. If it is full, the peers' tasks
/// wait.
const REPORT_QUEUE_CAPACITY: usize = 32;

/// How many peers a region may have. Further addresses are ignored with a warning; so many are probably a mistake.
const MAX_PEERS: usize = 256;

/// How long other peers are preferred after a peer said that its database is not the primary. It is short because roles
/// change.
const PASS_OVER_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::discover::static_peers::StaticPeers;
    use crate::peer::pick::WaitFor;
    use crate::topology::Topology;

    fn spawn(discover: impl Discover) -> PeerSet {
        let region = Region::local();
        let identity = Arc::new(Identity::new(&Topology::local(), [0; 16], None, None));
        PeerSet::spawn(region.clone(), region, Arc::new(discover), identity, PeerSettings::default())
    }

    async fn pick(peers: &PeerSet) -> Result<Arc<Link>> {
        let began = Instant::now();
        let patience = Duration::ZERO;
        let (tried, wait_for, passed_over) = (&[], WaitFor::AnyPeer, &[]);
        let request = PickRequest { began, patience, peer: None, tried, wait_for, passed_over };
        peers.pick(&request, began + Duration::from_secs(600)).await
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_call_ends_a_peers_delay() {
        let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let peers = spawn(StaticPeers::none().with_region(Region::local(), [closed_port]));
        pick(&peers).await.unwrap_err();
        // Each failed attempt is reported; after ten of them the delays are seconds long.
        let mut snapshots = peers.snapshot.clone();
        for _ in 0..10 {
            snapshots.changed().await.unwrap();
        }
        time::advance(Duration::from_secs(1)).await;
        let began = Instant::now();
        let error = pick(&peers).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }

    /// Panics when it is asked for the first time, and returns an address after that.
    #[derive(Debug)]
    struct PanicsOnce(AtomicBool, SocketAddr);

    impl Discover for PanicsOnce {
        fn resolve<'a>(&'a self, _: &'a Region) -> BoxFuture<'a, Result<Resolution>> {
            assert!(self.0.swap(true, Ordering::SeqCst), "a bug in the look-up");
            Box::pin(std::future::ready(Ok(Resolution::new([self.1], Resolution::MAX_TTL))))
        }

        fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn look_up_is_repeated_after_panic() {
        let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let peers = spawn(PanicsOnce(AtomicBool::new(false), closed_port));
        let error = pick(&peers).await.unwrap_err();
        assert!(error.is_not_sent() && error.to_string().contains("a bug in the look-up"), "{error}");
        let mut snapshots = peers.snapshot.clone();
        let found = snapshots.wait_for(|snapshot| !snapshot.members.is_empty()).await;
        assert!(found.is_ok() && !peers.has_ended());
    }
}
