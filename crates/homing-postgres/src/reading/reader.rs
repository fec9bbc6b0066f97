//! [`Reader`], which carries out the plan of a read.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, debug_span, warn};

use super::chosen::Chosen;
use super::floor::settle_reads;
use super::held::hold;
use super::plan::{
    ChosenServer, OnLocalPrimary, ReadFailure, ReadPlan, ReadPolicy, ReadStep, Requirement, Waited, WhyPrimary,
};
use super::server::{RefusedRead, note_read};
use crate::call::options::{Consistency, MAX_TIMEOUT};
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::database::Database;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::position::state::Verdict;
use crate::replicas::Member;
use crate::session::token::foreign;
use crate::statement::kind::RunsOn;
use crate::statement::refusal::Refusal;
use crate::tracker::Requirements;
use crate::tracker::error::WaitError;

/// A request that reads.
pub(crate) trait ReadRequest {
    type Output;

    /// Runs it on a server, which has to stay the chosen one. After [`RefusedRead`] it may be called again. The inner error is
    /// that of an answer which could not be decoded.
    async fn run_on(
        &mut self,
        engine: &Engine,
        chosen: &Chosen,
        deadline: Instant,
    ) -> Result<Result<Self::Output>, RefusedRead>;

    /// Runs it on the primary.
    async fn run_on_primary(
        &mut self,
        engine: &Engine,
        why: WhyPrimary,
        timing: ReadTiming,
    ) -> Result<Answered<Self::Output>>;
}

/// When a read began, and how long it has waited for a replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTiming {
    pub(crate) started: Instant,
    pub(crate) replay_wait: Duration,
}

/// Runs one read for a handle.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The handle's engine, whose calls end with the read: all servers together have the time of one call. Waiting for a
    /// replica does not count.
    engine: Engine,
    plan: ReadPlan,
    member: Option<Chosen>,
    /// What the server has to have reached besides the position that it has to have reached, as of the same moment.
    below: Vec<Position>,
    /// The losses of the session at that moment.
    losses: Option<u64>,
    /// How much longer the read may wait for replicas.
    replay_left: Duration,
    /// When the named function that runs the read has to end, if one does.
    until: Option<Instant>,
    /// The ids of the servers that the read has given up on.
    given_up: Vec<u64>,
}

impl Reader {
    pub(crate) fn new(engine: &Engine, runs_on: RunsOn, on_local_primary: OnLocalPrimary) -> Self {
        let until = engine.until;
        let plan = ReadPlan::new(ReadPolicy {
            consistency: engine.options.consistency,
            on_lag: engine.options.on_lag,
            runs_on,
            on_local_primary,
            is_named: engine.replica.is_some(),
        });
        let engine = Engine { until: Some(engine.deadline()), ..engine.clone() };
        let replay_left = engine.options.replay_timeout.min(MAX_TIMEOUT);
        Self { engine, plan, member: None, below: Vec::new(), losses: None, replay_left, until, given_up: Vec::new() }
    }

    /// Runs the request on the first server that answers.
    pub(crate) async fn read<R: ReadRequest>(
        mut self,
        operation: &'static str,
        request: &mut R,
    ) -> Result<Answered<R::Output>> {
        let started = Instant::now();
        let mut step = self.plan.first();
        let mut last_error = None;
        loop {
            let locating = Instant::now();
            step = self.locate(step).instrument(debug_span!("replay_wait")).await?;
            let replay_wait = locating.elapsed();
            step = match step {
                ReadStep::Run => match self.run(operation, request, replay_wait).await {
                    Ok(answered) => return Ok(answered),
                    Err(RefusedRead { refusal, error }) => {
                        last_error = Some(error);
                        let next = self.plan.refused(refusal);
                        if matches!(refusal, Refusal::Transient | Refusal::Unreachable) && next != ReadStep::Run {
                            self.give_up();
                        }
                        next
                    }
                },
                ReadStep::Primary(why) => {
                    let timing = ReadTiming { started, replay_wait };
                    match request.run_on_primary(&self.engine, why, timing).await {
                        Ok(answered) => return Ok(answered),
                        Err(error) => {
                            let out_of_reach = error.is_not_sent()
                                && !error.is_misuse()
                                && !error.is_configuration()
                                && !error.is_history_lost();
                            last_error = Some(error);
                            self.plan.primary_failed(why, out_of_reach)
                        }
                    }
                }
                ReadStep::LastResort => {
                    let error = last_error.take().expect("the primary has failed");
                    return self.read_from_lagging(operation, request, error).await;
                }
                _ => return Err(last_error.expect("a step has failed")),
            };
        }
    }

