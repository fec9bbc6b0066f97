//! [`ReplicaTask`], the task of a replica set.
//!
//! # Task
//!
//! `Replicas::start` spawns the task, and `Replicas` keeps its handle. It owns the entries, the members and their
//! state. It resolves host names when it is time, adds and removes servers, probes them while reads are made, and
//! publishes a snapshot after each change. It runs this work in a `JoinSet`, with at most one resolution for each
//! entry, and one first query and one probe for each server, at a time.
//!
//! Its input is the list (`watch`), a bounded channel of failed reads, and [`Usage`]. Its output is a `watch` of
//! snapshots. The task is aborted, together with its work, when the last `Replicas` is dropped. A panic is logged: the
//! last snapshot stays, so reads go on, but no server comes back or is left out any more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{self, Instant};
use tracing::{info, warn};

use super::entry::ListEntry;
use super::lag::Newest;
use super::list::{Replica, ReplicaList};
use super::member::{Origin, Snapshot};
use super::resolve::{Resolved, Resolver};
use super::settings::ReplicaSettings;
use super::status::Health;
use super::usage::Usage;
use super::watched::{Change, Watched};
use crate::connection::address::Address;
use crate::connection::pool::Server;
use crate::database::{CONNECT_TIMEOUT, Database};
use crate::error::Result;
use crate::error::function::with_causes;
use crate::position::role::Role;
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
    /// The primary next to this node, at another address than before.
    Moved(u64, Result<Database>),
}

pub(super) struct ReplicaTask {
    parts: TaskParts,
    is_list_open: bool,
    /// In the order of the list; the primary next to this node first.
    entries: Vec<ListEntry>,
    servers: Vec<Watched>,
    rng: SmallRng,
    numbers: u64,
    jobs: JoinSet<Done>,
}

/// The parts of a task that come from its handle.
pub(super) struct TaskParts {
    pub(super) list: watch::Receiver<Vec<Replica>>,
    pub(super) settings: ReplicaSettings,
    pub(super) resolver: Arc<Resolver>,
    pub(super) publish: watch::Sender<Arc<Snapshot>>,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) usage: Arc<Usage>,
    pub(super) newest: Arc<Mutex<Newest>>,
    /// Signalled when all servers of the first list have been asked.
    pub(super) ready: Option<oneshot::Sender<()>>,
}

impl ReplicaTask {
    pub(super) fn new(parts: TaskParts, primary: Option<Database>) -> Self {
        let mut task = Self {
            parts,
            is_list_open: true,
            entries: Vec::new(),
            servers: Vec::new(),
            rng: rand::make_rng(),
            numbers: 0,
            jobs: JoinSet::new(),
        };
        if let Some(database) = primary {
            task.add_own_primary(database);
        }
        task.on_list();
        task
    }

