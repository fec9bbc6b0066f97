//! Compares what reads saw with what their sessions had written and read before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::history::{Begun, Fate, History, Journal};
use super::stored::{Key, Stored};
use super::violation::{Kind, Violation};
use super::writes::is_lost_by_database;
use crate::faults::clock::Micros;
use crate::faults::journal::{FailedFate, Line, Operation, Outcome};

pub(super) fn judge(history: &History, stored: &Stored) -> Vec<Violation> {
    let context = Context::new(history, stored);
    history.journals.iter().flat_map(|journal| Judge::new(journal, &context).run()).collect()
}

/// Returns when reads ended that began after a promotion, and show what the promoted server has lost. Their sessions may have
/// seen nothing of the promoted server.
pub(crate) fn ghosts(history: &History, stored: &Stored) -> Vec<Micros> {
    let Some(fork) = stored.fork else { return Vec::new() };
    let lost = Context::new(history, stored).lost_by_database;
    let mut ghosts = Vec::new();
    for journal in &history.journals {
        let begun = journal.begun();
        for line in &journal.lines {
            let Line::End { at, number, outcome: Outcome::Saw(saw) } = line else { continue };
            let is_later = begun.get(number).is_some_and(|begun| begun.at >= fork.at);
            let mut shown =
                saw.iter().flat_map(|(caller, numbers)| numbers.iter().map(|number| (caller.clone(), *number)));
            if is_later && shown.any(|key| lost.contains(&key)) {
                ghosts.push(*at);
            }
        }
    }
    ghosts
}

/// What all journals together say of writes.
struct Context<'a> {
    stored: &'a Stored,
    /// Writes that a promoted server did not have.
    lost_by_database: HashSet<Key>,
    /// Writes that were said to have no effect.
    refused: HashSet<Key>,
}

impl<'a> Context<'a> {
    fn new(history: &History, stored: &'a Stored) -> Self {
        let writes = history.writes();
        let keys = |is: &dyn Fn(Fate) -> bool| {
            writes.iter().filter(|written| is(written.fate)).map(|written| written.key()).collect()
        };
        let lost = writes.iter().filter(|written| is_lost_by_database(written, stored));
        // Without an answer, nothing says where it was committed.
        let open = writes.iter().filter(|written| {
            stored.fork.is_some()
                && stored.count(&written.key()) == 0
                && matches!(written.fate, Fate::OutcomeUnknown | Fate::FunctionFailed | Fate::Unfinished)
        });
        let lost_by_database = lost.chain(open).map(|written| written.key()).collect();
        let refused = keys(&|fate| matches!(fate, Fate::NotSent | Fate::Rejected));
        Self { stored, lost_by_database, refused }
    }
}

/// Goes through the journal of one process.
struct Judge<'a> {
    journal: &'a Journal,
    context: &'a Context<'a>,
    begun: HashMap<u64, Begun<'a>>,
    /// For each session and register.
    known: HashMap<(u32, &'a str), Known>,
    /// For each read that has begun.
    required: HashMap<u64, Known>,
    violations: Vec<Violation>,
}

/// What a session knows of a register.
#[derive(Clone, Debug, Default)]
struct Known {
    written: BTreeSet<Key>,
    seen: BTreeSet<Key>,
}

impl<'a> Judge<'a> {
    fn new(journal: &'a Journal, context: &'a Context<'a>) -> Self {
        let begun = journal.begun();
        Self { journal, context, begun, known: HashMap::new(), required: HashMap::new(), violations: Vec::new() }
    }

    fn run(mut self) -> Vec<Violation> {
        for line in &self.journal.lines {
            match line {
                Line::Begin { number, session, operation: Operation::Read { register, .. }, .. } => {
                    let known = self.known.get(&(*session, register.as_str())).cloned().unwrap_or_default();
                    self.required.insert(*number, known);
                }
                Line::Begin { .. } => {}
                Line::End { at, number, outcome } => self.end(*at, *number, outcome),
            }
        }
        self.violations
    }

    fn end(&mut self, at: Micros, number: u64, outcome: &Outcome) {
        let Some(Begun { session, operation, .. }) = self.begun.get(&number).copied() else { return };
        match (operation, outcome) {
            (Operation::Write(write), Outcome::Stored { .. } | Outcome::Failed { fate: FailedFate::Committed, .. }) => {
                let known = self.known.entry((session, write.register.as_str())).or_default();
                known.written.insert((write.caller.clone(), write.number));
            }
            (Operation::Read { register, .. }, Outcome::Saw(saw)) => {
                let required = self.required.remove(&number).unwrap_or_default();
                let seen = self.compare(register, at, &required, saw);
                self.known.entry((session, register.as_str())).or_default().seen.extend(seen);
            }
            // A read may end as an unknown outcome too if the answer of the primary is lost: `Repo::get` says so.
            (Operation::Account { .. }, Outcome::Failed { fate, error })
                if matches!(fate, FailedFate::Committed | FailedFate::FunctionFailed) =>
            {
                self.report(Kind::FateWrong, at, format!("a read failed as {fate:?}: {error}"));
            }
            _ => {}
        }
    }

