//! [`ReadPlan`], which decides the next step of a read. Without IO.

use crate::call::options::{Consistency, OnLag};
use crate::position::Position;
use crate::session::RequiredPosition;
use crate::statement::kind::RunsOn;
use crate::statement::refusal::Refusal;
use crate::tracker::error::WaitError;

/// Decides the next step of a read: which kind of server to ask, which position to wait for, when to give up. Each
/// method takes the result of a step and returns the next step.
#[derive(Debug, Clone)]
pub(crate) struct ReadPlan {
    policy: ReadPolicy,
    /// How many replicas the read has given up on.
    failed: usize,
    /// How often the chosen server was asked.
    asked: u32,
    chosen: ChosenServer,
}

/// The facts about a read that are known before its first step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadPolicy {
    pub(crate) consistency: Consistency,
    pub(crate) on_lag: OnLag,
    pub(crate) runs_on: RunsOn,
    /// How the local primary runs the statement.
    pub(crate) on_local_primary: OnLocalPrimary,
    /// Whether the handle reads only from the replica with one name.
    pub(crate) is_named: bool,
}

/// How the local primary runs a statement that may be a read.
///
/// Closed: it has no third way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnLocalPrimary {
    /// Like a replica, since the statement only reads.
    Read,

    /// Like a write, since the statement may write.
    Execute,
}

/// The kind of server that is asked next.
///
/// Closed: a server is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChosenServer {
    Replica,

    /// One of the servers over which an address is spread: the connection for the read decides which one.
    OneOfSeveral,

    /// It has everything that a session may have seen.
    LocalPrimary,
}

/// The position that the chosen server has to have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) required: RequiredPosition,
    /// Whether the server is known to have reached it.
    pub(crate) is_reached: bool,
}

/// How a wait ended.
///
/// Closed: the plan has a next step for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Reached,

    /// The position belongs to another cluster, and came with a token that may be ignored.
    Declined,

    /// The position belongs to another cluster, and came with a token.
    Foreign,

    NotReached(WaitError),
}

/// The next step of a read.
///
/// Closed: the reader has to handle each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadStep {
    /// Choose a server that the read has not given up on. Next: [`chosen`](ReadPlan::chosen).
    Choose,

    /// Ask the servers that the session has read from for their positions. Next: [`settled`](ReadPlan::settled).
    Settle,

    /// Ask the server once whether it has reached the position that it did not reach in time before. Next:
    /// [`is_still_behind`](ReadPlan::is_still_behind), or [`settled`](ReadPlan::settled).
    Check(Position),

    /// Wait until the server has reached the position. Next: [`waited`](ReadPlan::waited).
    Wait(Position),

    /// Take a connection whose server has everything that the session has to see. Next: [`held`](ReadPlan::held), or
    /// [`refused`](ReadPlan::refused) if there is no connection.
    Hold,

    /// Choose another server that has reached the position already. Next: [`chosen_reached`](ReadPlan::chosen_reached).
    ChooseReached(Position, WaitError),

    /// Run the statement on the chosen server. Next: [`refused`](ReadPlan::refused), unless it answers.
    Run,

    /// Run the statement on the primary. Next: [`primary_failed`](ReadPlan::primary_failed), unless it answers.
    Primary(WhyPrimary),

    /// Run the statement on a replica that is left out of other reads because it is too far behind.
    LastResort,

    /// Return an error.
    Fail(ReadFailure),
}

/// Why the primary is asked.
///
/// Closed: there is no other reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhyPrimary {
    /// The statement writes or may only run on the primary, or the primary is local.
    Statement,

    /// No replica can answer.
    NoReplica,

    /// Only the primary can tell whether what the session has seen was lost in a failover.
    History,
}

/// Why a read fails.
///
/// Closed: the reader has an error for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFailure {
    /// The error of the last step.
    LastStep,

    /// The replica that the handle names does not answer.
    NamedReplicaDown,

    /// The replica has not reached the position that the session has to see.
    Lagging(Option<WaitError>),

    /// The position that the session has to see belongs to another cluster.
    Foreign,
}

