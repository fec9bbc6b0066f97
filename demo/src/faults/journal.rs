//! The journal of a node: a line when an operation begins, and one when it ends.
//!
//! A line is written with one system call before the operation goes on, so a killed node's journal is complete up to its
//! death: an operation without an end was under way.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use homing::Fate;
use serde::{Deserialize, Serialize};

use super::clock::Micros;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Line {
    Begin {
        at: Micros,
        /// The number of the operation in its journal.
        number: u64,
        session: u32,
        operation: Operation,
    },
    End {
        at: Micros,
        number: u64,
        outcome: Outcome,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Operation {
    Write(Write),
    /// Reads the entries of a register.
    Read {
        register: String,
    },
    /// Reads the sum of all balances.
    Sum,
    /// Reads one account by its key. Homing knows that this writes nothing; SQL of an application may.
    Account {
        id: i32,
    },
}

/// A write. It stores one entry, which its caller and number identify.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Write {
    pub(super) caller: String,
    pub(super) number: u64,
    pub(super) register: String,
    pub(super) way: Way,
    /// What it moves between two accounts in the same transaction, if it does.
    pub(super) transfer: Option<Transfer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) source: i32,
    pub(super) target: i32,
    pub(super) amount: i64,
}

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    Insert,
    Statement,
    Batch,
    Transaction,
    Function,
    TransactionalFunction,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The write is acknowledged.
    Stored {
        /// A place in the primary's log before the commit, which the transaction has read. `None` if the value was lost.
        place: Option<i64>,
    },
    /// What a read saw: the numbers of each caller, in order. A number that is there twice was stored twice.
    Saw(BTreeMap<String, Vec<u64>>),
    Sum(i64),
    /// The account is there.
    Found,
    Failed {
        fate: FailedFate,
        error: String,
    },
}

/// The fate of a failed operation, as Homing says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FailedFate {
    NotSent,
    Rejected,
    OutcomeUnknown,
    Committed,
    FunctionFailed,
}

impl From<Fate> for FailedFate {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::NotSent => Self::NotSent,
            Fate::Rejected => Self::Rejected,
            Fate::Committed => Self::Committed,
            Fate::FunctionFailed => Self::FunctionFailed,
            // A fate that this suite does not know promises nothing.
            _ => Self::OutcomeUnknown,
        }
    }
}

/// Writes the journal of one process.
#[derive(Debug)]
pub(super) struct JournalWriter(File);

impl JournalWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create_new(true).append(true).open(path).map(Self)
    }

    pub(super) fn write(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        (&self.0).write_all(text.as_bytes())
    }
}
