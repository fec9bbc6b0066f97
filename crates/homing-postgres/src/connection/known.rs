//! [`KnownServer`], what the connections to one server have learned of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::{Client, Error};

use super::abilities::Abilities;
use super::identity::{Fault, Identity, Meeting, Replacement, Sighting};
use crate::position::kind::PositionKind;
use crate::position::role::Role;
use crate::position::state::ServerId;
use crate::position::{SystemIdentifier, Timeline};

/// A server as it reported itself when a connection was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) role: Role,
    pub(crate) system_identifier: SystemIdentifier,
    /// The timeline of a primary, which it keeps for as long as it runs. `None` of a replica.
    pub(crate) timeline: Option<Timeline>,
    /// When the server was started, in microseconds since 1970. It tells one server from another.
    pub(crate) started_at: i64,
    /// Whether its sessions are read-only by default, as those of a replica are.
    pub(crate) is_read_only: bool,
}

/// The last report of a server. It notifies `alarm` if the server may have lost or gained the role of the primary.
///
/// The pool and the tracker of an address share it, so that both use connections to the same server. If the address leads to
/// several replicas that tell positions by transaction, it is *spread* over them: the connections to all of them are used, and
/// each read asks on its own connection how far that server is.
#[derive(Debug)]
pub(crate) struct KnownServer {
    /// The lock is held to read or replace the value only.
    state: Mutex<State>,
    /// Changes if another server may have taken the place of the one that the address led to, or if that one was started
    /// again. It is written under the lock, together with the report.
    generation: AtomicU64,
    /// Changes if another server may have taken its place.
    moves: AtomicU64,
    alarm: Arc<Notify>,
    /// The kind of positions that the settings name.
    positions: Option<PositionKind>,
    /// Whether the address may lead to several servers.
    may_be_spread: bool,
}

#[derive(Debug, Default)]
struct State {
    report: Report,
    /// Whether the address leads to several replicas of one cluster.
    is_spread: bool,
    /// `None` before the first connection to this server.
    abilities: Option<Abilities>,
    identity: Identity,
    /// Why the last connection could not be opened, as the end of a sentence about the server.
    complaint: Option<String>,
}

/// The last report of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// `None` before the first connection.
    pub(crate) server: Option<Server>,
    pub(crate) heard_at: Option<Instant>,
}

/// The news in an answer.
///
/// Closed: each is logged in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Noted {
    Nothing,

    /// The server has another role than before.
    OtherRole,

    /// The address leads to several servers, and can be used.
    Spread,

    /// The address cannot be used.
    Fault(Fault),
}

impl Server {
    pub(crate) fn id(&self) -> ServerId {
        ServerId { system_identifier: self.system_identifier, started_at: self.started_at }
    }

    /// Returns what several servers have in common with this one of them. Nothing is written there, even if one of them is the
    /// primary.
    fn of_several(self) -> Self {
        Self { role: Role::Replica, timeline: None, started_at: 0, is_read_only: true, ..self }
    }
}

impl KnownServer {
    /// `positions` is the kind of positions that the settings name; by default the server is asked.
    pub(crate) fn new(alarm: Arc<Notify>, positions: Option<PositionKind>) -> Self {
        let (generation, moves) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { state: Mutex::default(), generation, moves, alarm, positions, may_be_spread: false }
    }

    /// Lets the address lead to several replicas, if they tell positions by transaction.
    pub(super) fn for_reads(self) -> Self {
        Self { may_be_spread: true, ..self }
    }

    /// Returns whether the address leads to several servers, so that what is known of one of them says nothing of another.
    pub(crate) fn is_spread(&self) -> bool {
        self.lock().is_spread
    }

    /// Returns what the answer of a server says of the address.
    pub(super) fn seen_as(&self, server: Server) -> Server {
        if self.is_spread() { server.of_several() } else { server }
    }

    /// Returns the kind of positions that the settings name.
    pub(super) fn positions(&self) -> Option<PositionKind> {
        self.positions
    }

    /// Returns which functions the server lets this role call, as the first connection to it has found.
    pub(crate) fn abilities(&self) -> Option<Abilities> {
        self.lock().abilities
    }

    /// Tries which functions the server at the end of a new connection lets this role call.
    pub(crate) async fn explore(&self, client: &Client) -> Result<Abilities, Error> {
        let abilities = Abilities::explore(client, self.positions).await?;
        self.lock().abilities = Some(abilities);
        Ok(abilities)
    }

    pub(crate) fn report(&self) -> Report {
        self.lock().report
    }

