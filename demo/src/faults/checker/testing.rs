//! Histories by hand.

use std::collections::BTreeMap;

use super::history::{History, Journal};
use super::stored::{Fork, Stored};
use crate::faults::journal::{FailedFate, Line, Operation, Outcome, Way, Write};

/// A history of one process, told line by line. All entries are of one register.
#[derive(Debug, Default)]
pub(super) struct Story {
    lines: Vec<Line>,
    operations: u64,
}

impl Story {
    pub(super) fn stored(&mut self, session: u32, caller: &str, number: u64) {
        self.wrote(session, caller, number, Outcome::Stored { place: None });
    }

    pub(super) fn stored_at(&mut self, session: u32, caller: &str, number: u64, place: i64) {
        self.wrote(session, caller, number, Outcome::Stored { place: Some(place) });
    }

    pub(super) fn wrote(&mut self, session: u32, caller: &str, number: u64, outcome: Outcome) {
        let operation = self.begin(session, write(caller, number));
        self.end(operation, outcome);
    }

    pub(super) fn unfinished(&mut self, session: u32, caller: &str, number: u64) {
        self.begin(session, write(caller, number));
    }

    pub(super) fn saw(&mut self, session: u32, keys: &[(&str, u64)]) {
        let read = self.begin_read(session);
        self.end_read(read, keys);
    }

    pub(super) fn begin_read(&mut self, session: u32) -> u64 {
        self.begin(session, Operation::Read { register: REGISTER.to_owned() })
    }

    pub(super) fn end_read(&mut self, read: u64, keys: &[(&str, u64)]) {
        let mut saw = BTreeMap::<String, Vec<u64>>::new();
        for (caller, number) in keys {
            saw.entry((*caller).to_owned()).or_default().push(*number);
        }
        self.end(read, Outcome::Saw(saw));
    }

    pub(super) fn read_failed(&mut self, session: u32, fate: FailedFate) {
        let read = self.begin(session, Operation::Account { id: 1 });
        self.end(read, failed(fate));
    }

    pub(super) fn summed(&mut self, session: u32, sum: i64) {
        let read = self.begin(session, Operation::Sum);
        self.end(read, Outcome::Sum(sum));
    }

    pub(super) fn history(&self) -> History {
        History { journals: vec![Journal { region: "iad".to_owned(), lines: self.lines.clone() }] }
    }

    /// Returns a database with these entries and two accounts.
    pub(super) fn database(&self, keys: &[(&str, u64)]) -> Stored {
        let mut stored = Stored { balances: [(1, 1000), (2, 1000)].into(), initial_balance: 1000, ..Stored::default() };
        for (caller, number) in keys {
            stored.entries.entry(((*caller).to_owned(), *number)).or_default().push(None);
        }
        stored
    }

    fn begin(&mut self, session: u32, operation: Operation) -> u64 {
        self.operations += 1;
        let (at, number) = (self.lines.len() as u64, self.operations);
        self.lines.push(Line::Begin { at, number, session, operation });
        number
    }

    fn end(&mut self, number: u64, outcome: Outcome) {
        let at = self.lines.len() as u64;
        self.lines.push(Line::End { at, number, outcome });
    }
}

pub(super) fn failed(fate: FailedFate) -> Outcome {
    Outcome::Failed { fate, error: "it failed".to_owned() }
}

fn write(caller: &str, number: u64) -> Operation {
    let (caller, register) = (caller.to_owned(), REGISTER.to_owned());
    Operation::Write(Write { caller, number, register, way: Way::Insert, transfer: None })
}

/// After the story.
pub(super) const FORK: Fork = Fork { place: 8_000_000, at: 1_000 };

const REGISTER: &str = "register";
