//! The executor: runs statements on the database next to this node, for local callers and for peers.
//!
//! [`Executor`] owns no task. Each of its calls spawns one: see `execute`, `interactive` and `chunks`.

mod chunks;
mod execute;
mod failure;
mod interactive;
mod limit;
mod parts;
mod pinned;
mod prepared;
mod probe;
mod references;
mod run;
mod within;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub(crate) use self::chunks::{Broken, Chunk, Chunks, Pace};
pub(crate) use self::failure::Failure;
pub(crate) use self::interactive::{MAX_IDLE_TIMEOUT, Responses};
pub(crate) use self::parts::QueryParts;
use crate::connection::pool::Pool;

/// Runs the statements of this node's callers and of its peers on the database next to it.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pool: Pool,
    max_rows_bytes: usize,
    /// For interactive transactions, which may keep their connections for long.
    places: Arc<Semaphore>,
    max_transactions: usize,
    /// Half of the pool: streams are long, and must not keep the others out.
    streams: Arc<Semaphore>,
}

impl Executor {
    /// `max_rows_bytes` bounds what one answer may hold, `max_transactions` how many interactive transactions may be
    /// open.
    pub(crate) fn new(pool: Pool, max_rows_bytes: usize, max_transactions: usize) -> Self {
        let streams = Arc::new(Semaphore::new((pool.max_connections() / 2).max(1)));
        let places = Arc::new(Semaphore::new(max_transactions));
        Self { pool, max_rows_bytes, places, max_transactions, streams }
    }

    /// What one answer may hold.
    pub(crate) fn max_rows_bytes(&self) -> usize {
        self.max_rows_bytes
    }
}