    /// Finds the server for a snapshot. `None` if the primary has to run it.
    pub(crate) async fn server(mut self) -> Result<Option<Chosen>> {
        let step = self.locate(self.plan.first()).instrument(debug_span!("replay_wait")).await?;
        Ok(self.member.filter(|_| step == ReadStep::Run))
    }

    /// Chooses a server and waits for it, until the statement can be run.
    async fn locate(&mut self, mut step: ReadStep) -> Result<ReadStep> {
        loop {
            step = match step {
                ReadStep::Run if self.has_lost_since() => ReadStep::Settle,
                ReadStep::Choose => self.choose()?,
                ReadStep::Settle => match settle_reads(&self.engine, self.database()).await {
                    Ok(()) => self.settled(),
                    Err(error) if error.is_history_lost() => return Err(error),
                    Err(error) => self.plan.unsettled().ok_or(error)?,
                },
                ReadStep::Check(behind) if has_reached(self.chosen().database(), behind).await => {
                    self.engine.session.caught_up(behind);
                    self.settled()
                }
                ReadStep::Check(_) => self.plan.is_still_behind(),
                ReadStep::Wait(position) => {
                    let started = Instant::now();
                    let waited = self.wait(position).await;
                    self.note_wait(started.elapsed());
                    self.plan.waited(position, waited)
                }
                ReadStep::Hold => {
                    let started = Instant::now();
                    let step = self.hold().await;
                    self.note_wait(started.elapsed());
                    step
                }
                ReadStep::ChooseReached(position, error) => self.choose_reached(position, error)?,
                ReadStep::Fail(failure) if failure != ReadFailure::LastStep => return Err(self.error(failure)),
                step => return Ok(step),
            };
        }
    }

    fn choose(&mut self) -> Result<ReadStep> {
        let required = self.engine.session.wanted();
        let required = required.filter(|_| self.engine.options.consistency == Consistency::Session);
        let position = required.map(|required| required.position);
        self.member = self.engine.choose(position, &self.given_up)?.map(Chosen::now);
        let server = self.member.as_ref().map(|chosen| match &chosen.member {
            member if member.is_local_primary() => ChosenServer::LocalPrimary,
            member if member.database().is_spread() => ChosenServer::OneOfSeveral,
            _ => ChosenServer::Replica,
        });
        Ok(self.plan.chosen(server))
    }

    fn settled(&mut self) -> ReadStep {
        self.losses = Some(self.engine.session.losses());
        let is_proven = self.is_proven();
        let requirement = self.requirement();
        self.plan.settled(requirement, is_proven)
    }

    /// Returns the position that the session has to see, which settling its earlier reads may have advanced.
    fn requirement(&mut self) -> Option<Requirement> {
        let (required, below) = self.engine.session.wanted_with_below()?;
        self.below = below;
        let is_reached = self.has_everything(self.chosen(), required.position);
        if is_reached {
            self.engine.session.caught_up(required.position);
        }
        Some(Requirement { required, is_reached })
    }

    /// Returns whether nothing that the session has seen on earlier timelines may have been lost. The chosen server knows if
    /// it was followed at that time.
    fn is_proven(&self) -> bool {
        let session = &self.engine.session;
        for position in session.unproven() {
            if let Some(timeline) = self.chosen().timeline_that_has(position) {
                session.survived(&[position], timeline);
            }
        }
        session.unproven().is_empty()
    }

    /// Returns whether the session has learned since the read settled that what it had seen was lost.
    fn has_lost_since(&self) -> bool {
        self.losses.is_some_and(|losses| losses != self.engine.session.losses())
    }