    /// Returns a number that stays the same only while all connections lead to one server that is not started again. A read
    /// relied on one server if it finds the same number at its end.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns a number that stays the same while the connections lead to one server, which may have been started again.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Returns whether connections lead to this server now.
    pub(crate) fn is(&self, id: ServerId) -> bool {
        self.lock().is(id)
    }

    /// Returns whether a connection to this server can be used: it was not replaced, and has not changed its role.
    pub(super) fn accepts(&self, server: &Server) -> bool {
        let state = self.lock();
        state.is(server.id()) && (state.is_spread || state.report.server.is_none_or(|known| known.role == server.role))
    }

    /// Returns why the address cannot be used.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.lock().identity.fault(Instant::now())
    }

    /// Returns why the address could not be used lately. It may have been mended since.
    pub(crate) fn last_fault(&self) -> Option<Fault> {
        self.lock().identity.last_fault(Instant::now())
    }

    /// Notes what a new connection has found, with the report of the server if the connection has one. `positions` is how this
    /// server tells them. `answers` completes if the connection still answers.
    ///
    /// # Errors
    ///
    /// That of `answers`.
    pub(crate) async fn meet<E>(
        &self,
        sighting: &Sighting,
        server: Option<Server>,
        positions: PositionKind,
        answers: impl Future<Output = Result<(), E>>,
    ) -> Result<Noted, E> {
        if sighting.is_shared(None) {
            return Ok(self.blame(Fault::SharedSession));
        }
        match self.note(sighting, server) {
            Some(noted) => Ok(noted),
            // Its first answer may be older than that of the server in its place.
            None => answers.await.map(|()| self.note_several(sighting, server, positions)),
        }
    }

    /// Notes the answer of a connection. `None` if its server had been replaced.
    pub(crate) fn note(&self, sighting: &Sighting, server: Option<Server>) -> Option<Noted> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.is_spread {
            if !state.identity.is_of_cluster(sighting.id) {
                drop(state);
                return Some(self.blame(Fault::SeveralServers));
            }
            let server = state.report.server.or(server.map(Server::of_several));
            state.report = Report { server, heard_at: Some(now) };
            state.complaint = None;
            return Some(Noted::Nothing);
        }
        let before = state.report.server;
        match state.identity.meet(sighting, now) {
            Meeting::Returned => return None,
            Meeting::Replaced(how) => {
                state.report.server = None;
                state.abilities = None;
                self.generation.fetch_add(1, Ordering::AcqRel);
                if how == Replacement::Move {
                    self.moves.fetch_add(1, Ordering::AcqRel);
                }
            }
            Meeting::Same => {}
        }
        if server.is_some() {
            state.report = Report { server, heard_at: Some(now) };
        }
        state.complaint = None;
        drop(state);
        let has_changed = before.zip(server).is_some_and(|(before, server)| before.role != server.role);
        if has_changed {
            self.alarm.notify_one();
        }
        Some(if has_changed { Noted::OtherRole } else { Noted::Nothing })
    }

    /// Notes that connections lead to several servers at the same time. If these may answer reads, the address is spread over
    /// them from now on. Otherwise it cannot be used.
    pub(super) fn note_several(&self, sighting: &Sighting, server: Option<Server>, positions: PositionKind) -> Noted {
        let mut state = self.lock();
        let is_of_cluster = state.identity.is_of_cluster(sighting.id);
        if !self.may_be_spread || positions != PositionKind::Transaction || !is_of_cluster {
            drop(state);
            return self.blame(Fault::SeveralServers);
        }
        state.is_spread = true;
        state.report.server = server.or(state.report.server).map(Server::of_several);
        // What is known of one server, and what reads have relied on, holds for none of them.
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.moves.fetch_add(1, Ordering::AcqRel);
        Noted::Spread
    }

    /// Notes that the address cannot be used.
    pub(super) fn blame(&self, fault: Fault) -> Noted {
        let mut state = self.lock();
        state.report.server = None;
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.moves.fetch_add(1, Ordering::AcqRel);
        if state.identity.blame(fault, Instant::now()) { Noted::Fault(fault) } else { Noted::Nothing }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why a connection could not be opened.
    pub(super) fn complain(&self, reason: Option<String>) {
        self.lock().complaint = reason;
    }

    /// Returns why the last connection could not be opened, as the end of a sentence about the server.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.lock().complaint.clone()
    }

    /// Notes that the server does not react, so if it was the primary, it may no longer be.
    pub(crate) fn suspect(&self) {
        if self.report().server.is_none_or(|server| server.role == Role::Primary) {
            self.alarm.notify_one();
        }
    }

    /// Notes that a caller wants the primary, and this server is a replica.
    pub(crate) fn is_wrong(&self) {
        self.alarm.notify_one();
    }
}

