//! [`Read`], one read of a session, which does what the plan of a read says.

use super::bug::Bug;
use super::world::{Caller, SERVERS, World, tell};
use crate::call::options::{Consistency, OnLag};
use crate::position::Position;
use crate::position::role::Role;
use crate::position::state::Verdict;
use crate::reading::plan::{
    ChosenServer, OnLocalPrimary, ReadFailure, ReadPlan, ReadPolicy, ReadStep, Requirement, Waited,
};
use crate::session::Session;
use crate::session::earlier::Earlier;
use crate::session::seen::Seen;
use crate::statement::kind::RunsOn;
use crate::statement::refusal::Refusal;
use crate::tracker::error::WaitError;

/// A read.
#[derive(Debug)]
pub(super) struct Read {
    session: usize,
    plan: ReadPlan,
    step: ReadStep,
    chosen: usize,
    below: Vec<Position>,
    losses: Option<u64>,
    given_up: [bool; SERVERS],
    /// What it has to show, and of which it is told if it is lost.
    required: u64,
    placed: u64,
    pending: Pending,
}

/// An answer that is on its way to the reader.
#[derive(Debug)]
enum Pending {
    None,
    Positions { answers: Vec<(Seen, Position)>, before: Vec<Position> },
    OfReplica { shown: u64 },
    OfPrimary { shown: u64, position: Position, earlier: Earlier },
    Over,
}

