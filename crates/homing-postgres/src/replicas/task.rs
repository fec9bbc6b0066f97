//! [`ReplicaTask`], the task of a replica set.
//!
//! # Task
//!
//! `Replicas::start` spawns the task, and `Replicas` keeps its handle. It owns the entries, the members and their
//! state. It resolves host names when it is time, adds and removes servers, probes them while reads are made, and
//! publishes a snapshot after each change. If the primary may be another server, it asks them all ([`Search`]). It runs
//! this work in a `JoinSet`, with at most one resolution for each entry, and one first query, one probe and one question
//! for its role for each server, at a time.
//!
//! Its input is the list (`watch`), a bounded channel of failed reads, [`Usage`], and a `Notify` of the calls and pools
//! that miss the primary ([`Seekers`]). Its output is a `watch` of snapshots. The task is aborted, together with its work,
//! when the last `Replicas` is dropped. A panic of its work is logged and counts as a failure of that work. A panic of the
//! task itself is logged, and the task starts again after [`RESTART_DELAY`]: it connects to all servers anew, and until then
//! the last snapshot stays.

mod introduction;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homing_rpc::catch_panic;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{self, Instant};
use tokio_postgres::error::SqlState;
use tracing::{error, info, warn};

use super::entry::ListEntry;
use super::lag::Newest;
use super::list::{Replica, ReplicaList};
use super::member::{Origin, Snapshot};
use super::resolve::{Resolved, Resolver};
use super::search::{Search, Seekers};
use super::settings::ReplicaSettings;
use super::status::Health;
use super::usage::Usage;
use super::watched::{Change, Watched};
use crate::connection::address::Address;
use crate::connection::known::Server;
use crate::database::{Database, unusable};
use crate::error::database::DatabaseError;
use crate::error::function::with_causes;
use crate::error::{Error, Result};
use crate::position::state::ServerState;

/// A message from the handles to the task.
#[derive(Debug)]
pub(super) enum Message {
    /// A server could not answer a read.
    Suspect(u64),
}

/// The result of a piece of work.
#[derive(Debug)]
enum Done {
    Resolved(u64, Resolved),
    Introduced(u64, Result<(Server, Duration)>),
    Probed(u64, Result<ServerState, String>),
    /// The answer to a search of the primary.
    Asked(u64, Result<Server>),
}

/// Runs the task of a replica set. `primary` is the primary next to this node.
pub(super) async fn run(mut parts: TaskParts, primary: Option<ListEntry>) {
    while let Err(panic) = catch_panic(async { ReplicaTask::new(&mut parts, primary.clone()).run().await }).await {
        error!(panic, "a bug: the task of the replicas panicked; it starts again");
        time::sleep(RESTART_DELAY).await;
    }
}

struct ReplicaTask<'a> {
    parts: &'a mut TaskParts,
    is_list_open: bool,
    /// In the order of the list; the primary next to this node first.
    entries: Vec<ListEntry>,
    servers: Vec<Watched>,
    search: Search,
    /// The first error by which a server of the primary's entry refused the settings of this node.
    refusal: Option<Error>,
    rng: SmallRng,
    numbers: u64,
    jobs: JoinSet<Done>,
}

/// The parts of a task that come from its handle.
pub(super) struct TaskParts {
    pub(super) list: watch::Receiver<Vec<Replica>>,
    /// The same list, if it is in a file.
    pub(super) file: Option<ReplicaList>,
    pub(super) settings: ReplicaSettings,
    pub(super) resolver: Arc<Resolver>,
    pub(super) publish: watch::Sender<Arc<Snapshot>>,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) usage: Arc<Usage>,
    pub(super) newest: Arc<Mutex<Newest>>,
    pub(super) seekers: Arc<Seekers>,
    /// Signalled when the servers of the first list have been asked. It holds an error if PostgreSQL refuses this node.
    pub(super) ready: Option<oneshot::Sender<Result<()>>>,
}

impl<'a> ReplicaTask<'a> {
    fn new(parts: &'a mut TaskParts, primary: Option<ListEntry>) -> Self {
        let mut task = Self {
            parts,
            is_list_open: true,
            entries: primary.into_iter().collect(),
            servers: Vec::new(),
            search: Search::default(),
            refusal: None,
            rng: rand::make_rng(),
            numbers: 0,
            jobs: JoinSet::new(),
        };
        task.on_list();
        task
    }

