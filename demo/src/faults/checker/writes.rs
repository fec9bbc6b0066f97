//! Compares the fates of writes with what is stored.

use std::collections::HashSet;

use super::history::{Fate, History, Written};
use super::stall::Outage;
use super::stored::{Key, Stored};
use super::violation::{Kind, Violation};
use crate::faults::clock::Micros;
use crate::faults::journal::Way;

pub(super) fn judge(history: &History, stored: &Stored, outages: &[Outage]) -> Vec<Violation> {
    let writes = history.writes();
    let known: HashSet<Key> = writes.iter().map(Written::key).collect();
    let mut violations: Vec<_> = writes.iter().filter_map(|written| judge_one(written, stored, outages)).collect();
    for key in stored.entries.keys().filter(|key| !known.contains(*key)) {
        violations.push(Violation::new(Kind::FateWrong, None, format!("{key:?} is stored, and no caller wrote it")));
    }
    violations
}

fn judge_one(written: &Written<'_>, stored: &Stored, outages: &[Outage]) -> Option<Violation> {
    let count = stored.count(&written.key());
    let kind = match (written.fate, count) {
        (_, 2..) => Kind::Doubled,
        (Fate::Acknowledged, 0) if !is_lost_by_database(written, stored) => Kind::Lost,
        (Fate::NotSent | Fate::Rejected, 1) => Kind::FateWrong,
        (Fate::OutcomeUnknown, _) if is_protected(written) && !meets(written, outages) => Kind::Unsettled,
        _ => return None,
    };
    let Written { write, fate, error, region, .. } = written;
    let error = error.unwrap_or("no error");
    let evidence = format!("{write:?} of {region}: {fate:?} ({error}), stored {count} times");
    Some(Violation::new(kind, written.ended.unwrap_or(written.began), evidence))
}

/// Returns whether the write is applied exactly once. A function that is not transactional runs at most once.
fn is_protected(written: &Written<'_>) -> bool {
    written.write.way != Way::Function
}

/// Returns whether something kept the write from the primary for a part of its time.
fn meets(written: &Written<'_>, outages: &[Outage]) -> bool {
    let ended = written.ended.unwrap_or(Micros::MAX);
    outages.iter().any(|outage| outage.meets(written.region, written.began, ended))
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
        let always = Outage { region: None, from: 0, to: Micros::MAX };
        judge(&story.history(), stored, &[always]).into_iter().map(|violation| violation.kind).collect()
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
    fn reachable_primary_settles_writes() {
        let mut story = Story::default();
        story.wrote(0, "a", 1, failed(FailedFate::OutcomeUnknown));
        let judged = |outages: &[Outage]| judge(&story.history(), &story.database(&[]), outages).len();
        assert_eq!(judged(&[]), 1);
        let of = |region: &str| Outage { region: Some(region.to_owned()), from: 0, to: Micros::MAX };
        assert_eq!((judged(&[of("syd")]), judged(&[of("iad")])), (1, 0));
        assert_eq!(judged(&[Outage { from: Micros::MAX, ..of("iad") }]), 1);
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
        let violations = judge(&story.history(), &database, &[]);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].evidence.contains("number: 1,"), "{violations:?}");
    }
}
