//! Exactly once: a write with a key is applied once, and the table of outcomes tells later whether it was.
//!
//! Each attempt of a write *claims* its key in its own transaction, right before the commit: it inserts a row of the key, which
//! is unique, and of the results. So at most one attempt is committed, and the others find its row. A single statement that returns
//! the rows that it writes carries the claim. An attempt that may not be the first one looks for the key before it runs. To *settle*
//! a key means to insert a row that says "not committed", and how often that was said: an attempt that is still under way then fails
//! at its claim, and one that arrives later does not run, since its caller was told of fewer settlements when it was sent.

pub(crate) mod ended;
pub(crate) mod fingerprint;
pub(crate) mod key;
pub(crate) mod known;
pub(crate) mod once;
pub(crate) mod protection;

/// The results that are kept with a key. Larger ones are returned once, and a later attempt only learns that the write is
/// committed.
pub(crate) const MAX_RESULT_BYTES: usize = 64 * 1024;

/// What became of a write: see [`Repo::outcome`](crate::Repo::outcome).
///
/// Closed: these are all the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed. The same call with the same key returns its result.
    Committed,

    /// It is not committed. An attempt that is still under way will be rolled back, and one that arrives later does not run. A call
    /// with the same key may run, and so may one that is still waiting for its answer.
    NotCommitted,

    /// The key is older than the time for which it is kept, so nobody can tell. A key of the application's own, of which the
    /// age is not known, is `NotCommitted` then.
    Expired,
}

/// Returns the SQL that creates the schema `homing`: the table of outcomes and its functions.
///
/// A node that finds no table creates it if its role may create schemas. Otherwise writes are sent at most once, and a warning is
/// logged: run this SQL, in one transaction, as a role that may. It can be run again, and after an update of Homing it should be.
/// Nodes look for the table every ten seconds. Nobody else should write to it.
///
/// ```
/// let sql = homing_postgres::migration_sql();
/// assert!(sql.contains("create table if not exists homing.outcome"));
/// ```
pub fn migration_sql() -> &'static str {
    include_str!("outcome/table.sql")
}