    async fn run(mut self) {
        loop {
            let probe_at = self.next_probe();
            let resolve_at = self.entries.iter().filter_map(ListEntry::next_resolution).min();
            tokio::select! {
                message = self.parts.messages.recv() => match message {
                    Some(message) => self.on_message(&message),
                    None => return,
                },
                changed = self.parts.list.changed(), if self.is_list_open => match changed {
                    Ok(()) => self.on_list(),
                    Err(_) => self.is_list_open = false,
                },
                Some(done) = self.jobs.join_next() => self.on_done(done),
                () = until(resolve_at) => self.resolve(),
                () = until(probe_at) => self.probe(),
                () = until(self.search.due()) => self.search(),
                () = self.parts.seekers.alarm.notified() => self.search.want(Instant::now()),
                () = self.parts.usage.wanted() => {}
            }
        }
    }

    /// Returns when to send the next probe, and `None` while no reads are made.
    fn next_probe(&self) -> Option<Instant> {
        let usage = &self.parts.usage;
        let worth_probing: Vec<_> = self.servers.iter().filter(|server| server.is_worth_probing()).collect();
        let probed: Vec<_> = worth_probing.iter().map(|server| server.probed_reads).collect();
        if !usage.wants_any_probe(&probed) {
            return None;
        }
        let due =
            worth_probing.iter().filter(|server| !server.is_being_probed && usage.wants_probe(server.probed_reads));
        due.map(|server| server.probe_at).min()
    }

    fn on_message(&mut self, message: &Message) {
        let Message::Suspect(id) = message;
        let now = Instant::now();
        if let Some(server) = self.servers.iter_mut().find(|server| server.id == *id) {
            server.suspect(now);
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Follows a change of the list. Entries that stay keep their connections.
    fn on_list(&mut self) {
        let now = Instant::now();
        let replicas = self.parts.list.borrow_and_update().clone();
        let mut known: Vec<_> = std::mem::take(&mut self.entries);
        let mut entries: Vec<_> = known.extract_if(.., |entry| entry.is_primary()).collect();
        for replica in replicas {
            let same = known.iter().position(|entry| entry.replica.as_ref() == Some(&replica));
            match same {
                Some(index) => entries.push(known.swap_remove(index)),
                None => {
                    let number = self.number();
                    entries.push(ListEntry::replica(number, replica, &self.parts.settings, now));
                }
            }
        }
        self.entries = entries;
        let kept: BTreeSet<_> = self.entries.iter().map(|entry| entry.number).collect();
        self.servers.retain(|server| kept.contains(&server.entry));
        // The entry that used the same server may just have gone.
        for entry in self.entries.iter_mut().filter(|entry| entry.has_warned_of_duplicate) {
            entry.resolve_again(now);
        }
        self.changed();
    }

    fn resolve(&mut self) {
        let now = Instant::now();
        if let Some(list) = &self.parts.file {
            list.refresh();
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.next_resolution().is_some_and(|at| at <= now)) {
            entry.begin_resolution();
            let (number, resolver, string) = (entry.number, Arc::clone(&self.parts.resolver), entry.string.clone());
            let resolve = async move { Done::Resolved(number, resolver.resolve(&string).await) };
            let failed = move |error| Done::Resolved(number, Resolved::failed(error));
            self.jobs.spawn(or_failed(resolve, failed));
        }
    }

    fn probe(&mut self) {
        let now = Instant::now();
        let usage = &self.parts.usage;
        let is_due = |server: &Watched| {
            server.is_worth_probing()
                && !server.is_being_probed
                && server.probe_at <= now
                && usage.wants_probe(server.probed_reads)
        };
        for server in &mut self.servers {
            if is_due(server) {
                server.is_being_probed = true;
                server.probed_reads = Some(usage.reads());
                let (id, tracker, limit) = (server.id, server.database.tracker().clone(), server.probe_timeout());
                let probe = async move {
                    let state = match time::timeout(limit, tracker.probe()).await {
                        Ok(Ok(state)) => Ok(state),
                        Ok(Err(error)) => Err(with_causes(&error)),
                        Err(_) => Err(format!("no answer within {limit:?}")),
                    };
                    Done::Probed(id, state)
                };
                self.jobs.spawn(or_failed(probe, move |error| Done::Probed(id, Err(error.to_string()))));
            }
        }
    }

    fn on_done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Resolved(entry, resolved)) => self.on_resolved(entry, resolved),
            Ok(Done::Introduced(id, answer)) => self.on_introduced(id, answer),
            Ok(Done::Probed(id, state)) => self.on_probed(id, state),
            Ok(Done::Asked(id, answer)) => self.on_asked(id, answer),
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn on_resolved(&mut self, number: u64, resolved: Resolved) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else { return };
        entry.end_resolution(&resolved, Instant::now());
        if resolved.failure.is_none() {
            entry.keys = resolved.addresses.iter().map(Address::key).collect();
            self.drop_former(number);
        }
        for address in resolved.addresses {
            self.add(number, address);
        }
        self.changed();
    }

