//! [`Attempt`], one request at a peer, and its transaction in the database.

use homing_rpc::Reason;

use super::bug::Bug;
use super::cluster::{Change, Cluster};
use super::table::{Claimed, Key, Row};
use crate::outcome::ended::{Answer, Ended, Settlement};
use crate::outcome::known::{Known, Start};
use crate::position::Position;

/// The number of an attempt.
pub(super) type AttemptId = u16;

/// An attempt: a request that was sent to a peer, until it is answered and nothing of it is under way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) call: usize,
    pub(super) peer: usize,
    pub(super) task: Task,
    pub(super) key: Key,
    /// Of the request. `None` if the outcome of any request is asked for.
    pub(super) fingerprint: Option<u8>,
    pub(super) again: bool,
    /// How often its key was settled, as far as its call was told.
    pub(super) told: i32,
    /// Whether the whole transaction is sent at once.
    pub(super) is_pipelined: bool,
    /// What the primary has to have in its history.
    pub(super) session: Vec<Position>,
    /// Whether the caller waits for it.
    pub(super) is_awaited: bool,
    /// Whether its messages are delayed until something is done about it.
    pub(super) is_delayed: bool,
    pub(super) stage: Stage,
    pub(super) transaction: Transaction,
    /// Whether the results of its statement have arrived at the peer.
    pub(super) has_results: bool,
    /// When it looked for its key, and when it settled it.
    pub(super) looked: u32,
    pub(super) settled: Option<u32>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Write,
    Outcome,
}

/// How far the peer is with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is on its way to the peer.
    Sent,
    Arrived,
    Looks,
    Runs,
    /// It runs, and COMMIT was sent.
    Commits,
    Settles(Ended, Reason),
    Answered(Response),
    /// It is answered, or its peer died.
    Over,
}

/// How far the database is with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Begun {
        fence: i32,
    },
    HasRun {
        fence: i32,
    },
    Claimed,
    Committed,
    /// A statement was refused.
    Rejected,
    /// The claim was refused.
    Taken,
    /// The connection was lost. The transaction goes on if `goes_on`, until it notices.
    Orphan(Orphan),
}

/// A transaction whose client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orphan {
    HasRun { fence: i32 },
    Claimed,
    Over,
}

/// What a peer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// The results of this attempt, or the committed one if `None`'s results were not kept.
    Results(Option<AttemptId>, Option<Position>),
    Rejected,
    /// With a number, the attempt did not run.
    KeySettled(i32),
    KeyReused,
    Unprotected,
    Told(Known<AttemptId>, Option<Position>),
    Refused(Reason),
    Settled(Reason),
    Unknown,
}

impl Attempt {
    /// Returns whether the peer can take its next step.
    pub(super) fn is_ready(&self, cluster: &Cluster) -> bool {
        match self.stage {
            Stage::Sent | Stage::Arrived | Stage::Looks => true,
            Stage::Runs => match self.transaction {
                Transaction::HasRun { .. } => !self.is_pipelined,
                Transaction::Begun { .. } | Transaction::Claimed => false,
                _ => true,
            },
            Stage::Commits => {
                let is_under_way = matches!(self.transaction, Transaction::HasRun { .. } | Transaction::Claimed);
                !is_under_way
            }
            Stage::Settles(..) => cluster.primary.is_none() || !cluster.table.is_claimed(self.key),
            Stage::Answered(_) => self.is_awaited,
            Stage::Over => false,
        }
    }

    /// Takes the next step at the peer. `now` is the number of the step.
    pub(super) fn step(&mut self, cluster: &mut Cluster, now: u32, bug: Option<Bug>) {
        self.stage = match self.stage {
            Stage::Sent => Stage::Arrived,
            Stage::Arrived => self.check(cluster, bug),
            Stage::Looks => self.look(cluster, now, bug),
            Stage::Runs if matches!(self.transaction, Transaction::HasRun { .. }) => Stage::Commits,
            Stage::Runs | Stage::Commits => self.ended(cluster, bug),
            Stage::Settles(ended, reason) => self.settle(cluster, ended, reason, now, bug),
            Stage::Answered(_) | Stage::Over => Stage::Over,
        };
    }