    async fn wait(&self, position: Position) -> Waited {
        let deadline = Instant::now() + self.replay_left;
        let tracker = self.chosen().database().tracker();
        let positions = self.below.iter().copied().chain([position]);
        match try_join_all(positions.map(|position| tracker.wait_while_reachable(position, deadline))).await {
            Ok(_) => Waited::Reached,
            Err(error) => self.not_reached(error),
        }
    }

    fn not_reached(&self, error: WaitError) -> Waited {
        let session = &self.engine.session;
        match error {
            WaitError::OtherSystem if session.decline() => Waited::Declined,
            WaitError::OtherSystem if session.is_imported() => Waited::Foreign,
            error => Waited::NotReached(error),
        }
    }

    /// Takes a connection whose server has everything that the session has to see, and returns the next step. After a wait that
    /// took too long, the servers are asked only once.
    async fn hold(&mut self) -> ReadStep {
        let session = &self.engine.session;
        let is_session = self.engine.options.consistency == Consistency::Session;
        let wanted = session.wanted_with_below().filter(|_| is_session);
        let chosen = self.member.as_ref().expect("a server was chosen");
        let database = chosen.member.database();
        let mut required = Requirements::default();
        if is_session {
            required.shown = session.seen_at(database).map_or_else(Vec::new, |seen| seen.shown().to_vec());
        }
        let (mut position, mut behind) = (None, None);
        if let Some((wanted, below)) = wanted {
            (position, behind) = (Some(wanted.position), wanted.behind);
            required.positions = below.into_iter().chain(position).collect();
        }
        let has_shown = !required.shown.is_empty();
        let until = Instant::now() + if behind.is_some() { Duration::ZERO } else { self.replay_left };
        // Another server has the rest of the time.
        let connect = self.engine.deadline().saturating_duration_since(Instant::now()) / 2;
        match hold(database, required, connect, until).await {
            Ok(Ok(held)) => {
                position.into_iter().for_each(|position| session.caught_up(position));
                chosen.hold(held);
                self.plan.held(position, Waited::Reached)
            }
            Ok(Err(error)) => {
                if has_shown {
                    // The position of the primary stands for what earlier reads have seen, wherever that was.
                    session.has_read_primary();
                }
                self.plan.held(position, self.not_reached(error))
            }
            Err(error) => {
                debug!(%error, "no server behind the address of the replica can answer");
                let step = self.plan.refused(Refusal::Unreachable);
                self.give_up();
                step
            }
        }
    }

    /// Returns whether a server is known to have reached this position of the session, and what the session wants besides.
    fn has_everything(&self, member: &Member, position: Position) -> bool {
        let mut positions = self.below.iter().copied().chain([position]);
        positions.all(|position| member.is_known_to_have_reached(position))
    }

    /// Takes a wait from the time that is left for waiting, and not from that of the call.
    fn note_wait(&mut self, waited: Duration) {
        self.replay_left = self.replay_left.saturating_sub(waited);
        let deadline = self.engine.until.map(|deadline| deadline + waited);
        self.engine.until = self.until.map_or(deadline, |until| deadline.map(|deadline| deadline.min(until)));
    }

    /// Chooses another server that has reached the position, after the first one did not in time.
    fn choose_reached(&mut self, position: Position, error: WaitError) -> Result<ReadStep> {
        let session = &self.engine.session;
        let other = self.engine.choose_reached(position)?.map(Chosen::now);
        let other = other.filter(|other| {
            let has_seen_others = !session.seen_elsewhere(Some(other.member.database())).is_empty();
            !has_seen_others && self.has_everything(&other.member, position)
        });
        let is_found = other.is_some();
        if is_found {
            self.member = other;
        } else {
            if matches!(error, WaitError::TimedOut | WaitError::Unreachable) {
                session.fell_behind(position);
            }
            debug!(%error, %position, "the local replica cannot answer");
        }
        Ok(self.plan.chosen_reached(is_found, error))
    }

