//! [`Options`], how the calls of a handle behave.

use std::time::Duration;

use tokio::time::Instant;

use crate::replicas::Choose;

/// How the calls of a [`Repo`](crate::Repo) behave.
///
/// [`Repo::with_options`](crate::Repo::with_options) returns a handle with these options.
/// [`Repo::with_wait`](crate::Repo::with_wait) and its neighbours change one option. Handles are cheap, so a single
/// call may have its own options: `repo.with_wait(Wait::AtNextRead).insert(..)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// When to wait for the local replica. Default: [`Wait::Now`].
    pub wait: Wait,

    /// How long a call may take until it is executed. That includes finding a peer, forwarding, and the time in the
    /// database. Default: 5 s, enough for a round trip
    /// around the world and a slow statement. A day at most.
    ///
    /// A read may ask several servers, one after the other. All of them together have this time. A replica that cannot be
    /// connected to takes half of what is left, so that the next server has the other half.
    pub call_timeout: Duration,

    /// How long a committed write waits until the local replica has replayed it, and how long a read waits for a replica
    /// that is behind what it has to see, in all. Default: 5 s, far beyond the usual lag. A day at most.
    ///
    /// Waiting does not take from [`call_timeout`](Self::call_timeout): a call takes no longer than both together.
    pub replay_timeout: Duration,

    /// How to go on if the replica takes longer. Default: [`OnLag::ReadFromPrimary`].
    pub on_lag: OnLag,

    /// How often a write is applied if the network or a node fails under it. Default: [`Delivery::ExactlyOnce`].
    pub delivery: Delivery,

    /// Which writes a read has to see. Default: [`Consistency::Session`].
    pub consistency: Consistency,

    /// How a read chooses among several replicas. Default: [`Choose::Nearest`].
    pub choose: Choose,

    /// The names of functions that only read, although PostgreSQL takes them for volatile: a replica may run them. They are
    /// facts about the database, so set them for the whole node. Default: none.
    pub read_only_functions: &'static [&'static str],
}

impl Options {
    /// Sets when to wait for the local replica.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Sets how long a call may take until it is executed.
    #[must_use]
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Sets how long a write or a read waits for the local replica.
    #[must_use]
    pub fn with_replay_timeout(self, replay_timeout: Duration) -> Self {
        Self { replay_timeout, ..self }
    }

    /// Sets how to go on if the local replica lags.
    #[must_use]
    pub fn with_on_lag(self, on_lag: OnLag) -> Self {
        Self { on_lag, ..self }
    }

    /// Sets how often a write is applied if the network or a node fails under it.
    #[must_use]
    pub fn with_delivery(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    /// Sets which writes a read has to see.
    #[must_use]
    pub fn with_consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// Sets how a read chooses among several replicas.
    #[must_use]
    pub fn with_choose(self, choose: Choose) -> Self {
        Self { choose, ..self }
    }

    /// Sets the names of functions that only read, although PostgreSQL takes them for volatile.
    #[must_use]
    pub fn with_read_only_functions(self, read_only_functions: &'static [&'static str]) -> Self {
        Self { read_only_functions, ..self }
    }
}

impl Options {
    /// Returns until when a call that begins now has to be executed.
    pub(crate) fn call_deadline(&self) -> Instant {
        Instant::now() + self.call_timeout.min(MAX_TIMEOUT)
    }

    /// Returns until when the replica has to have replayed a write that is committed now.
    pub(crate) fn replay_deadline(&self) -> Instant {
        Instant::now() + self.replay_timeout.min(MAX_TIMEOUT)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wait: Wait::default(),
            call_timeout: CALL_TIMEOUT,
            replay_timeout: REPLAY_TIMEOUT,
            on_lag: OnLag::default(),
            delivery: Delivery::default(),
            consistency: Consistency::default(),
            choose: Choose::default(),
            read_only_functions: &[],
        }
    }
}

/// When a write waits until the local replica has replayed it.
///
/// Closed: these are all the possible moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Before the write returns.
    #[default]
    Now,

    /// Before the next read through the same handle or a clone of it. The write returns as soon as it is committed, and
    /// later reads see it nevertheless.
    AtNextRead,

    /// Not at all. A later read may not see the write yet. Use it for writes that this node does not read back.
    Never,
}

/// How a call goes on if the local replica takes longer than [`Options::replay_timeout`].
///
/// Closed: these are all the possible reactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLag {
    /// The write returns `Ok`. The primary answers the reads of this handle until the replica has caught up.
    #[default]
    ReadFromPrimary,

    /// The write returns an error for which [`is_committed`](crate::Error::is_committed) holds, and which contains the
    /// value of the write. Reads that would have to wait longer fail.
    Fail,
}

/// How often a write is applied if the network, a node or the database fails under it.
///
/// Closed: these are all the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Once. The write has a key, and a row of the key is written in its own transaction. If no answer comes, it is sent again
    /// until the time limit, also to another node or to a promoted primary, and whichever attempt is answered, it was applied
    /// once. The outcome is unknown only if the primary cannot be reached until the time limit;
    /// [`Repo::outcome`](crate::Repo::outcome) tells it later.
    ///
    /// This protects entity calls, raw statements, batches, transactional named functions and the commit of interactive
    /// transactions. It does not protect scripts, COPY, other named functions, and statements that PostgreSQL does not run in a
    /// transaction or that commit by themselves, such as `VACUUM`, `CALL` and `CREATE`: they are sent at most once. So are all
    /// writes if the database has no table of outcomes: see [`migration_sql`](crate::migration_sql).
    ///
    /// It costs a row for each write, which is kept for 15 to 40 minutes. The row has the results of the write, up to 64 KiB.
    #[default]
    ExactlyOnce,

    /// Once or not at all. A write is sent again only if it was certainly not executed. If the answer is lost, its outcome is
    /// unknown.
    AtMostOnce,
}

/// Which writes a read has to see.
///
/// | | sees | costs |
/// |---|---|---|
/// | [`Eventual`](Self::Eventual) | the current state of the local replica | never waits |
/// | [`Session`](Self::Session) | everything that this session has written and read | a wait if the replica is behind |
/// | [`Global`](Self::Global) | everything committed before the read began | a round trip to the primary |
///
/// Closed: code that matches on it has to handle each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// The current state of the local replica, even if it is older than this handle's own writes or an earlier read.
    /// Such a read never waits, and never goes to the primary because of lag. It goes there if the region has no
    /// replica.
    Eventual,

    /// Every write that returned `Ok` through the session, except those with [`Wait::Never`], and nothing older than an
    /// earlier read. This also holds after a fallback to the primary, through another replica, and on another node that
    /// uses the session's [`token`](crate::Repo::token).
    ///
    /// There is one exception. A replica that crashed may come back with less than it had replayed, and so be older
    /// than an earlier read, unless the session has written since.
    #[default]
    Session,

    /// Everything that any client had committed on the primary before the read began. The primary answers such a read:
    /// asking it for its position would take a round trip as well, and then the replica would have to catch up.
    ///
    /// To keep a heavy query away from the primary, read something small with `Global` first, and then run the query
    /// with `Session` through the same handle. It runs on the local replica and sees as much.
    Global,
}

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const REPLAY_TIMEOUT: Duration = Duration::from_secs(5);

/// A day: beyond it a timeout is not a limit, and clocks overflow.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
