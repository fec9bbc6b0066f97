//! A part of a run: one fault, from its beginning until all nodes write again.

use std::collections::BTreeMap;

use super::checker::history::{Fate, History};
use super::checker::reads;
use super::checker::stall::{self, Outage};
use super::checker::stored::Stored;
use super::checker::violation::{Kind, Violation};
use super::checker::writes::is_lost_by_database;
use super::clock::Micros;

#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) fault: &'static str,
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) outages: Vec<Outage>,
    /// Why not all nodes write again.
    pub(super) failure: Option<String>,
}

/// What happened under a fault, over all of its phases.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) phases: u64,
    pub(super) operations: u64,
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
    pub(super) not_sent: u64,
    pub(super) rejected: u64,
    /// Functions that failed, and what a killed node had under way.
    pub(super) open: u64,
    pub(super) lost_by_database: u64,
    /// Reads after a promotion that show what the promoted server has lost.
    pub(super) ghosts: u64,
    pub(super) violations: BTreeMap<Kind, u64>,
    pub(super) longest_stall: Micros,
    pub(super) failed_reads: u64,
    /// Some of the errors, and how often each was met: for people who look for the cause.
    pub(super) errors: BTreeMap<String, u64>,
}

/// The counts of each fault, in the order of their first phases.
pub(super) type Table = Vec<(&'static str, Counts)>;

/// Adds what the phases of one world have seen.
pub(super) fn count(table: &mut Table, phases: &[Phase], history: &History, stored: &Stored, violations: &[Violation]) {
    let of = |at: Micros| phases.iter().rposition(|phase| phase.from <= at).unwrap_or(0);
    for phase in phases {
        let counts = entry(table, phase.fault);
        counts.phases += 1;
        counts.longest_stall = counts.longest_stall.max(longest_stall(phase, history));
    }
    for at in history.journals.iter().flat_map(|journal| journal.begins()) {
        entry(table, phases[of(at)].fault).operations += 1;
    }
    for written in history.writes() {
        let counts = entry(table, phases[of(written.ended.unwrap_or(written.began))].fault);
        let count = match written.fate {
            Fate::Acknowledged => &mut counts.acknowledged,
            Fate::NotSent => &mut counts.not_sent,
            Fate::Rejected => &mut counts.rejected,
            Fate::OutcomeUnknown => &mut counts.unknown,
            Fate::FunctionFailed | Fate::Unfinished => &mut counts.open,
        };
        *count += 1;
        if let Some(error) = written.error {
            counts.note(format!("{:?} by {:?}: {}", written.fate, written.write.way, anonymous(error)));
        }
        counts.lost_by_database += u64::from(is_lost_by_database(&written, stored));
    }
    for (at, fate, error) in history.journals.iter().flat_map(|journal| journal.failed_reads()) {
        let counts = entry(table, phases[of(at)].fault);
        counts.failed_reads += 1;
        counts.note(format!("{fate:?} by a read: {}", anonymous(error)));
    }
    for at in reads::ghosts(history, stored) {
        entry(table, phases[of(at)].fault).ghosts += 1;
    }
    for violation in violations {
        let phase = violation.at.map_or(phases.len() - 1, of);
        *entry(table, phases[phase].fault).violations.entry(violation.kind).or_default() += 1;
    }
}

/// Returns the longest stall of any region.
fn longest_stall(phase: &Phase, history: &History) -> Micros {
    let mut regions = BTreeMap::<&str, Vec<Micros>>::new();
    for written in history.writes().iter().filter(|written| written.fate == Fate::Acknowledged) {
        regions.entry(written.region).or_default().extend(written.ended);
    }
    let stalls =
        regions.iter().map(|(region, told)| stall::longest(region, (phase.from, phase.to), told, &phase.outages));
    stalls.max().unwrap_or(0)
}

fn entry<'a>(table: &'a mut Table, fault: &'static str) -> &'a mut Counts {
    let index = table.iter().position(|(name, _)| *name == fault).unwrap_or_else(|| {
        table.push((fault, Counts::default()));
        table.len() - 1
    });
    &mut table[index].1
}

impl Counts {
    pub(super) fn violations(&self, kind: Kind) -> u64 {
        self.violations.get(&kind).copied().unwrap_or(0)
    }

    /// Counts an error. Texts that differ in numbers only are the same one.
    fn note(&mut self, error: String) {
        if self.errors.len() < MAX_ERRORS || self.errors.contains_key(&error) {
            *self.errors.entry(error).or_default() += 1;
        }
    }

    /// Adds what happened under another fault.
    pub(super) fn add(&mut self, other: &Self) {
        self.phases += other.phases;
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.not_sent += other.not_sent;
        self.rejected += other.rejected;
        self.open += other.open;
        self.lost_by_database += other.lost_by_database;
        self.ghosts += other.ghosts;
        self.failed_reads += other.failed_reads;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        for (kind, count) in &other.violations {
            *self.violations.entry(*kind).or_default() += count;
        }
    }

    /// Returns whether every promise was kept.
    pub(super) fn is_clean(&self) -> bool {
        self.violations.values().all(|count| *count == 0)
    }
}

/// Returns the text without its numbers: ports, places and times.
fn anonymous(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if !(c == '#' && shown.ends_with('#')) {
            shown.push(c);
        }
    }
    shown
}

/// How many different errors are kept for a fault.
const MAX_ERRORS: usize = 100;
