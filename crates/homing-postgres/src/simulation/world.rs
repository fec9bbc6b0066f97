//! [`World`], one history: what can happen next, and what then happens.

use super::bug::Bug;
use super::call::{Call, CallState, End, Next};
use super::choices::Choices;
use super::cluster::Cluster;
use super::executor::{Attempt, AttemptId, Stage, Task, Transaction};
use super::identities::Identities;
use super::read::Read;
use super::table::Key;
use crate::primary::attempts::Attempts;
use crate::session::Session;

/// Everything in one history.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) choices: Choices,
    pub(super) identities: &'a Identities,
    pub(super) bug: Option<Bug>,
    pub(super) cluster: Cluster,
    /// The peers in the region of the primary.
    pub(super) peers: [Peer; PEERS],
    pub(super) calls: Vec<Call>,
    /// `None`: it is over.
    pub(super) reads: Vec<Option<Read>>,
    pub(super) attempts: Vec<Attempt>,
    /// The attempts whose writes were committed, each with its key.
    pub(super) committed: Vec<(Key, AttemptId)>,
    pub(super) sessions: Vec<Caller>,
    /// The keys whose outcome is to be asked for.
    unknown: Vec<(usize, Key)>,
    next_key: Key,
    pub(super) now: u32,
    pub(super) faults_left: usize,
    calls_left: usize,
    events: Vec<Event>,
    /// What happened, if it is to be told.
    pub(super) story: Option<Vec<String>>,
    pub(super) violation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Up,
    Stopped,
    Down,
}

/// A session, and what its reads have to show.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) session: Session,
    /// The calls whose writes it was told of, or has seen.
    pub(super) required: u64,
    /// Those of them whose places it knows, so that it is told if they are lost.
    pub(super) placed: u64,
}

/// What may happen next, if nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Attempt(usize),
    Transaction(usize),
    Call(usize),
    Read(usize),
    Begin,
    Replay(usize),
    Resume(usize),
    Deliver(usize),
    Start(usize),
    Promote(usize),
}

/// Tells what happens, if somebody wants to know.
macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if let Some(story) = &mut $world.story {
            story.push(format!($($text)*));
        }
    };
}
pub(super) use tell;

impl<'a> World<'a> {
    pub(super) fn new(mut choices: Choices, identities: &'a Identities, bug: Option<Bug>) -> Self {
        let faults_left = choices.below(MAX_FAULTS + 1);
        let calls_left = 1 + choices.below(MAX_CALLS);
        let caller = || Caller { session: Session::default(), required: 0, placed: 0 };
        Self {
            choices,
            identities,
            bug,
            cluster: Cluster::new(SERVERS),
            peers: [Peer::Up; PEERS],
            calls: Vec::with_capacity(MAX_CALLS),
            reads: Vec::new(),
            attempts: Vec::with_capacity(64),
            committed: Vec::with_capacity(MAX_CALLS),
            sessions: vec![caller(), caller()],
            unknown: Vec::new(),
            next_key: OWN_KEYS,
            now: 0,
            faults_left,
            calls_left,
            events: Vec::with_capacity(64),
            story: None,
            violation: None,
        }
    }

    /// Runs the history to its end. Returns how many steps it took.
    pub(super) fn run(&mut self) -> u32 {
        while self.violation.is_none() && self.now < MAX_STEPS {
            self.now += 1;
            self.choices.begin_step();
            if self.faults_left > 0 && self.choices.one_in(FAULT_RATE) {
                self.fail();
                continue;
            }
            self.find_events();
            if self.events.is_empty() {
                break;
            }
            let event = self.events[self.choices.below(self.events.len().min(256))];
            self.happen(event);
        }
        if self.violation.is_none() {
            self.check_end();
        }
        self.now
    }

    /// Lists what may happen next. What ends a fault comes first.
    fn find_events(&mut self) {
        self.events.clear();
        self.find_recoveries();
        let (cluster, peers) = (&self.cluster, &self.peers);
        for (index, attempt) in self.attempts.iter().enumerate() {
            if attempt.is_transaction_ready(cluster) {
                self.events.push(Event::Transaction(index));
            }
            let is_up = peers.get(attempt.peer).is_none_or(|peer| *peer == Peer::Up);
            if !attempt.is_delayed && is_up && attempt.is_ready(cluster) {
                self.events.push(Event::Attempt(index));
            }
        }
        for (index, call) in self.calls.iter().enumerate() {
            if matches!(call.state, CallState::Picks | CallState::Pauses) {
                self.events.push(Event::Call(index));
            }
        }
        for (index, read) in self.reads.iter().enumerate() {
            if read.is_some() {
                self.events.push(Event::Read(index));
            }
        }
        for index in 0..SERVERS {
            if cluster.is_behind(index) {
                self.events.push(Event::Replay(index));
            }
        }
        let active = self.calls.iter().filter(|call| !call.is_over()).count();
        let is_full = active + self.reads.iter().flatten().count() >= MAX_ACTIVE;
        if !is_full && self.calls_left > 0 {
            self.events.push(Event::Begin);
        }
    }