    pub(super) async fn run(mut self) {
        let _panic_log = PanicLog;
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
                () = self.parts.usage.wanted() => {}
            }
        }
    }

    /// Returns when to send the next probe, and `None` while no reads are made.
    fn next_probe(&self) -> Option<Instant> {
        let linger = (self.parts.settings.probe_interval * 2).max(MIN_LINGER);
        if !self.parts.usage.is_current(linger) {
            return None;
        }
        let waiting = self.servers.iter().filter(|server| server.is_worth_probing() && !server.is_being_probed);
        waiting.map(|server| server.probe_at).min()
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

    fn add_own_primary(&mut self, database: Database) {
        let (entry, id, now) = (self.number(), self.number(), Instant::now());
        let key = database.pool().address().key();
        let mut server = Watched::new(id, entry, key, database.clone(), Origin::OwnPrimary, now);
        server.is_known = true;
        self.entries.push(ListEntry::primary(entry, database.config().clone(), now));
        self.servers.push(server);
        self.publish();
    }

    /// Follows a change of the list. Entries that stay keep their connections.
    fn on_list(&mut self) {
        let now = Instant::now();
        let replicas = self.parts.list.borrow_and_update().clone();
        let mut known: Vec<_> = std::mem::take(&mut self.entries);
        let mut entries: Vec<_> = known.extract_if(.., |entry| entry.replica.is_none()).collect();
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
        for entry in self.entries.iter_mut().filter(|entry| entry.next_resolution().is_some_and(|at| at <= now)) {
            entry.begin_resolution();
            let (number, resolver, config) = (entry.number, Arc::clone(&self.parts.resolver), entry.target.clone());
            self.jobs.spawn(async move { Done::Resolved(number, resolver.resolve(&config).await) });
        }
    }

    fn probe(&mut self) {
        let now = Instant::now();
        for server in &mut self.servers {
            if server.is_worth_probing() && !server.is_being_probed && server.probe_at <= now {
                server.is_being_probed = true;
                let (id, tracker, limit) = (server.id, server.database.tracker().clone(), server.probe_timeout());
                self.jobs.spawn(async move {
                    let state = match time::timeout(limit, tracker.probe()).await {
                        Ok(Ok(state)) => Ok(state),
                        Ok(Err(error)) => Err(with_causes(&error)),
                        Err(_) => Err(format!("no answer within {limit:?}")),
                    };
                    Done::Probed(id, state)
                });
            }
        }
    }

    fn on_done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Resolved(entry, resolved)) => self.on_resolved(entry, resolved),
            Ok(Done::Introduced(id, answer)) => self.on_introduced(id, answer),
            Ok(Done::Probed(id, state)) => self.on_probed(id, state),
            Ok(Done::Moved(entry, database)) => self.on_moved(entry, database),
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
        let (is_primary, is_complete) = (entry.replica.is_none(), resolved.failure.is_none());
        let keys: BTreeSet<_> = resolved.addresses.iter().map(Address::key).collect();
        if is_primary {
            self.follow_primary(number, resolved.addresses, &keys);
        } else {
            if is_complete {
                self.servers.retain(|server| server.entry != number || keys.contains(&server.key));
            }
            for address in resolved.addresses {
                self.add(number, address);
            }
        }
        self.changed();
    }

    /// Connects to the new address of the primary, if its name leads to another one now.
    fn follow_primary(&mut self, number: u64, addresses: Vec<Address>, keys: &BTreeSet<String>) {
        let here = self.servers.iter().find(|server| server.entry == number);
        let entry = self.entries.iter_mut().find(|entry| entry.number == number);
        let (Some(here), Some(entry)) = (here, entry) else { return };
        if keys.contains(&here.key) || addresses.is_empty() || entry.is_moving {
            return;
        }
        entry.is_moving = true;
        let config = entry.config.clone();
        self.jobs.spawn(async move { Done::Moved(number, Database::connect_to_one_of(addresses, config).await) });
    }

    fn on_moved(&mut self, number: u64, database: Result<Database>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else { return };
        entry.is_moving = false;
        let variable = entry.config.variable.clone();
        match database {
            Ok(database) => {
                info!(variable, address = %database.pool().address(), "following the primary to its new address");
                self.servers.retain(|server| server.entry != number);
                let (id, key) = (self.number(), database.pool().address().key());
                let mut server = Watched::new(id, number, key, database, Origin::OwnPrimary, Instant::now());
                server.is_known = true;
                self.servers.insert(0, server);
                self.publish();
            }
            Err(error) => {
                let error = with_causes(&error);
                warn!(variable, error, "no primary answers at the address to which the primary's name leads now");
            }
        }
    }

    fn add(&mut self, number: u64, address: Address) {
        let key = address.key();
        if let Some(same) = self.servers.iter().find(|server| server.key == key) {
            if same.entry != number {
                self.warn_of_duplicate(number, &address);
            }
            return;
        }
        if self.servers.len() >= ReplicaList::MAX_REPLICAS {
            warn!(%address, max = ReplicaList::MAX_REPLICAS, "too many replicas: not using this one");
            return;
        }
        let id = self.number();
        let Some(entry) = self.entries.iter().find(|entry| entry.number == number) else { return };
        let origin = entry.origin;
        let database = Database::at(address, entry.config.clone());
        let pool = database.pool().clone();
        self.servers.push(Watched::new(id, number, key, database, origin, Instant::now()));
        self.jobs.spawn(async move {
            let deadline = Instant::now() + CONNECT_TIMEOUT;
            let answer = async { Ok((pool.ask(deadline).await?, pool.round_trip(deadline).await?)) };
            Done::Introduced(id, answer.await)
        });
    }

    fn warn_of_duplicate(&mut self, number: u64, address: &Address) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else { return };
        if !std::mem::replace(&mut entry.has_warned_of_duplicate, true) {
            warn!(replica = %entry.name, %address, "this server is in the list by another name: using it once");
        }
    }

    fn on_introduced(&mut self, id: u64, answer: Result<(Server, Duration)>) {
        let Some(index) = self.servers.iter().position(|server| server.id == id) else { return };
        let (server, error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        let is_alias = server.is_some_and(|(server, _)| self.is_there_already(index, server));
        let watched = &mut self.servers[index];
        watched.introduce(server, Instant::now());
        watched.is_alias = is_alias;
        let address = watched.database.pool().address();
        match (server, error) {
            (Some(_), _) if is_alias => {
                info!(%address, "this server is known by another address: using it once");
            }
            (Some((Server { role: Role::Primary, .. }, _)), _) => {
                warn!(%address, "a listed replica is a primary: reads may go to it, writes go to the primary region");
            }
            (Some(_), _) => info!(%address, "connected to a replica"),
            (None, error) => {
                let error = error.as_ref().map(|error| with_causes(error));
                warn!(%address, error, "a replica does not answer: leaving it out until it does");
            }
        }
        self.changed();
    }

    /// Tells whether a server is already known by another address: a name may stand for two addresses of one server, as
    /// `localhost` does, and in the primary region for the primary.
    fn is_there_already(&self, index: usize, server: Server) -> bool {
        let entry = self.servers[index].entry;
        let same = |(other, watched): (usize, &Watched)| match watched.origin {
            Origin::OwnPrimary => watched.database.pool().server() == Some(server),
            _ => other != index && watched.entry == entry && !watched.is_alias && watched.introduced == Some(server),
        };
        server.started_at != 0 && self.servers.iter().enumerate().any(same)
    }

    fn on_probed(&mut self, id: u64, state: Result<ServerState, String>) {
        let now = Instant::now();
        let Some(server) = self.servers.iter_mut().find(|server| server.id == id) else { return };
        server.is_being_probed = false;
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

    /// Publishes a snapshot, and signals when all servers of the first list have been asked.
    fn changed(&mut self) {
        self.publish();
        let resolved = self.entries.iter().all(|entry| entry.replica.is_none() || entry.was_resolved);
        if resolved
            && self.servers.iter().all(|server| server.is_known)
            && let Some(ready) = self.parts.ready.take()
        {
            // The caller may be gone.
            let _ = ready.send(());
        }
    }

    fn publish(&self) {
        let mut members = Vec::new();
        for entry in &self.entries {
            let servers = || self.servers.iter().filter(|server| server.entry == entry.number && server.is_visible());
            let is_only = servers().count() == 1;
            for server in servers() {
                let name = match is_only {
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
        Health::Up => info!(%address, before = ?change.from, "the replica is back"),
        Health::TooFarBehind => warn!(%address, "the replica is too far behind: leaving it out until it has caught up"),
        Health::Down => warn!(%address, error, "the replica does not answer: leaving it out until it does"),
    }
}

/// Logs a panic of the task.
struct PanicLog;

impl Drop for PanicLog {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the task of the replicas panicked, so their state is no longer updated: restart the node");
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// How long probes go on after the last read at least, so that occasional reads find a fresh state.
const MIN_LINGER: Duration = Duration::from_secs(1);
