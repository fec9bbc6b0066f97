//! The executor: runs statements on the database next to this node, for local callers and for peers.
//!
//! [`Executor`] is a handle without a task of its own. Each call spawns one, which the call owns:
//!
//! | call | task |
//! |---|---|
//! | `execute`, `prepare` | one request; see `execute.rs` |
//! | `transact` | one interactive transaction; see `interactive.rs` |
//! | `query`, `copy_out` | one stream of rows or data; see `chunks.rs` |
//! | `copy_in` | one copy; see `copy_in.rs` |

mod chunks;
mod copy_in;
mod execute;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod history;
mod interactive;
mod keyed;
mod limit;
mod parts;
mod places;
mod prepared;
mod probe;
pub(crate) mod question;
mod references;
mod run;
mod silence;
mod snapshot;
pub(crate) mod within;

use homing_rpc::Cluster;

pub(crate) use self::chunks::{Broken, Chunk, Chunks, Pace, Streamed};
pub(crate) use self::copy_in::CopyResponses;
pub(crate) use self::failure::Failure;
pub(crate) use self::history::{other_cluster, positions};
pub(crate) use self::interactive::{MAX_IDLE_TIMEOUT, Responses};
use self::keyed::claims::Claims;
pub(crate) use self::parts::QueryParts;
use self::places::Places;
use crate::connection::pool::{Connection, Pool};
use crate::position::SystemIdentifier;
use crate::tracker::Tracker;

/// Runs the statements of this node's callers and of its peers on the database next to it.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pool: Pool,
    /// The pool of the node's own user, if `pool` is that of another one.
    own_pool: Option<Pool>,
    /// Follows the same server.
    tracker: Tracker,
    max_rows_bytes: usize,
    places: Places,
    claims: Claims,
    /// The cluster that the caller expects. `None` if the caller does not know it.
    expected: Option<SystemIdentifier>,
}

impl Executor {
    /// Creates an executor. `max_rows_bytes` limits the rows of one answer, `max_transactions` the open interactive
    /// transactions.
    pub(crate) fn new(pool: Pool, tracker: Tracker, max_rows_bytes: usize, max_transactions: usize) -> Self {
        let places = Places::new(pool.max_connections(), max_transactions);
        Self { pool, own_pool: None, tracker, max_rows_bytes, places, claims: Claims::default(), expected: None }
    }

    /// Asks for the history of the server as the node's own user: other users may not be allowed to read it.
    pub(crate) fn with_own_pool(self, own_pool: Pool) -> Self {
        Self { own_pool: Some(own_pool), ..self }
    }

    /// Returns the executor for one request that has a connection already, if it has one.
    pub(crate) fn on(&self, connection: Option<Connection>) -> Self {
        let pool = connection.map_or_else(|| self.pool.clone(), |connection| self.pool.handing(connection));
        Self { pool, ..self.clone() }
    }

    /// Returns the executor for a caller that expects this cluster. With a server of another one, it refuses everything.
    pub(crate) fn expecting(&self, cluster: Option<Cluster>) -> Self {
        Self { expected: cluster.map(|cluster| u64::from(cluster).into()), ..self.clone() }
    }

    /// Returns the limit for the rows of one answer.
    pub(crate) fn max_rows_bytes(&self) -> usize {
        self.max_rows_bytes
    }
}
