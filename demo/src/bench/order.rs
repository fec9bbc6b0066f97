//! What a node is told to do, and what it answers: a line of JSON each.

use serde::{Deserialize, Serialize};

use crate::output::samples::Samples;

/// What a node is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Do each work once in every round, one after the other, so that all works meet the same conditions. A further round before
    /// may warm up what is prepared at the first use. Answered by [`Vec<Times>`](Times), in the order of the works.
    Turns { works: Vec<Work>, rounds: usize, pauses: Pauses, warm_up: bool },

    /// Let callers repeat a work side by side. Answered by [`Done`].
    Crowd { work: Work, callers: usize, seconds: f64 },

    /// Let one caller, or callers side by side, insert with a wait, while this node looks for the true moment of each replay.
    /// Answered by [`Samples`]: how much later each wait ended.
    Added { callers: usize, each: usize, pauses: Pauses },

    /// Write a row whose replay nothing waits for. Then let callers read, who have to wait for the row. Answered by
    /// [`Memory`] when all wait. They end when the replica has replayed the row.
    Wait { callers: usize },

    /// Begin calls, and drop them within some milliseconds. Answered by `null`.
    Drop { calls: usize, seed: usize },
}

/// One call, or one piece of work for a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Insert a row through Homing.
    Insert {
        wait: Wait,
        is_protected: bool,
    },

    /// Run an update through Homing that matches no row.
    UpdateNothing,

    /// Insert a row as [`Insert`](Self::Insert) does without a wait, ask for the primary's position by a call of its own, and
    /// let the replica look every 50 ms whether it is there, as Homing's model does.
    InsertAndPoll,

    /// Read an entity by its key.
    Get,

    /// Read a row by SQL.
    Query,

    /// Call a named function that does nothing.
    CallNothing,

    /// Insert twenty rows: by a loop, a batch, or a named function.
    TwentyInLoop,
    TwentyInBatch,
    TwentyInFunction,

    /// A transaction of five statements.
    Transaction,

    /// The same by the driver alone: on the primary, over the node's link.
    DriverInsert,
    DriverTwentyInLoop,
    DriverTransaction,

    /// Insert a row by the driver alone, and ask the node's own database for it until it is there. Only the replay is timed.
    DriverReplay,

    /// Read a row by the driver alone, from the node's own database.
    DriverQuery,

    /// Insert a row through a pool of connections to the primary, without Homing.
    PoolInsert,
}

/// When an insert waits for its replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wait {
    Now,
    AtNextRead,
    Never,
}

/// The pauses between two rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pauses {
    None,
    /// Each of a random length, up to this one.
    UpToMs(u64),
}

/// How long the calls of a work took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) total: Samples,
    /// The stages of calls through Homing.
    pub(super) forward: Samples,
    pub(super) execute: Samples,
    pub(super) replay_wait: Samples,
}

/// What a crowd got done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) calls: usize,
    pub(super) seconds: f64,
    pub(super) times: Samples,
}

/// The memory of a node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) before_bytes: u64,
    pub(super) after_bytes: u64,
}

/// An insert with its wait, applied once: what people write.
pub(super) const INSERT: Work = Work::Insert { wait: Wait::Now, is_protected: true };
