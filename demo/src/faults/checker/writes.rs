//! Compares the fates of writes with what is stored.

use std::collections::HashSet;

use super::history::{Fate, History, Written};
use super::stored::{Key, Stored};
use super::violation::{Kind, Violation};

pub(super) fn judge(history: &History, stored: &Stored) -> Vec<Violation> {
    let writes = history.writes();
    let known: HashSet<Key> = writes.iter().map(Written::key).collect();
    let mut violations: Vec<_> = writes.iter().filter_map(|written| judge_one(written, stored)).collect();
    for key in stored.entries.keys().filter(|key| !known.contains(*key)) {
        violations.push(Violation::new(Kind::FateWrong, None, format!("{key:?} is stored, and no caller wrote it")));
    }
    violations
}

fn judge_one(written: &Written<'_>, stored: &Stored) -> Option<Violation> {
    let count = stored.count(&written.key());
    let kind = match (written.fate, count) {
        (_, 2..) => Kind::Doubled,
        (Fate::Acknowledged, 0) if !is_lost_by_database(written, stored) => Kind::Lost,
        (Fate::NotSent | Fate::Rejected, 1) => Kind::FateWrong,
        // A write is sent at most once, so the answer may be lost with its connection. Once lost answers are asked for, an
        // unknown outcome is a violation wherever the primary could be reached in time.
        (Fate::OutcomeUnknown, _) => return None,
        _ => return None,
    };
    let Written { write, fate, error, region, .. } = written;
    let error = error.unwrap_or("no error");
    let evidence = format!("{write:?} of {region}: {fate:?} ({error}), stored {count} times");
    Some(Violation::new(kind, written.ended.unwrap_or(written.began), evidence))
}

/// Returns whether an acknowledged write is missing because a promoted server did not have it.
pub(crate) fn is_lost_by_database(written: &Written<'_>, stored: &Stored) -> bool {
    written.fate == Fate::Acknowledged && stored.count(&written.key()) == 0 && stored.is_past_fork(written.place)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FORK, Story, failed};
    use super::*;
    use crate::faults::journal::FailedFate;

    fn kinds(story: &Story, stored: &Stored) -> Vec<Kind> {
        judge(&story.history(), stored).into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn acknowledged_write_has_to_be_stored() {
        for fate in [None, Some(FailedFate::Committed)] {
            let mut story = Story::default();
            match fate {
                None => story.stored(0, "a", 1),
                Some(fate) => story.wrote(0, "a", 1, failed(fate)),
            }
            assert_eq!(kinds(&story, &story.database(&[])), [Kind::Lost]);
            assert_eq!(kinds(&story, &story.database(&[("a", 1)])), []);
        }
    }

    #[test]
    fn no_write_is_stored_twice() {
        let mut story = Story::default();
        story.wrote(0, "a", 1, failed(FailedFate::OutcomeUnknown));
        story.unfinished(0, "a", 2);
        let twice = [("a", 1), ("a", 1), ("a", 2), ("a", 2)];
        assert_eq!(kinds(&story, &story.database(&twice)), [Kind::Doubled, Kind::Doubled]);
    }

    #[test]
    fn open_outcomes_may_be_either() {
        let mut story = Story::default();
        story.wrote(0, "a", 1, failed(FailedFate::OutcomeUnknown));
        story.wrote(0, "a", 2, failed(FailedFate::FunctionFailed));
        story.unfinished(0, "a", 3);
        assert_eq!(kinds(&story, &story.database(&[])), []);
        assert_eq!(kinds(&story, &story.database(&[("a", 1), ("a", 2), ("a", 3)])), []);
    }

    #[test]
    fn refused_write_must_not_be_stored() {
        for fate in [FailedFate::NotSent, FailedFate::Rejected] {
            let mut story = Story::default();
            story.wrote(0, "a", 1, failed(fate));
            assert_eq!(kinds(&story, &story.database(&[("a", 1)])), [Kind::FateWrong]);
            assert_eq!(kinds(&story, &story.database(&[])), []);
        }
    }

    #[test]
    fn entry_without_caller_is_noticed() {
        let story = Story::default();
        assert_eq!(kinds(&story, &story.database(&[("nobody", 1)])), [Kind::FateWrong]);
    }

    #[test]
    fn fork_excuses_later_writes_only() {
        let mut story = Story::default();
        story.stored_at(0, "a", 1, 1_000_000);
        story.stored_at(0, "a", 2, 9_000_000);
        let mut database = story.database(&[]);
        database.fork = Some(FORK);
        let violations = judge(&story.history(), &database);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].evidence.contains("number: 1,"), "{violations:?}");
    }
}
