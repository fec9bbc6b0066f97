use std::time::Duration;

use crate::replicas::Choose;

/// How a [`Repo`](crate::Repo) makes its calls.
///
/// Set for all calls of a handle by [`Repo::with_options`](crate::Repo::with_options), or one at a time by
/// [`Repo::with_wait`](crate::Repo::with_wait) and its neighbours; handles are cheap, so a single call is given options
/// of its own by `repo.with_wait(Wait::AtNextRead).insert(..)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// When to wait for the replica here. Default: [`Wait::Now`].
    pub wait: Wait,

    /// How long a call may take until it is executed: finding a peer, forwarding, the database's own time; for a read
    /// here the latter only. Default: 5 s.
    pub call_timeout: Duration,

    /// How long the replica here may take to replay a write that is committed. Default: 5 s.
    pub replay_timeout: Duration,

    /// What to do when it takes longer. Default: [`OnLag::ReadFromPrimary`].
    pub on_lag: OnLag,

    /// What a read has to see. Default: [`Consistency::Session`].
    pub consistency: Consistency,

    /// Which of several replicas a read goes to. Default: [`Choose::Nearest`].
    pub choose: Choose,
}

impl Options {
    /// The same with another time to wait.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// The same with another limit for a call until it is executed.
    #[must_use]
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// The same with another limit for the replica here.
    #[must_use]
    pub fn with_replay_timeout(self, replay_timeout: Duration) -> Self {
        Self { replay_timeout, ..self }
    }

    /// The same with another behaviour when the replica here lags.
    #[must_use]
    pub fn with_on_lag(self, on_lag: OnLag) -> Self {
        Self { on_lag, ..self }
    }

    /// The same with another idea of what reads have to see.
    #[must_use]
    pub fn with_consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// The same with another rule for which of several replicas a read goes to.
    #[must_use]
    pub fn with_choose(self, choose: Choose) -> Self {
        Self { choose, ..self }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wait: Wait::default(),
            call_timeout: CALL_TIMEOUT,
            replay_timeout: REPLAY_TIMEOUT,
            on_lag: OnLag::default(),
            consistency: Consistency::default(),
            choose: Choose::default(),
        }
    }
}

/// When a write waits until the replica here has replayed it.
///
/// Closed: these are the three moments there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Before the write returns.
    #[default]
    Now,

    /// Before the next read through the same handle or a clone of it. The write returns as soon as it is committed;
    /// read-your-writes holds all the same.
    AtNextRead,

    /// Not at all: a read may not see the write yet. For writes that nobody here reads back.
    Never,
}

/// What to do when the replica here lags past [`Options::replay_timeout`].
///
/// Closed: there is nothing else to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLag {
    /// The write returns `Ok`; reads through this handle are answered by the primary until the replica has caught up.
    #[default]
    ReadFromPrimary,

    /// The write returns an error that says it is committed
    /// ([`is_committed`](crate::Error::is_committed)) and holds its value. Reads that would have to wait longer fail.
    Fail,
}

/// What a read has to see.
///
/// | | sees | costs |
/// |---|---|---|
/// | [`Eventual`](Self::Eventual) | whatever the replica here has | never waits |
/// | [`Session`](Self::Session) | all that this handle's session wrote and read | waits where the replica is not that far |
/// | [`Global`](Self::Global) | all that anybody had committed when the read began | a round trip to the primary |
///
/// Closed: whoever decides has to know each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Whatever the replica here has, even if that is older than this handle's own writes, or than an earlier read. A
    /// read never waits, and never goes to the primary because of lag; it does where the region has no replica.
    Eventual,

    /// Every write that returned `Ok` through the session ([`Wait::Never`] excepted), and nothing older than what it
    /// has read: also after falling back to the primary, through another replica, or on another node by
    /// [`token`](crate::Repo::token). A replica that crashed and came back with less than it had is beyond this, unless
    /// the session had written since.
    #[default]
    Session,

    /// Everything that was committed on the primary before the read began, by whomever. Such a read is answered by the
    /// primary: to ask it for its position and then to wait for the replica would be a round trip as well, and the wait
    /// on top. Where a heavy query should be kept from the primary, write something, or read something small with
    /// `Global`, and run the query with `Session` through the same handle: it runs here, and sees as much.
    Global,
}

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const REPLAY_TIMEOUT: Duration = Duration::from_secs(5);