    /// Compares what a read saw with what it had to see, and returns it.
    fn compare(
        &mut self,
        register: &str,
        at: Micros,
        required: &Known,
        saw: &BTreeMap<String, Vec<u64>>,
    ) -> BTreeSet<Key> {
        let mut seen = BTreeSet::new();
        for (caller, numbers) in saw {
            for number in numbers {
                let key = (caller.clone(), *number);
                if !seen.insert(key.clone()) {
                    self.report(Kind::Doubled, at, format!("a read of {register} shows {key:?} twice"));
                } else if self.context.refused.contains(&key) {
                    self.report(Kind::FateWrong, at, format!("a read of {register} shows {key:?}, which was refused"));
                } else if self.context.stored.count(&key) == 0 && !self.context.lost_by_database.contains(&key) {
                    self.report(Kind::Lost, at, format!("a read of {register} shows {key:?}, which is not stored"));
                }
            }
        }
        for (kind, required) in [(Kind::Stale, &required.written), (Kind::BackInTime, &required.seen)] {
            let missing: Vec<_> =
                required.difference(&seen).filter(|key| !self.context.lost_by_database.contains(*key)).collect();
            if !missing.is_empty() {
                self.report(kind, at, format!("a read of {register} does not show {missing:?}"));
            }
        }
        seen
    }

    fn report(&mut self, kind: Kind, at: Micros, evidence: String) {
        let region = &self.journal.region;
        self.violations.push(Violation::new(kind, at, format!("{region}: {evidence}")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::Fork;
    use super::super::testing::{FORK, Story, failed};
    use super::*;

    const ALL: [(&str, u64); 3] = [("a", 1), ("a", 2), ("b", 1)];

    fn kinds(story: &Story, stored: &Stored) -> Vec<Kind> {
        judge(&story.history(), stored).into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn read_has_to_show_own_writes() {
        let mut story = Story::default();
        story.stored(0, "a", 1);
        story.saw(0, &[]);
        assert_eq!(kinds(&story, &story.database(&ALL)), [Kind::Stale]);
        let mut story = Story::default();
        story.wrote(0, "a", 1, failed(FailedFate::Committed));
        story.saw(0, &[("b", 1)]);
        assert_eq!(kinds(&story, &story.database(&ALL)), [Kind::Stale]);
    }

    #[test]
    fn hole_in_own_writes_is_stale() {
        let mut story = Story::default();
        story.stored(0, "a", 1);
        story.stored(0, "a", 2);
        story.saw(0, &[("a", 2)]);
        assert_eq!(kinds(&story, &story.database(&ALL)), [Kind::Stale]);
    }

    #[test]
    fn writes_of_other_sessions_may_be_missing() {
        let mut story = Story::default();
        story.stored(1, "b", 1);
        story.saw(0, &[]);
        story.wrote(0, "a", 1, failed(FailedFate::OutcomeUnknown));
        story.saw(0, &[]);
        assert_eq!(kinds(&story, &story.database(&ALL)), []);
    }

    #[test]
    fn reads_do_not_go_back() {
        let mut story = Story::default();
        story.saw(0, &[("b", 1)]);
        story.saw(1, &[]);
        story.saw(0, &[]);
        assert_eq!(kinds(&story, &story.database(&ALL)), [Kind::BackInTime]);
    }

    #[test]
    fn overlapping_operations_have_no_order() {
        let mut story = Story::default();
        let read = story.begin_read(0);
        story.stored(0, "a", 1);
        story.saw(0, &[("a", 1), ("b", 1)]);
        story.end_read(read, &[]);
        assert_eq!(kinds(&story, &story.database(&ALL)), []);
    }

    #[test]
    fn read_shows_only_what_stays() {
        let mut story = Story::default();
        story.wrote(0, "a", 1, failed(FailedFate::OutcomeUnknown));
        story.wrote(0, "a", 2, failed(FailedFate::Rejected));
        story.stored(0, "b", 1);
        story.saw(0, &[("a", 1), ("a", 2), ("b", 1), ("b", 1)]);
        let found = kinds(&story, &story.database(&[("b", 1)]));
        assert_eq!(found, [Kind::Lost, Kind::FateWrong, Kind::Doubled]);
    }

    #[test]
    fn fork_excuses_lost_writes() {
        let mut story = Story::default();
        story.stored_at(0, "a", 1, 9_000_000);
        story.saw(0, &[("a", 1)]);
        story.saw(0, &[]);
        let mut database = story.database(&[]);
        database.fork = Some(FORK);
        assert_eq!(kinds(&story, &database), []);
        database.fork = None;
        assert_eq!(kinds(&story, &database), [Kind::Lost, Kind::Stale, Kind::BackInTime]);
    }

    #[test]
    fn ghosts_are_later_reads_of_lost_writes() {
        let mut story = Story::default();
        story.stored_at(0, "a", 1, 9_000_000);
        story.saw(0, &[("a", 1)]);
        let mut database = story.database(&[]);
        database.fork = Some(FORK);
        assert!(ghosts(&story.history(), &database).is_empty());
        database.fork = Some(Fork { at: 1, ..FORK });
        assert_eq!(ghosts(&story.history(), &database).len(), 1);
    }

    #[test]
    fn read_by_key_commits_nothing() {
        let mut story = Story::default();
        story.read_failed(0, FailedFate::NotSent);
        story.read_failed(0, FailedFate::OutcomeUnknown);
        story.read_failed(0, FailedFate::Committed);
        assert_eq!(kinds(&story, &story.database(&[])), [Kind::FateWrong]);
    }
}
