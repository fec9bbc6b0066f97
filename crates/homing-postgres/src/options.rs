use std::time::Duration;

use crate::Choose;

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

    /// Which of several replicas a read goes to. Default: [`Choose::Nearest`].
    pub choose: Choose,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wait: Wait::default(),
            call_timeout: CALL_TIMEOUT,
            replay_timeout: REPLAY_TIMEOUT,
            on_lag: OnLag::default(),
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

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const REPLAY_TIMEOUT: Duration = Duration::from_secs(5);