    /// Drops the servers of an entry to which its names no longer lead. A primary stays until its successor answers.
    fn drop_former(&mut self, number: u64) {
        let Some(entry) = self.entries.iter().find(|entry| entry.number == number) else { return };
        let is_current = |server: &Watched| entry.keys.contains(&server.key);
        let has_primary =
            self.servers.iter().any(|server| server.entry == number && is_current(server) && server.is_primary());
        let may_go = !entry.keys.is_empty() && (has_primary || !entry.is_primary());
        self.servers.retain(|server| {
            let stays = server.entry != number || is_current(server) || !may_go;
            if !stays && entry.is_primary() {
                let (variable, address) = (&entry.config.variable, server.database.pool().address());
                info!(variable, %address, "the name of the primary leads to another server now");
            }
            stays
        });
    }

    fn add(&mut self, number: u64, address: Address) {
        let key = address.key();
        let is_primary = self.entries.iter().any(|entry| entry.number == number && entry.is_primary());
        if let Some(same) = self.servers.iter_mut().find(|server| server.key == key) {
            let other = if is_primary { std::mem::replace(&mut same.entry, number) } else { number };
            if is_primary {
                same.origin = Origin::OwnPrimary;
            }
            if other != same.entry {
                self.warn_of_duplicate(other, &address);
            }
            return;
        }
        if self.servers.len() >= ReplicaList::MAX_REPLICAS {
            warn!(%address, max = ReplicaList::MAX_REPLICAS, "too many replicas: not using this one");
            return;
        }
        let id = self.number();
        let Some(entry) = self.entries.iter().find(|entry| entry.number == number) else { return };
        let database = Database::at(address, entry.config.clone(), Arc::clone(&self.parts.seekers.alarm));
        let pool = database.pool().clone();
        let mut server = Watched::new(id, number, key, database, entry.origin, Instant::now());
        server.session_attrs = entry.string.session_attrs();
        self.servers.push(server);
        let ask = async move {
            let deadline = Instant::now() + pool.address().opening_timeout();
            let answer = async { Ok((pool.introduce(deadline).await?, pool.round_trip(deadline).await?)) };
            Done::Introduced(id, answer.await)
        };
        self.jobs.spawn(or_failed(ask, move |error| Done::Introduced(id, Err(error))));
    }

