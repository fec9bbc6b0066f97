//! What the journals of all nodes say.

use std::collections::{BTreeMap, HashMap};

use super::stored::Key;
use crate::faults::clock::Micros;
use crate::faults::journal::{FailedFate, Line, Operation, Outcome, Write};

/// The journals of all processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) journals: Vec<Journal>,
}

/// The journal of one process, in the order in which its lines were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) region: String,
    pub(crate) lines: Vec<Line>,
}

/// An operation that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun<'a> {
    pub(super) at: Micros,
    pub(super) session: u32,
    pub(super) operation: &'a Operation,
}

/// What became of a write, as its caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The caller was told that it is committed.
    Acknowledged,
    NotSent,
    Rejected,
    OutcomeUnknown,
    /// A function failed that is not transactional: only the function knows.
    FunctionFailed,
    /// The caller died before it was told anything.
    Unfinished,
}

/// A write, with its end.
#[derive(Clone, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) write: &'a Write,
    pub(crate) region: &'a str,
    pub(crate) began: Micros,
    /// When its caller was told of its fate.
    pub(crate) ended: Option<Micros>,
    pub(crate) fate: Fate,
    /// A place in the log before its commit.
    pub(crate) place: Option<i64>,
    pub(crate) error: Option<&'a str>,
}

impl Written<'_> {
    pub(super) fn key(&self) -> Key {
        (self.write.caller.clone(), self.write.number)
    }
}

impl History {
    /// Returns all writes.
    pub(crate) fn writes(&self) -> Vec<Written<'_>> {
        self.journals.iter().flat_map(Journal::writes).collect()
    }
}

impl Journal {
    fn writes(&self) -> Vec<Written<'_>> {
        let mut written = BTreeMap::new();
        for line in &self.lines {
            match line {
                Line::Begin { at, number, operation: Operation::Write(write), .. } => {
                    written.insert(*number, Written::begun(write, &self.region, *at));
                }
                Line::Begin { .. } => {}
                Line::End { at, number, outcome } => {
                    if let Some(written) = written.get_mut(number) {
                        written.end(*at, outcome);
                    }
                }
            }
        }
        written.into_values().collect()
    }

    /// Returns when its operations began.
    pub(crate) fn begins(&self) -> impl Iterator<Item = Micros> {
        self.lines.iter().filter_map(|line| match line {
            Line::Begin { at, .. } => Some(*at),
            Line::End { .. } => None,
        })
    }

    /// Returns the reads that failed: when, and why.
    pub(crate) fn failed_reads(&self) -> Vec<(Micros, FailedFate, &str)> {
        let begun = self.begun();
        let is_read = |number| begun.get(number).is_some_and(|begun| !matches!(begun.operation, Operation::Write(_)));
        let failed = self.lines.iter().filter_map(|line| match line {
            Line::End { at, number, outcome: Outcome::Failed { fate, error } } if is_read(number) => {
                Some((*at, *fate, error.as_str()))
            }
            _ => None,
        });
        failed.collect()
    }

    /// Returns the operations that have begun, by their numbers.
    pub(super) fn begun(&self) -> HashMap<u64, Begun<'_>> {
        let begun = self.lines.iter().filter_map(|line| match line {
            Line::Begin { at, number, session, operation } => {
                Some((*number, Begun { at: *at, session: *session, operation }))
            }
            Line::End { .. } => None,
        });
        begun.collect()
    }
}

impl<'a> Written<'a> {
    fn begun(write: &'a Write, region: &'a str, began: Micros) -> Self {
        Self { write, region, began, ended: None, fate: Fate::Unfinished, place: None, error: None }
    }

    fn end(&mut self, at: Micros, outcome: &'a Outcome) {
        self.ended = Some(at);
        match outcome {
            Outcome::Failed { fate, error } => {
                self.fate = Fate::from(*fate);
                self.error = Some(error);
            }
            Outcome::Stored { place } => {
                self.fate = Fate::Acknowledged;
                self.place = *place;
            }
            Outcome::Found | Outcome::Saw(_) | Outcome::Sum(_) => {}
        }
    }
}

impl From<FailedFate> for Fate {
    fn from(fate: FailedFate) -> Self {
        match fate {
            FailedFate::Committed => Self::Acknowledged,
            FailedFate::FunctionFailed => Self::FunctionFailed,
            FailedFate::NotSent => Self::NotSent,
            FailedFate::OutcomeUnknown => Self::OutcomeUnknown,
            FailedFate::Rejected => Self::Rejected,
        }
    }
}
