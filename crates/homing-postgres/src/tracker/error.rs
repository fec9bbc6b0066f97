//! Why a wait or a probe of a tracker failed: [`WaitError`], [`Unavailable`].

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use homing_rpc::Causes;

use super::link::LinkError;
use crate::position::state::Verdict;

/// Why a [wait](super::Tracker::wait) ended without the position being reached.
///
/// The enum is closed on purpose: a caller has to handle each case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitError {
    /// The tracker's task has ended with its runtime.
    Closed,

    /// The server belongs to another cluster; see [`Verdict::OtherSystem`].
    OtherSystem,

    /// The position cannot be shown to be in the server's history; see [`Verdict::OtherTimeline`].
    OtherTimeline,

    /// The deadline passed before the server was seen to have reached the position.
    TimedOut,

    /// The server could not be connected to during the wait. Only calls of a [`Repo`](crate::Repo) stop for it;
    /// [`Tracker::wait`](super::Tracker::wait) goes on.
    Unreachable,
}

impl WaitError {
    pub(crate) fn from_verdict(verdict: Verdict) -> Result<(), Self> {
        match verdict {
            Verdict::Reached => Ok(()),
            Verdict::NotYet => Err(Self::TimedOut),
            Verdict::OtherTimeline => Err(Self::OtherTimeline),
            Verdict::OtherSystem => Err(Self::OtherSystem),
        }
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the tracker has ended",
            Self::OtherSystem => "the position belongs to another database cluster",
            Self::OtherTimeline => "the position cannot be shown to be in the history of this server",
            Self::TimedOut => "the position was not reached in time",
            Self::Unreachable => "the server cannot be reached",
        })
    }
}

/// Prints the message.
impl fmt::Debug for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for WaitError {}

/// The server could not be asked for its state. The cause, if there is one, is the [source](StdError::source).
#[derive(Clone)]
pub struct Unavailable {
    server: Arc<str>,
    /// `None` if the tracker's task has ended or panicked.
    cause: Option<Arc<LinkError>>,
}

impl Unavailable {
    pub(super) fn new(server: &Arc<str>, cause: Option<LinkError>) -> Self {
        Self { server: Arc::clone(server), cause: cause.map(Arc::new) }
    }
}

/// Prints the message and its causes, a line each.
impl fmt::Debug for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", Causes(self))
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database server at {} could not be asked for its state", self.server)
    }
}

impl StdError for Unavailable {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}