    fn find_recoveries(&mut self) {
        let cluster = &self.cluster;
        for (index, peer) in self.peers.iter().enumerate() {
            if *peer != Peer::Up {
                self.events.push(Event::Resume(index));
            }
        }
        for (index, server) in cluster.servers.iter().enumerate() {
            if !server.is_up && !server.is_retired {
                self.events.push(Event::Start(index));
            }
            if cluster.primary.is_none() && server.is_up && cluster.is_in_line(index) {
                self.events.push(Event::Promote(index));
            }
        }
        for (index, attempt) in self.attempts.iter().enumerate() {
            if attempt.is_delayed {
                self.events.push(Event::Deliver(index));
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Attempt(index) => self.step_attempt(index),
            Event::Transaction(index) => self.step_transaction(index),
            Event::Call(index) => self.step_call(index),
            Event::Read(index) => self.step_read(index),
            Event::Begin => self.begin(),
            Event::Replay(server) => {
                tell!(self, "server {server} replays a record");
                self.cluster.replay(server);
            }
            Event::Resume(_) | Event::Deliver(_) | Event::Start(_) if self.choices.below(SLOWNESS) > 0 => {}
            Event::Resume(peer) => {
                tell!(self, "peer {peer} is up again");
                self.peers[peer] = Peer::Up;
            }
            Event::Deliver(attempt) => {
                tell!(self, "attempt {attempt} is no longer delayed");
                self.attempts[attempt].is_delayed = false;
            }
            Event::Start(server) => {
                tell!(self, "server {server} is up again");
                self.cluster.servers[server].is_up = true;
            }
            Event::Promote(server) => {
                self.cluster.promote(server);
                tell!(self, "server {server} is promoted to timeline {}", self.cluster.timeline());
            }
        }
    }

    /// An application makes its next call.
    fn begin(&mut self) {
        self.calls_left -= 1;
        let session = self.choices.below(self.sessions.len());
        if let Some(at) = self.unknown.iter().position(|(asking, _)| *asking == session) {
            let (_, key) = self.unknown.swap_remove(at);
            return self.begin_call(session, Task::Outcome, key, None);
        }
        match self.choices.below(8) {
            0..=2 => {
                let key = self.next_key;
                self.next_key += 1;
                self.begin_call(session, Task::Write, key, Some(0));
            }
            3 | 4 => {
                let key = self.choices.below(OWN_KEYS);
                let fingerprint = u8::from(self.choices.one_in(4));
                self.begin_call(session, Task::Write, key, Some(fingerprint));
            }
            _ => self.begin_read(session),
        }
    }

    fn begin_call(&mut self, session: usize, task: Task, key: Key, fingerprint: Option<u8>) {
        let attempts = (task == Task::Write).then(|| Attempts::new(self.identities.key(key)));
        let earlier = self.sessions[session].session.earlier();
        let is_local = task == Task::Write && self.choices.one_in(4);
        let mut call = Call::new(session, task, key, attempts, earlier);
        (call.fingerprint, call.is_local) = (fingerprint, is_local);
        let number = self.calls.len();
        tell!(self, "call {number} of session {session} begins: {task:?} with key {key}, local: {is_local}");
        self.calls.push(call);
    }

    fn step_call(&mut self, index: usize) {
        let call = &mut self.calls[index];
        if call.state == CallState::Pauses {
            tell!(self, "call {index} asks again after a pause");
            self.calls[index].ask_again();
            return;
        }
        let peer = if call.is_local {
            Some(PEERS)
        } else {
            let up = self.peers.iter().filter(|peer| **peer != Peer::Down).count();
            let chosen = if up == 0 { None } else { Some(self.choices.below(up)) };
            let mut up = (0..PEERS).filter(|peer| self.peers[*peer] != Peer::Down);
            chosen.and_then(|chosen| up.nth(chosen))
        };
        match peer {
            Some(peer) => self.send(index, peer),
            None => {
                tell!(self, "call {index} finds no peer");
                let next = self.calls[index].found_no_peer();
                self.go_on(index, next);
            }
        }
    }

    fn send(&mut self, index: usize, peer: usize) {
        let id = u16::try_from(self.attempts.len()).expect("there are few attempts");
        let call = &mut self.calls[index];
        let once = call.attempts.as_ref().map(Attempts::next);
        let again = once.is_some_and(|once| once.again);
        let keeps_result = !call.is_local || once.is_none_or(|once| once.keeps_result);
        call.state = CallState::Waits(id);
        let told = once.map_or(0, |once| once.fence);
        tell!(self, "call {index} sends attempt {id} to peer {peer}, again: {again}, told of {told} settlements");
        let call = &self.calls[index];
        self.attempts.push(Attempt {
            id,
            call: index,
            peer,
            task: call.task,
            key: call.key,
            fingerprint: call.fingerprint,
            again,
            told,
            is_pipelined: !keeps_result,
            session: call.earlier.positions.clone(),
            is_awaited: true,
            is_delayed: false,
            stage: Stage::Sent,
            transaction: Transaction::None,
            has_results: false,
            looked: 0,
            settled: None,
        });
    }

    fn step_attempt(&mut self, index: usize) {
        let attempt = &mut self.attempts[index];
        if let Stage::Answered(response) = attempt.stage {
            attempt.stage = Stage::Over;
            let (call, settled) = (attempt.call, attempt.settled);
            tell!(self, "attempt {index} is answered: {response:?}");
            let next = self.calls[call].answered(response, self.bug);
            self.calls[call].settled = settled;
            return self.go_on(call, next);
        }
        attempt.step(&mut self.cluster, self.now, self.bug);
        let attempt = &mut self.attempts[index];
        tell!(self, "attempt {index}: {:?}", attempt.stage);
        if matches!(attempt.stage, Stage::Answered(_)) && !attempt.is_awaited {
            attempt.stage = Stage::Over;
        }
    }

    fn step_transaction(&mut self, index: usize) {
        let attempt = &self.attempts[index];
        let is_begun = matches!(attempt.transaction, Transaction::Begun { .. });
        let is_refused = is_begun && self.choices.one_in(8);
        let is_orphan = matches!(attempt.transaction, Transaction::Orphan(_));
        if is_orphan && self.choices.one_in(2) {
            tell!(self, "the database notices that the connection of attempt {index} is gone");
            self.attempts[index].lose_connection(&mut self.cluster, true);
            return;
        }
        let (before, writes) = (self.cluster.stored(), self.cluster.writes);
        self.attempts[index].step_transaction(&mut self.cluster, is_refused, self.bug);
        tell!(self, "attempt {index}: {:?}", self.attempts[index].transaction);
        if self.cluster.writes != writes {
            self.check_commit(index, before);
        }
    }

    /// Does what follows from the end of an attempt.
    pub(super) fn go_on(&mut self, index: usize, next: Next) {
        let end = match next {
            Next::GoesOn => return,
            Next::Results(result, position) => self.note_results(index, result, position),
            Next::Told(known, position) => self.note_outcome(index, known, position),
            Next::Failed(failed) => self.note_failure(index, failed),
        };
        tell!(self, "call {index} ends: {end:?}");
        self.end(index, end);
    }

    pub(super) fn end(&mut self, index: usize, end: End) {
        let call = &mut self.calls[index];
        (call.state, call.ended) = (CallState::Ended(end), Some(self.now));
    }

    /// Notes that the session wants to know what became of a key.
    pub(super) fn wonder(&mut self, call: usize) {
        let Call { session, key, .. } = self.calls[call];
        self.unknown.push((session, key));
    }

    pub(super) fn break_promise(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert_with(|| what.into());
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.cluster.primary.is_some() && self.peers.contains(&Peer::Up)
    }
}

/// The region of the primary has this many peers.
pub(super) const PEERS: usize = 2;

/// How many servers there are: a primary and its replicas.
pub(super) const SERVERS: usize = 4;

/// Keys of the application's own, which several calls use.
pub(super) const OWN_KEYS: usize = 2;

/// How many calls and reads an application makes, and how many at the same time.
const MAX_CALLS: usize = 14;
const MAX_ACTIVE: usize = 4;

/// How many things fail, and how often something does.
const MAX_FAULTS: usize = 8;
const FAULT_RATE: usize = 10;

/// How much slower a fault ends than other things happen.
const SLOWNESS: usize = 6;

/// No history is that long unless something never ends.
const MAX_STEPS: u32 = 5_000;