    fn warn_of_duplicate(&mut self, number: u64, address: &Address) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else { return };
        if !std::mem::replace(&mut entry.has_warned_of_duplicate, true) {
            warn!(replica = %entry.name, %address, "this server is in the list by another name: using it once");
        }
    }

    /// Asks each server for its role, and looks its names up again.
    fn search(&mut self) {
        let now = Instant::now();
        for entry in self.entries.iter_mut().filter(|entry| entry.is_primary()) {
            entry.hasten_resolution(now);
        }
        let mut asked = 0;
        for server in self.servers.iter().filter(|server| !server.is_alias) {
            let (id, pool) = (server.id, server.database.pool().clone());
            self.jobs.spawn(async move { Done::Asked(id, pool.ask_anew(now + SEARCH_TIMEOUT).await) });
            asked += 1;
        }
        self.search.begin(asked, &self.parts.seekers);
        if asked == 0 {
            self.search.end(false, &self.parts.seekers, now);
        }
    }

    fn on_asked(&mut self, id: u64, answer: Result<Server>) {
        let now = Instant::now();
        if let Some(index) = self.servers.iter().position(|server| server.id == id) {
            let is_new = self.servers[index].introduced.is_none();
            let (number, error) = (self.servers[index].entry, answer.as_ref().err().map(|error| with_causes(error)));
            let is_busy = answer.as_ref().is_err_and(is_full);
            let change = if is_busy { None } else { self.servers[index].reported(answer.ok(), now) };
            if is_new {
                self.note_aliases(index);
            }
            if let Some(change) = change {
                report(&self.servers[index], change, error);
            }
            self.drop_former(number);
        }
        self.publish();
        let is_found = self.parts.publish.borrow().has_primary();
        self.search.answered(is_found, &self.parts.seekers, now);
    }

    fn on_probed(&mut self, id: u64, state: Result<ServerState, String>) {
        let now = Instant::now();
        let Some(server) = self.servers.iter_mut().find(|server| server.id == id) else { return };
        server.is_being_probed = false;
        let known = server.database.pool().server().map(|server| server.role);
        if !server.database.is_spread() && state.as_ref().is_ok_and(|state| known != Some(state.role)) {
            self.search.want(now);
        }
        let change = match &state {
            Ok(state) => {
                let mut newest = self.parts.newest.lock().unwrap_or_else(PoisonError::into_inner);
                newest.hear_of(state, now);
                server.answered(state, &newest, &self.parts.settings, now)
            }
            Err(_) => server.did_not_answer(&self.parts.settings, &mut self.rng, now),
        };
        if let Some(change) = change {
            report(server, change, state.err());
        }
        self.publish();
    }

    /// Publishes a snapshot, and signals when the servers of the first list have been asked. A primary that answers does not
    /// wait for the other servers of its entry.
    fn changed(&mut self) {
        self.publish();
        let is_ready = |entry: &ListEntry| {
            let servers = || self.servers.iter().filter(|server| server.entry == entry.number);
            let has_primary = entry.is_primary() && servers().any(Watched::is_primary);
            entry.was_resolved && (has_primary || servers().all(|server| server.is_known))
        };
        if self.entries.iter().all(is_ready)
            && let Some(ready) = self.parts.ready.take()
        {
            let primary = self.entries.iter().find(|entry| entry.is_primary());
            // A search may have had an answer before the address turned out to be unusable.
            let may_be_used = |server: &Watched| server.database.pool().known().last_fault().is_none();
            let is_usable = self.servers.iter().any(|server| server.introduced.is_some() && may_be_used(server));
            let refusal = self.refusal.take().zip(primary).filter(|_| !is_usable);
            let outcome = refusal.map_or(Ok(()), |(error, entry)| Err(unusable(&entry.config.variable, error)));
            // The caller may be gone.
            let _ = ready.send(outcome);
        }
    }

    fn publish(&self) {
        let mut members = Vec::new();
        for entry in &self.entries {
            let servers = || self.servers.iter().filter(|server| server.entry == entry.number && server.is_visible());
            // Of the servers that may be the primary, one that never answered may not exist.
            let has_answer = entry.is_primary() && servers().any(|server| server.introduced.is_some());
            let servers = || servers().filter(|server| !has_answer || server.introduced.is_some());
            let is_only = servers().count() == 1;
            for server in servers() {
                let name = match is_only || entry.is_primary() && server.is_primary() {
                    true => Arc::clone(&entry.name),
                    false => Arc::from(format!("{}/{}", entry.name, server.database.pool().address().authority())),
                };
                members.push(Arc::new(server.member(&entry.name, name, entry.region())));
            }
        }
        self.parts.publish.send_replace(Arc::new(Snapshot(members)));
    }
}

fn report(server: &Watched, change: Change, error: Option<String>) {
    let address = server.database.pool().address();
    match change.to {
        Health::Up => info!(%address, before = ?change.from, "the database server is back"),
        Health::TooFarBehind => warn!(%address, "the replica is too far behind: leaving it out until it has caught up"),
        Health::Down => warn!(%address, error, "the database server does not answer: leaving it out until it does"),
    }
}

/// Runs a piece of work. A panic counts as its failure.
async fn or_failed(work: impl Future<Output = Done>, failed: impl FnOnce(Error) -> Done) -> Done {
    catch_panic(work).await.unwrap_or_else(|panic| {
        error!(panic, "a bug: work on a replica panicked; it is tried again");
        failed(Error::not_sent(format!("a bug, it panicked: {panic}")))
    })
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Returns whether PostgreSQL answered, but had no room for another connection.
fn is_full(error: &Error) -> bool {
    code(error) == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// Returns the SQLSTATE of a failed connection.
fn code(error: &Error) -> Option<&SqlState> {
    std::error::Error::source(error)?.downcast_ref().map(DatabaseError::code)
}

/// How long one server may take to tell its role in a search. Long enough for a connection around the world.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a panic, so that a bug that comes back does not take a core.
const RESTART_DELAY: Duration = Duration::from_secs(1);