impl ReadPlan {
    pub(crate) fn new(policy: ReadPolicy) -> Self {
        Self { policy, failed: 0, asked: 0, chosen: ChosenServer::Replica }
    }

    pub(crate) fn first(&self) -> ReadStep {
        match self.policy.runs_on {
            RunsOn::Any => ReadStep::Choose,
            RunsOn::Primary => ReadStep::Primary(WhyPrimary::Statement),
        }
    }

    /// After [`ReadStep::Choose`]; `None` if no server can be chosen.
    pub(crate) fn chosen(&mut self, server: Option<ChosenServer>) -> ReadStep {
        let Some(server) = server else {
            return if self.policy.is_named { self.lagging(ReadFailure::NamedReplicaDown) } else { NO_REPLICA };
        };
        (self.chosen, self.asked) = (server, 0);
        match (server, self.policy.consistency) {
            (ChosenServer::LocalPrimary, _) => match self.policy.on_local_primary {
                OnLocalPrimary::Read => ReadStep::Run,
                OnLocalPrimary::Execute => ReadStep::Primary(WhyPrimary::Statement),
            },
            (ChosenServer::Replica, Consistency::Eventual) => ReadStep::Run,
            (ChosenServer::OneOfSeveral, Consistency::Eventual) => ReadStep::Hold,
            (ChosenServer::Replica | ChosenServer::OneOfSeveral, Consistency::Session) => ReadStep::Settle,
            (ChosenServer::Replica | ChosenServer::OneOfSeveral, Consistency::Global) => NO_REPLICA,
        }
    }

    /// After [`ReadStep::Settle`]; `None` if the session does not have to see a position. `is_proven` if nothing that the
    /// session has seen may have been lost in a failover.
    pub(crate) fn settled(&self, requirement: Option<Requirement>, is_proven: bool) -> ReadStep {
        match requirement {
            _ if !is_proven => HISTORY,
            _ if self.chosen == ChosenServer::OneOfSeveral => ReadStep::Hold,
            Some(Requirement { required, is_reached: false }) => {
                required.behind.map_or(ReadStep::Wait(required.position), ReadStep::Check)
            }
            Some(_) | None => ReadStep::Run,
        }
    }

    /// After [`ReadStep::Settle`], if no position is known that covers the session's earlier reads; `None` if the read fails.
    pub(crate) fn unsettled(&self) -> Option<ReadStep> {
        (self.policy.on_lag == OnLag::ReadFromPrimary).then_some(NO_REPLICA)
    }

    /// After [`ReadStep::Check`], if the server has not reached the position. If it has, it is no longer behind: next comes
    /// [`settled`](Self::settled) again.
    pub(crate) fn is_still_behind(&self) -> ReadStep {
        self.lagging(ReadFailure::Lagging(None))
    }

    /// After [`ReadStep::Wait`].
    pub(crate) fn waited(&self, position: Position, waited: Waited) -> ReadStep {
        match waited {
            Waited::Reached | Waited::Declined => ReadStep::Run,
            Waited::Foreign => ReadStep::Fail(ReadFailure::Foreign),
            Waited::NotReached(error) => ReadStep::ChooseReached(position, error),
        }
    }

    /// After [`ReadStep::Hold`]. `position` is the one that the session has to see, if there is one.
    pub(crate) fn held(&self, position: Option<Position>, waited: Waited) -> ReadStep {
        match (waited, position) {
            (Waited::Reached, _) => ReadStep::Run,
            // The session has less to see now, and the connection was not asked for that.
            (Waited::Declined, _) => ReadStep::Hold,
            (Waited::Foreign, _) => ReadStep::Fail(ReadFailure::Foreign),
            (Waited::NotReached(error), Some(position)) => ReadStep::ChooseReached(position, error),
            (Waited::NotReached(error), None) => self.lagging(ReadFailure::Lagging(Some(error))),
        }
    }