impl State {
    /// Returns whether connections lead to this server now.
    fn is(&self, id: ServerId) -> bool {
        let now = Instant::now();
        match self.is_spread {
            true => self.identity.fault(now).is_none() && self.identity.is_of_cluster(id),
            false => self.identity.is(id, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::identity::tests::sighting;
    use super::*;

    fn server(role: Role) -> Server {
        let is_read_only = role == Role::Replica;
        Server { role, system_identifier: 7.into(), timeline: None, started_at: 1, is_read_only }
    }

    #[test]
    fn changes_of_role_are_told() {
        let known = KnownServer::new(Arc::default(), None);
        let roles = [Role::Primary, Role::Primary, Role::Replica, Role::Replica];
        let notes = roles.map(|role| known.note(&sighting(1, 1), Some(server(role))).unwrap());
        assert_eq!(notes, [Noted::Nothing, Noted::Nothing, Noted::OtherRole, Noted::Nothing]);
    }

    #[test]
    fn replaced_server_is_unknown() {
        let known = KnownServer::new(Arc::default(), None);
        let replica = server(Role::Replica);
        let _ = known.note(&sighting(1, 1), Some(replica));
        let numbers = || (known.generation(), known.moves());
        assert!(known.accepts(&replica) && numbers() == (0, 0));
        // The tracker finds it restarted, and then another one.
        let _ = known.note(&sighting(2, 1), None);
        assert!(!known.accepts(&replica) && known.report().server.is_none() && numbers() == (1, 0));
        let _ = known.note(&sighting(3, 2), None);
        assert_eq!(numbers(), (2, 1));
    }

    #[test]
    fn two_servers_need_an_answer() {
        let meet = |known: &KnownServer, started_at, host, answers: Result<(), &'static str>| {
            let positions = PositionKind::Lsn;
            known
                .meet(&sighting(started_at, host), None, positions, std::future::ready(answers))
                .now_or_never()
                .unwrap()
        };
        let known = KnownServer::new(Arc::default(), None);
        for (started_at, host) in [(1, 1), (2, 2)] {
            assert_eq!(meet(&known, started_at, host, Ok(())), Ok(Noted::Nothing));
        }
        assert_eq!(meet(&known, 1, 1, Err("closed")), Err("closed"));
        assert_eq!(known.fault(), None, "it was stopped");
        assert_eq!(meet(&known, 1, 1, Ok(())), Ok(Noted::Fault(Fault::SeveralServers)));
        assert_eq!(known.fault(), Some(Fault::SeveralServers));
        assert_eq!(meet(&known, 1, 1, Ok(())), Ok(Noted::Nothing), "it is known");
    }

    #[test]
    fn address_is_spread_over_replicas() {
        let meet = |known: &KnownServer, sighting: Sighting, role, positions| {
            let answers = std::future::ready(Ok::<_, ()>(()));
            known.meet(&sighting, Some(server(role)), positions, answers).now_or_never().unwrap().unwrap()
        };
        let (replica, transaction) = (Role::Replica, PositionKind::Transaction);
        let several = |known: &KnownServer, positions| {
            [(1, 1), (2, 2), (1, 1)].map(|(start, host)| meet(known, sighting(start, host), replica, positions))[2]
        };
        for (known, positions) in [
            (KnownServer::new(Arc::default(), None).for_reads(), PositionKind::Lsn),
            (KnownServer::new(Arc::default(), None), transaction),
        ] {
            assert_eq!(several(&known, positions), Noted::Fault(Fault::SeveralServers));
            assert!(!known.is_spread());
        }
        let known = KnownServer::new(Arc::default(), None).for_reads();
        assert_eq!(several(&known, transaction), Noted::Spread);
        let numbers = (known.generation(), known.moves());
        assert_eq!(numbers, (2, 2));
        // One of them may even be the primary: nothing is written there.
        assert_eq!(meet(&known, sighting(3, 3), Role::Primary, PositionKind::Lsn), Noted::Nothing);
        assert_eq!(known.report().server.unwrap().role, Role::Replica);
        assert_eq!(known.seen_as(server(Role::Primary)).role, Role::Replica);
        assert!(known.accepts(&server(Role::Primary)) && (known.generation(), known.moves()) == numbers);
        let mut stranger = sighting(4, 4);
        stranger.id.system_identifier = 8.into();
        assert!(!known.is(stranger.id));
        assert_eq!(meet(&known, stranger, replica, transaction), Noted::Fault(Fault::SeveralServers));
        assert!(!known.is(sighting(1, 1).id));
    }
}