impl World<'_> {
    pub(super) fn begin_read(&mut self, session: usize) {
        let on_lag = if self.choices.one_in(4) { OnLag::Fail } else { OnLag::ReadFromPrimary };
        let runs_on = if self.choices.one_in(6) { RunsOn::Primary } else { RunsOn::Any };
        let policy = ReadPolicy {
            consistency: Consistency::Session,
            on_lag,
            runs_on,
            on_local_primary: OnLocalPrimary::Read,
            is_named: false,
        };
        let plan = ReadPlan::new(policy);
        let Caller { required, placed, .. } = self.sessions[session];
        tell!(self, "read {} of session {session} begins, {on_lag:?}, {runs_on:?}", self.reads.len());
        self.reads.push(Some(Read {
            session,
            step: plan.first(),
            plan,
            chosen: 0,
            below: Vec::new(),
            losses: None,
            given_up: [false; SERVERS],
            required,
            placed,
            pending: Pending::None,
        }));
    }

    pub(super) fn step_read(&mut self, index: usize) {
        let Some(mut read) = self.reads[index].take() else { return };
        match std::mem::replace(&mut read.pending, Pending::None) {
            Pending::None => self.take_step(&mut read),
            Pending::Positions { answers, before } => {
                for (seen, position) in answers {
                    self.session(&read).settle(&seen, &before, position);
                }
                let seen = self.session(&read).seen_elsewhere(Some(&self.identities.databases[read.chosen]));
                if !seen.iter().any(Seen::has_written) {
                    self.settled(&mut read);
                }
            }
            Pending::OfReplica { shown } => {
                if self.bug != Some(Bug::ForgetsReads) {
                    self.session(&read).has_read(&self.identities.databases[read.chosen], None, &[]);
                }
                self.end_read(&mut read, shown);
            }
            Pending::OfPrimary { shown, position, earlier } => {
                let session = self.session(&read);
                session.survived(&earlier.positions, position.timeline);
                session.advance(position);
                session.settle_all(&earlier, position);
                self.end_read(&mut read, shown);
            }
            Pending::Over => {}
        }
        tell!(self, "read {index} of server {}: {:?}", read.chosen, read.step);
        if !matches!(read.pending, Pending::Over) {
            self.reads[index] = Some(read);
        }
    }

    fn take_step(&mut self, read: &mut Read) {
        match read.step {
            ReadStep::Choose => self.choose(read),
            ReadStep::Settle => self.settle_seen(read),
            ReadStep::Check(position) => {
                if self.compare(read.chosen, position) == Verdict::Reached {
                    self.session(read).caught_up(position);
                    self.settled(read);
                } else {
                    read.step = read.plan.is_still_behind();
                }
            }
            ReadStep::Wait(position) => self.wait(read, position),
            ReadStep::ChooseReached(position, error) => self.choose_reached(read, position, error),
            ReadStep::Run if read.losses.is_some_and(|losses| losses != self.session(read).losses()) => {
                read.step = ReadStep::Settle;
            }
            ReadStep::Run => self.run_on_server(read),
            ReadStep::Primary(why) => match self.ask_history(read.session) {
                Ok(()) => {
                    let earlier = self.session(read).earlier();
                    read.pending =
                        Pending::OfPrimary { shown: self.cluster.stored(), position: self.cluster.end(), earlier };
                }
                Err(is_out_of_reach) => read.step = read.plan.primary_failed(why, is_out_of_reach),
            },
            ReadStep::LastResort => self.read_from_lagging(read),
            ReadStep::Fail(_) | ReadStep::Hold => read.pending = Pending::Over,
        }
    }

    fn choose(&mut self, read: &mut Read) {
        let up = |server: &usize| self.cluster.servers[*server].is_up && !read.given_up[*server];
        let count = (0..SERVERS).filter(up).count();
        let chosen = if count == 0 { None } else { (0..SERVERS).filter(up).nth(self.choices.below(count)) };
        read.chosen = chosen.unwrap_or(read.chosen);
        read.step = read.plan.chosen(chosen.map(|_| ChosenServer::Replica));
    }

    /// Asks the servers that the session has read from, as `reading/floor.rs` does.
    fn settle_seen(&mut self, read: &mut Read) {
        let (session, chosen) = (self.session(read), &self.identities.databases[read.chosen]);
        let (seen, before) = (session.seen_elsewhere(Some(chosen)), session.positions());
        let mut of_primary = None;
        let mut answers = Vec::new();
        for seen in seen {
            let position = match seen.position().or_else(|| self.position_of(&seen)).or(of_primary) {
                Some(position) => position,
                None => match self.ask_history(read.session) {
                    Ok(()) => {
                        let position = self.cluster.end();
                        self.session(read).survived(&before, position.timeline);
                        *of_primary.insert(position)
                    }
                    Err(true) => {
                        read.step = read.plan.unsettled().unwrap_or(ReadStep::Fail(ReadFailure::LastStep));
                        return;
                    }
                    Err(false) => {
                        read.step = ReadStep::Fail(ReadFailure::LastStep);
                        return;
                    }
                },
            };
            answers.push((seen, position));
        }
        if answers.is_empty() {
            self.settled(read);
        } else {
            read.pending = Pending::Positions { answers, before };
        }
    }

    /// Returns the position of a server that the session has read from, if it answers.
    fn position_of(&self, seen: &Seen) -> Option<Position> {
        let server = self.identities.databases.iter().position(|database| seen.is_still(database))?;
        self.cluster.servers[server].is_up.then(|| self.cluster.state(server).position)
    }

    /// Asks whether the primary has what a session has seen. Tells whether it is out of reach if it does not say so.
    fn ask_history(&mut self, session: usize) -> Result<(), bool> {
        if !self.is_reachable() {
            return Err(true);
        }
        let mut positions = self.sessions[session].session.positions().into_iter();
        let has_all = positions.all(|position| self.cluster.has(position));
        if has_all || self.bug == Some(Bug::IgnoresHistory) {
            return Ok(());
        }
        self.lose_history(session, None);
        Err(false)
    }

    fn settled(&mut self, read: &mut Read) {
        let session = self.session(read);
        read.losses = Some(session.losses());
        for position in session.unproven() {
            if self.compare(read.chosen, position) == Verdict::Reached {
                session.survived(&[position], self.cluster.state(read.chosen).position.timeline);
            }
        }
        let is_proven = session.unproven().is_empty();
        let requirement = session.wanted_with_below().map(|(required, below)| {
            read.below = below;
            let is_reached = self.has_everything(read, read.chosen, required.position);
            if is_reached {
                session.caught_up(required.position);
            }
            Requirement { required, is_reached }
        });
        read.step = read.plan.settled(requirement, is_proven);
    }

    fn wait(&mut self, read: &mut Read, position: Position) {
        let verdicts = read.below.iter().chain([&position]).map(|position| self.compare(read.chosen, *position));
        let error = match verdicts.map(WaitError::from_verdict).find_map(Result::err) {
            None => return read.step = read.plan.waited(position, Waited::Reached),
            Some(_) if !self.cluster.servers[read.chosen].is_up => WaitError::Unreachable,
            Some(error) => error,
        };
        if error != WaitError::TimedOut || self.choices.below(3) == 0 {
            read.step = read.plan.waited(position, Waited::NotReached(error));
        }
    }

    fn choose_reached(&mut self, read: &mut Read, position: Position, error: WaitError) {
        let session = self.session(read);
        let is_fit = |server: &usize| {
            let is_elsewhere = session.seen_elsewhere(Some(&self.identities.databases[*server])).is_empty();
            self.cluster.servers[*server].is_up && is_elsewhere && self.has_everything(read, *server, position)
        };
        let found = (0..SERVERS).find(is_fit);
        if let Some(server) = found {
            read.chosen = server;
        } else if matches!(error, WaitError::TimedOut | WaitError::Unreachable) {
            session.fell_behind(position);
        }
        read.step = read.plan.chosen_reached(found.is_some(), error);
    }

    fn run_on_server(&mut self, read: &mut Read) {
        let refusal = if !self.cluster.servers[read.chosen].is_up {
            Some(Refusal::Unreachable)
        } else if self.cluster.role(read.chosen) == Role::Primary {
            self.ask_history(read.session).err().map(|_| Refusal::Final)
        } else {
            None
        };
        let Some(refusal) = refusal else {
            return read.pending = Pending::OfReplica { shown: self.cluster.shown_by(read.chosen) };
        };
        read.step = read.plan.refused(refusal);
        if refusal == Refusal::Unreachable && read.step != ReadStep::Run {
            read.given_up[read.chosen] = true;
        }
    }

    fn read_from_lagging(&mut self, read: &mut Read) {
        let session = self.session(read);
        let position = session.wanted_with_below().map(|(required, below)| {
            read.below = below;
            required.position
        });
        let server = (0..SERVERS).find(|server| self.cluster.servers[*server].is_up);
        let is_fit = |server: usize| {
            let has_reached = position.is_none_or(|position| self.has_everything(read, server, position));
            has_reached && session.seen_elsewhere(Some(&self.identities.databases[server])).is_empty()
        };
        match server.filter(|server| is_fit(*server)) {
            Some(server) => {
                read.chosen = server;
                read.pending = Pending::OfReplica { shown: self.cluster.shown_by(server) };
            }
            None => read.pending = Pending::Over,
        }
    }

    fn end_read(&mut self, read: &mut Read, shown: u64) {
        tell!(self, "a read of session {} shows {shown:b}", read.session);
        self.check_read(read.session, read.required, read.placed, shown);
        read.pending = Pending::Over;
    }

    fn has_everything(&self, read: &Read, server: usize, position: Position) -> bool {
        read.below.iter().chain([&position]).all(|position| self.compare(server, *position) == Verdict::Reached)
    }

    fn compare(&self, server: usize, position: Position) -> Verdict {
        let state = self.cluster.state(server);
        if self.bug == Some(Bug::MixesTimelines) {
            return state.compare(Position { timeline: state.position.timeline, ..position });
        }
        state.compare(position)
    }

    fn session(&self, read: &Read) -> Session {
        self.sessions[read.session].session.clone()
    }
}