    /// After [`ReadStep::ChooseReached`]; `error` is how the wait for the first server ended.
    pub(crate) fn chosen_reached(&self, is_found: bool, error: WaitError) -> ReadStep {
        match error {
            _ if is_found => ReadStep::Run,
            WaitError::OtherTimeline => HISTORY,
            error => self.lagging(ReadFailure::Lagging(Some(error))),
        }
    }

    /// After [`ReadStep::Run`], if the chosen server did not answer.
    pub(crate) fn refused(&mut self, refusal: Refusal) -> ReadStep {
        self.asked += 1;
        match (refusal, self.chosen) {
            (Refusal::Writes, _) => ReadStep::Primary(WhyPrimary::Statement),
            (Refusal::Unknown, ChosenServer::Replica | ChosenServer::OneOfSeveral) | (Refusal::OldPrimary, _) => {
                NO_REPLICA
            }
            (Refusal::Transient, ChosenServer::OneOfSeveral) if self.asked < MAX_ASKED => ReadStep::Hold,
            (Refusal::Transient, _) if self.asked < MAX_ASKED => ReadStep::Run,
            (Refusal::Transient | Refusal::Unreachable, ChosenServer::Replica | ChosenServer::OneOfSeveral) => {
                self.failed += 1;
                if self.failed < MAX_REPLICAS_TRIED { ReadStep::Choose } else { NO_REPLICA }
            }
            // Another server may be the primary now.
            (Refusal::Transient | Refusal::Unreachable, ChosenServer::LocalPrimary) => {
                ReadStep::Primary(WhyPrimary::Statement)
            }
            (Refusal::Final | Refusal::Unknown, _) => ReadStep::Fail(ReadFailure::LastStep),
        }
    }

    /// After [`ReadStep::Primary`], if the primary did not answer; `is_out_of_reach` if it could not be reached.
    pub(crate) fn primary_failed(&self, why: WhyPrimary, is_out_of_reach: bool) -> ReadStep {
        let ReadPolicy { consistency, on_lag, .. } = self.policy;
        let may_be_old = on_lag == OnLag::ReadFromPrimary && consistency != Consistency::Global;
        if why == WhyPrimary::NoReplica && is_out_of_reach && may_be_old {
            ReadStep::LastResort
        } else {
            ReadStep::Fail(ReadFailure::LastStep)
        }
    }

    fn lagging(&self, failure: ReadFailure) -> ReadStep {
        match self.policy.on_lag {
            OnLag::ReadFromPrimary => NO_REPLICA,
            OnLag::Fail => ReadStep::Fail(failure),
        }
    }
}

const NO_REPLICA: ReadStep = ReadStep::Primary(WhyPrimary::NoReplica);

const HISTORY: ReadStep = ReadStep::Primary(WhyPrimary::History);

/// After this many replicas have not answered, the primary is asked.
const MAX_REPLICAS_TRIED: usize = 3;