    /// Compares the history of the primary with what the session has seen.
    fn check(&self, cluster: &Cluster, bug: Option<Bug>) -> Stage {
        if cluster.primary.is_none() {
            return Stage::Answered(Response::Refused(Reason::DatabaseUnavailable));
        }
        match self.task {
            // The outcome is what the session has to know now.
            Task::Outcome => Stage::Settles(Ended::Failed, Reason::HistoryLost),
            Task::Write if self.has_history(cluster) || bug == Some(Bug::IgnoresHistory) => Stage::Looks,
            Task::Write => self.failed(Ended::Failed, Reason::HistoryLost, bug),
        }
    }

    /// Returns whether the primary has in its history what the session has seen.
    fn has_history(&self, cluster: &Cluster) -> bool {
        self.session.iter().all(|position| cluster.has(*position))
    }

    fn look(&mut self, cluster: &Cluster, now: u32, bug: Option<Bug>) -> Stage {
        if cluster.primary.is_none() {
            return Stage::Answered(Response::Refused(Reason::DatabaseUnavailable));
        }
        self.looked = now;
        let known = if self.again { cluster.table.recall(self.key, self.fingerprint) } else { Known::Nothing };
        let told = if bug == Some(Bug::IgnoresToldFence) { i32::MAX } else { self.told };
        match known.start(told) {
            Start::Run(fence) => {
                self.transaction = Transaction::Begun { fence };
                Stage::Runs
            }
            Start::Committed(result) => Stage::Answered(Response::Results(result, Some(cluster.end()))),
            Start::Settled(fence) => Stage::Answered(Response::KeySettled(fence)),
            Start::Reused => Stage::Answered(Response::KeyReused),
        }
    }

    /// Hears how its transaction has ended.
    fn ended(&mut self, cluster: &Cluster, bug: Option<Bug>) -> Stage {
        let is_commit_sent = self.is_pipelined || self.stage == Stage::Commits;
        match self.transaction {
            Transaction::Rejected => self.failed(Ended::Failed, Reason::BadArguments, bug),
            Transaction::Taken => self.failed(Ended::Taken, Reason::BadArguments, bug),
            Transaction::Committed => {
                let position = cluster.primary.map(|_| cluster.end());
                Stage::Answered(Response::Results(Some(self.id), position))
            }
            _ if is_commit_sent && bug == Some(Bug::InterruptedIsNotExecuted) => {
                Stage::Answered(Response::Refused(Reason::DatabaseUnavailable))
            }
            _ if is_commit_sent && self.has_results => {
                Stage::Settles(Ended::Interrupted { is_kept: !self.is_pipelined }, Reason::DatabaseUnavailable)
            }
            _ if is_commit_sent => Stage::Answered(Response::Unknown),
            _ => self.failed(Ended::Again, Reason::DatabaseUnavailable, bug),
        }
    }

    fn failed(&self, ended: Ended, reason: Reason, bug: Option<Bug>) -> Stage {
        let again = self.again && bug != Some(Bug::FailsUnsettled);
        match ended.settles(again) {
            true => Stage::Settles(ended, reason),
            false => Stage::Answered(self.failure(ended, reason)),
        }
    }

    fn failure(&self, ended: Ended, reason: Reason) -> Response {
        match (ended, self.transaction) {
            (Ended::Taken, _) => Response::KeySettled(0),
            (_, Transaction::Rejected) => Response::Rejected,
            _ => Response::Refused(reason),
        }
    }

    fn settle(&mut self, cluster: &mut Cluster, ended: Ended, reason: Reason, now: u32, bug: Option<Bug>) -> Stage {
        let settlement = match cluster.primary {
            None => Settlement::Failed,
            Some(_) => {
                if cluster.table.settle(self.key, self.fingerprint, bug) {
                    let row = cluster.table.row(self.key).expect("it was settled");
                    cluster.commit(Change::Key { key: self.key, row });
                }
                self.settled = Some(now);
                Settlement::Told(cluster.table.recall(self.key, self.fingerprint))
            }
        };
        let position = cluster.primary.map(|_| cluster.end());
        if self.task == Task::Outcome {
            return Stage::Answered(match settlement {
                Settlement::Told(known) => Response::Told(known, position),
                _ => Response::Unknown,
            });
        }
        Stage::Answered(match ended.answer(settlement) {
            Answer::Committed => Response::Results(Some(self.id), position),
            Answer::CommittedBefore(result) => {
                Response::Results(result, position.filter(|_| self.has_history(cluster)))
            }
            Answer::NotCommitted => match self.failure(ended, reason) {
                Response::Refused(reason) => Response::Settled(reason),
                failure => failure,
            },
            Answer::Reused => Response::KeyReused,
            Answer::Unprotected => Response::Unprotected,
            Answer::SettleFailed | Answer::Unknown => Response::Unknown,
        })
    }