    async fn run<R: ReadRequest>(
        &mut self,
        operation: &'static str,
        request: &mut R,
        replay_wait: Duration,
    ) -> Result<Answered<R::Output>, RefusedRead> {
        let started = Instant::now();
        let chosen = self.member.as_ref().expect("a server was chosen");
        let member = &chosen.member;
        if member.is_local_primary() {
            let shown = self.engine.wait_for_local_primary(self.engine.deadline()).await;
            shown.map_err(|error| RefusedRead { refusal: Refusal::Final, error })?;
        }
        let output = request.run_on(&self.engine, chosen, self.engine.deadline()).await?;
        match chosen.take_shown() {
            Some((shown, before)) => self.engine.session.has_shown(member.database(), shown, &before),
            None => note_read(&self.engine, member, None, &[]),
        }
        if chosen.check().is_err() {
            // What was noted may be the server that took its place. The primary stands for both.
            self.engine.session.has_read_primary();
        }
        let report = Report {
            replica: (!member.is_local_primary()).then(|| Arc::clone(member.name())),
            stages: Stages { execute: started.elapsed(), replay_wait, ..Stages::default() },
            ..Report::new(operation, AnsweredBy::Local)
        };
        Ok(Answered::new(output, report))
    }

    /// Reads from a replica that was left out because it is too far behind, if it has reached the session's position.
    /// This is better than an error when the primary cannot be reached.
    async fn read_from_lagging<R: ReadRequest>(
        &mut self,
        operation: &'static str,
        request: &mut R,
        error: Error,
    ) -> Result<Answered<R::Output>> {
        let Engine { session, replica, .. } = self.engine.clone();
        let position = session.wanted_with_below().map(|(required, below)| {
            self.below = below;
            required.position
        });
        let Some(member) = self.engine.replicas().last_resort(replica.as_deref(), position) else {
            return Err(error);
        };
        self.member = Some(Chosen::now(Arc::clone(&member)));
        let has_reached = position.is_none_or(|position| self.has_everything(&member, position));
        if !has_reached || !session.seen_elsewhere(Some(member.database())).is_empty() {
            // The replica may be older than the session's earlier reads.
            return Err(error);
        }
        match self.run(operation, request, Duration::ZERO).await {
            Ok(answered) => {
                warn!(replica = %member.name(), %error, "answered by a replica that is too far behind");
                Ok(answered)
            }
            Err(_) => Err(error),
        }
    }

    fn give_up(&mut self) {
        if !self.chosen().is_local_primary() {
            self.engine.replicas().suspect(self.chosen());
            self.given_up.push(self.chosen().id());
        }
    }

    fn error(&self, failure: ReadFailure) -> Error {
        let lagging = || {
            let region = self.engine.rpc().topology().region();
            Error::not_sent(format!(
                "the local replica in {region} has not replayed the position that this session has to see: try again \
                 later, or let the primary answer with OnLag::ReadFromPrimary"
            ))
        };
        match failure {
            ReadFailure::NamedReplicaDown => {
                let name = self.engine.replica.as_deref().unwrap_or_default();
                if let Some(fault) = self.engine.replicas().last_fault(name) {
                    return Error::not_sent(format!("the replica {name} cannot be used: {fault}")).with_source(fault);
                }
                Error::not_sent(format!(
                    "the replica {name} does not answer: try again later, or let the primary answer with \
                     OnLag::ReadFromPrimary"
                ))
            }
            ReadFailure::Lagging(Some(cause)) => lagging().with_source(cause),
            ReadFailure::Lagging(None) | ReadFailure::LastStep => lagging(),
            ReadFailure::Foreign => foreign(self.engine.database_name()),
        }
    }

    fn database(&self) -> Option<&Database> {
        self.member.as_ref().map(|chosen| chosen.member.database())
    }

    fn chosen(&self) -> &Arc<Member> {
        &self.member.as_ref().expect("a server was chosen").member
    }
}

/// Asks once whether the server has reached a position.
pub(crate) async fn has_reached(database: &Database, position: Position) -> bool {
    let check = database.tracker().check(position);
    matches!(timeout(CHECK_TIMEOUT, check).await, Ok(Ok(Verdict::Reached)))
}

/// A replica that takes longer to answer with its position would not answer a read quickly either.
const CHECK_TIMEOUT: Duration = Duration::from_millis(250);
