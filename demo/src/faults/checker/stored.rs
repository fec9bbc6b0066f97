//! What the database holds in the end.

use std::collections::{BTreeMap, HashMap};

use crate::faults::clock::Micros;
use crate::faults::journal::Transfer;

/// The identity of a write: its caller, and its number.
pub(crate) type Key = (String, u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// The entries of each write, with what each has moved.
    pub(crate) entries: HashMap<Key, Vec<Option<Transfer>>>,
    pub(crate) balances: BTreeMap<i32, i64>,
    /// The balance of each account at the beginning.
    pub(crate) initial_balance: i64,
    /// `None` if no server was promoted, or one that had all of the log.
    pub(crate) fork: Option<Fork>,
}

/// Where and when a promoted server has left the log of its primary, which had more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fork {
    pub(crate) place: i64,
    /// When it accepted writes.
    pub(crate) at: Micros,
}

impl Stored {
    pub(super) fn count(&self, key: &Key) -> usize {
        self.entries.get(key).map_or(0, Vec::len)
    }

    /// Returns whether the database itself has lost the write: it was committed after the place at which a promoted server
    /// left the log. `place` is one before the commit.
    pub(super) fn is_past_fork(&self, place: Option<i64>) -> bool {
        match (self.fork, place) {
            (Some(fork), Some(place)) => place + MAX_DISTANCE_TO_COMMIT > fork.place,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// How much of the log other transactions may write between the place that a transaction reads and its commit: some
/// whole pages of tables, and the records of all callers.
const MAX_DISTANCE_TO_COMMIT: i64 = 256 * 1024;