    /// Returns whether the database can go on with the transaction.
    pub(super) fn is_transaction_ready(&self, cluster: &Cluster) -> bool {
        let may_claim = self.is_pipelined || self.stage == Stage::Commits;
        match self.transaction {
            Transaction::Begun { .. } | Transaction::Claimed | Transaction::Orphan(Orphan::Claimed) => true,
            Transaction::HasRun { .. } => may_claim && !cluster.table.is_claimed(self.key),
            Transaction::Orphan(Orphan::HasRun { .. }) => true,
            _ => false,
        }
    }

    /// Goes on with the transaction. `is_refused` if PostgreSQL refuses its statement.
    pub(super) fn step_transaction(&mut self, cluster: &mut Cluster, is_refused: bool, bug: Option<Bug>) {
        self.transaction = match self.transaction {
            Transaction::Begun { .. } if is_refused => Transaction::Rejected,
            Transaction::Begun { fence } => {
                if bug == Some(Bug::ClaimsAfterCommit) {
                    cluster.commit(Change::Write { call: self.call, key: None });
                }
                Transaction::HasRun { fence }
            }
            Transaction::HasRun { fence } => match cluster.table.claim(self.key, fence, self.id, bug) {
                Claimed::Yes => Transaction::Claimed,
                Claimed::No => Transaction::Taken,
                Claimed::Waits => return,
            },
            Transaction::Orphan(Orphan::HasRun { fence }) => match cluster.table.claim(self.key, fence, self.id, bug) {
                Claimed::Yes => Transaction::Orphan(Orphan::Claimed),
                Claimed::No => Transaction::Orphan(Orphan::Over),
                Claimed::Waits => return,
            },
            Transaction::Claimed => {
                self.commit(cluster, bug);
                Transaction::Committed
            }
            Transaction::Orphan(Orphan::Claimed) => {
                self.commit(cluster, bug);
                Transaction::Orphan(Orphan::Over)
            }
            ended => ended,
        };
    }

    fn commit(&self, cluster: &mut Cluster, bug: Option<Bug>) {
        // The results of a pipelined statement are not there yet when its key is claimed.
        let result = (!self.is_pipelined).then_some(self.id);
        let row = Row { fence: None, fingerprint: self.fingerprint.unwrap_or_default(), result };
        cluster.commit(match bug {
            Some(Bug::ClaimsAfterCommit) => Change::Key { key: self.key, row },
            _ => Change::Write { call: self.call, key: Some((self.key, row)) },
        });
        cluster.table.release(self.key, self.id);
    }

    /// Loses the connection to the database. If the database does not notice it at once, it goes on with what was sent.
    pub(super) fn lose_connection(&mut self, cluster: &mut Cluster, is_noticed: bool) {
        let is_commit_sent = self.is_pipelined || self.stage == Stage::Commits;
        if self.stage == Stage::Looks {
            self.stage = Stage::Answered(Response::Refused(Reason::DatabaseUnavailable));
        }
        self.has_results = !matches!(self.transaction, Transaction::Begun { .. });
        self.transaction = match self.transaction {
            Transaction::Begun { fence } | Transaction::HasRun { fence } if is_commit_sent && !is_noticed => {
                Transaction::Orphan(Orphan::HasRun { fence })
            }
            Transaction::Claimed if !is_noticed => Transaction::Orphan(Orphan::Claimed),
            Transaction::Begun { .. } | Transaction::HasRun { .. } | Transaction::Claimed | Transaction::Orphan(_) => {
                cluster.table.release(self.key, self.id);
                Transaction::Orphan(Orphan::Over)
            }
            Transaction::Committed | Transaction::Rejected | Transaction::Taken => Transaction::Orphan(Orphan::Over),
            Transaction::None => Transaction::None,
        };
    }

    /// Returns whether the attempt has a connection to the database.
    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.transaction, Transaction::None | Transaction::Orphan(_))
            && matches!(self.stage, Stage::Runs | Stage::Commits)
    }
}
