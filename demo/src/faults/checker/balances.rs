//! Checks the balances: their sum in every read, and each of them in the end.

use std::collections::BTreeMap;

use super::history::{History, Journal};
use super::stored::Stored;
use super::violation::{Kind, Violation};
use crate::faults::journal::{Line, Outcome};

pub(super) fn judge(history: &History, stored: &Stored) -> Vec<Violation> {
    let sum = stored.initial_balance * stored.balances.len() as i64;
    let mut violations: Vec<_> = history.journals.iter().flat_map(|journal| sums(journal, sum)).collect();
    let mut expected = stored.balances.keys().map(|id| (*id, stored.initial_balance)).collect::<BTreeMap<_, _>>();
    for transfer in stored.entries.values().flatten().flatten() {
        *expected.entry(transfer.source).or_default() -= transfer.amount;
        *expected.entry(transfer.target).or_default() += transfer.amount;
    }
    for (id, balance) in &expected {
        let found = stored.balances.get(id).copied().unwrap_or_default();
        if found != *balance {
            let evidence = format!("account {id} has {found}, and the stored transfers make {balance}");
            violations.push(Violation::new(Kind::SumBroken, None, evidence));
        }
    }
    violations
}

/// Returns the reads that saw another sum.
fn sums(journal: &Journal, expected: i64) -> impl Iterator<Item = Violation> {
    journal.lines.iter().filter_map(move |line| match line {
        Line::End { at, outcome: Outcome::Sum(sum), .. } if *sum != expected => {
            let evidence = format!("{}: a read shows the sum {sum} instead of {expected}", journal.region);
            Some(Violation::new(Kind::SumBroken, *at, evidence))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;
    use crate::faults::journal::Transfer;

    #[test]
    fn sum_of_each_read_is_constant() {
        let mut story = Story::default();
        story.summed(0, 2000);
        story.summed(0, 1990);
        let violations = judge(&story.history(), &story.database(&[]));
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].at.is_some() && violations[0].evidence.contains("1990"), "{violations:?}");
    }

    #[test]
    fn balances_follow_stored_transfers() {
        let story = Story::default();
        let mut database = story.database(&[]);
        let transfer = Transfer { source: 1, target: 2, amount: 10 };
        database.entries.insert(("a".to_owned(), 1), vec![Some(transfer)]);
        // The sum is right, but the amount was not moved.
        let found = judge(&story.history(), &database);
        assert_eq!(found.iter().map(|violation| violation.kind).collect::<Vec<_>>(), [Kind::SumBroken; 2]);
        database.balances = [(1, 990), (2, 1010)].into();
        assert_eq!(judge(&story.history(), &database), []);
    }
}