/// A read is cheap to repeat once. A recovery conflict that comes back will not go away.
const MAX_ASKED: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use ReadStep::{Check, Choose, ChooseReached, Fail, Hold, LastResort, Run, Settle, Wait};

    const LAG: WaitError = WaitError::TimedOut;
    const STATEMENT: ReadStep = ReadStep::Primary(WhyPrimary::Statement);
    const FAIL: ReadStep = Fail(ReadFailure::LastStep);

    fn policy(consistency: Consistency, on_lag: OnLag) -> ReadPolicy {
        let on_local_primary = OnLocalPrimary::Read;
        ReadPolicy { consistency, on_lag, runs_on: RunsOn::Any, on_local_primary, is_named: false }
    }

    fn session() -> ReadPolicy {
        policy(Consistency::Session, OnLag::ReadFromPrimary)
    }

    fn at(lsn: u64) -> Position {
        Position::new(7, 1, lsn)
    }

    fn required(behind: bool, is_reached: bool) -> Option<Requirement> {
        let behind = behind.then(|| at(3));
        Some(Requirement { required: RequiredPosition { position: at(5), behind }, is_reached })
    }

    #[test]
    fn statement_and_policy_choose_the_first_server() {
        use ChosenServer::{LocalPrimary, Replica};
        let named = ReadPolicy { is_named: true, ..session() };
        let strict = ReadPolicy { on_lag: OnLag::Fail, ..named };
        let raw = ReadPolicy { on_local_primary: OnLocalPrimary::Execute, ..session() };
        let table = [
            (session(), None, NO_REPLICA),
            (named, None, NO_REPLICA),
            (strict, None, Fail(ReadFailure::NamedReplicaDown)),
            (session(), Some(LocalPrimary), Run),
            (raw, Some(LocalPrimary), STATEMENT),
            (session(), Some(Replica), Settle),
            (raw, Some(Replica), Settle),
            (policy(Consistency::Eventual, OnLag::Fail), Some(Replica), Run),
            (policy(Consistency::Global, OnLag::Fail), Some(Replica), NO_REPLICA),
            (policy(Consistency::Global, OnLag::Fail), Some(LocalPrimary), Run),
        ];
        for (policy, server, expected) in table {
            let mut plan = ReadPlan::new(policy);
            assert_eq!(plan.first(), Choose);
            assert_eq!(plan.chosen(server), expected, "{policy:?}, {server:?}");
        }
        let lock = ReadPolicy { runs_on: RunsOn::Primary, ..session() };
        assert_eq!(ReadPlan::new(lock).first(), STATEMENT);
    }

    #[test]
    fn session_waits_checks_or_runs_at_once() {
        let table = [
            (None, Run),
            (required(false, true), Run),
            (required(true, true), Run),
            (required(false, false), Wait(at(5))),
            (required(true, false), Check(at(3))),
        ];
        for (requirement, expected) in table {
            let plan = ReadPlan::new(session());
            assert_eq!(plan.settled(requirement, true), expected, "{requirement:?}");
            assert_eq!(plan.settled(requirement, false), HISTORY, "{requirement:?}");
        }
    }

    #[test]
    fn lag_leads_to_another_server() {
        let (plan, strict) = (ReadPlan::new(session()), ReadPlan::new(policy(Consistency::Session, OnLag::Fail)));
        assert_eq!((plan.unsettled(), strict.unsettled()), (Some(NO_REPLICA), None));
        assert_eq!(plan.is_still_behind(), NO_REPLICA);
        assert_eq!(strict.is_still_behind(), Fail(ReadFailure::Lagging(None)));
        let waited = |waited| plan.waited(at(5), waited);
        assert_eq!(waited(Waited::Reached), Run);
        assert_eq!(waited(Waited::Declined), Run);
        assert_eq!(waited(Waited::Foreign), Fail(ReadFailure::Foreign));
        assert_eq!(waited(Waited::NotReached(LAG)), ChooseReached(at(5), LAG));
        assert_eq!(plan.chosen_reached(true, LAG), Run);
        assert_eq!(plan.chosen_reached(false, LAG), NO_REPLICA);
        assert_eq!(strict.chosen_reached(false, LAG), Fail(ReadFailure::Lagging(Some(LAG))));
        assert_eq!(plan.chosen_reached(false, WaitError::OtherTimeline), HISTORY);
        assert_eq!(strict.chosen_reached(false, WaitError::OtherTimeline), HISTORY);
    }

    #[test]
    fn one_of_several_is_asked_on_the_connection() {
        let one = Some(ChosenServer::OneOfSeveral);
        for (policy, first) in [
            (session(), Settle),
            (policy(Consistency::Eventual, OnLag::Fail), Hold),
            (policy(Consistency::Global, OnLag::Fail), NO_REPLICA),
        ] {
            assert_eq!(ReadPlan::new(policy).chosen(one), first, "{policy:?}");
        }
        let (mut plan, mut strict) =
            (ReadPlan::new(session()), ReadPlan::new(policy(Consistency::Session, OnLag::Fail)));
        plan.chosen(one);
        strict.chosen(one);
        for requirement in [None, required(false, true), required(true, false)] {
            assert_eq!(plan.settled(requirement, true), Hold);
            assert_eq!(plan.settled(requirement, false), HISTORY);
        }
        assert_eq!(plan.held(Some(at(5)), Waited::Reached), Run);
        assert_eq!(plan.held(Some(at(5)), Waited::Declined), Hold);
        assert_eq!(plan.held(Some(at(5)), Waited::Foreign), Fail(ReadFailure::Foreign));
        assert_eq!(plan.held(Some(at(5)), Waited::NotReached(LAG)), ChooseReached(at(5), LAG));
        assert_eq!(plan.held(None, Waited::NotReached(LAG)), NO_REPLICA);
        assert_eq!(strict.held(None, Waited::NotReached(LAG)), Fail(ReadFailure::Lagging(Some(LAG))));
        assert_eq!([Refusal::Transient; 2].map(|refusal| plan.refused(refusal)), [Hold, Choose]);
        assert_eq!(plan.refused(Refusal::Unknown), NO_REPLICA);
    }

    #[test]
    fn refusals_lead_on_until_the_primary() {
        use Refusal::{Final, OldPrimary, Transient, Unknown, Unreachable, Writes};
        let table: [(ChosenServer, &[Refusal], ReadStep); 14] = [
            (ChosenServer::Replica, &[Writes], STATEMENT),
            (ChosenServer::Replica, &[Unknown], NO_REPLICA),
            (ChosenServer::Replica, &[Final], FAIL),
            (ChosenServer::Replica, &[Transient], Run),
            (ChosenServer::Replica, &[Transient, Transient], Choose),
            (ChosenServer::Replica, &[Transient, Writes], STATEMENT),
            (ChosenServer::Replica, &[Unreachable], Choose),
            (ChosenServer::LocalPrimary, &[Transient], Run),
            (ChosenServer::LocalPrimary, &[Transient, Transient], STATEMENT),
            (ChosenServer::LocalPrimary, &[Unreachable], STATEMENT),
            (ChosenServer::LocalPrimary, &[Unknown], FAIL),
            (ChosenServer::LocalPrimary, &[Final], FAIL),
            (ChosenServer::LocalPrimary, &[OldPrimary], NO_REPLICA),
            (ChosenServer::Replica, &[OldPrimary], NO_REPLICA),
        ];
        for (server, refusals, expected) in table {
            let mut plan = ReadPlan::new(session());
            plan.chosen(Some(server));
            let last = refusals.iter().map(|&refusal| plan.refused(refusal)).last();
            assert_eq!(last, Some(expected), "{server:?} {refusals:?}");
        }
    }

    #[test]
    fn third_replica_down_leads_to_the_primary() {
        let mut plan = ReadPlan::new(session());
        for expected in [Choose, Choose, NO_REPLICA] {
            plan.chosen(Some(ChosenServer::Replica));
            assert_eq!(plan.refused(Refusal::Unreachable), expected);
        }
    }

    #[test]
    fn last_resort_needs_a_lenient_read() {
        use WhyPrimary::{History, NoReplica, Statement};
        let eventual = policy(Consistency::Eventual, OnLag::ReadFromPrimary);
        let table = [
            (session(), NoReplica, true, LastResort),
            (eventual, NoReplica, true, LastResort),
            (session(), NoReplica, false, FAIL),
            (session(), Statement, true, FAIL),
            (session(), History, true, FAIL),
            (policy(Consistency::Session, OnLag::Fail), NoReplica, true, FAIL),
            (policy(Consistency::Global, OnLag::ReadFromPrimary), NoReplica, true, FAIL),
        ];
        for (policy, why, is_out_of_reach, expected) in table {
            let plan = ReadPlan::new(policy);
            assert_eq!(plan.primary_failed(why, is_out_of_reach), expected, "{policy:?} {why:?}");
        }
    }
}
