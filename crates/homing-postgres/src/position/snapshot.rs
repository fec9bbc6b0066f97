//! [`Snapshot`], which transactions had not ended on the primary.

use homing_proto::v1 as proto;

use super::transaction_id::TransactionId;

/// Which transactions had not ended on the primary at one moment. What they commit may be missing in a read that begins then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Transactions with this id or a higher one may not have ended.
    next: TransactionId,
    /// Those with lower ids that had not ended, lowest first. At most [`MAX_IN_PROGRESS`].
    in_progress: Vec<TransactionId>,
}

impl Snapshot {
    /// Makes the snapshot of a list that may be cut after [`MAX_IN_PROGRESS`]: from there on, any transaction may be in progress.
    pub(crate) fn new(next: TransactionId, mut in_progress: Vec<TransactionId>) -> Self {
        let cut = in_progress.get(MAX_IN_PROGRESS).copied();
        in_progress.truncate(MAX_IN_PROGRESS);
        Self { next: cut.unwrap_or(next), in_progress }
    }

    /// Returns the transactions before this one that may have been in progress. `None` if they are too many for a question.
    pub(crate) fn in_progress_before(&self, before: TransactionId) -> Option<Vec<TransactionId>> {
        let listed = self.in_progress.iter().copied().filter(|transaction| *transaction < before);
        let later = (u64::from(self.next)..u64::from(before)).map(TransactionId::from);
        let transactions: Vec<_> = listed.chain(later).take(MAX_IN_PROGRESS + 1).collect();
        (transactions.len() <= MAX_IN_PROGRESS).then_some(transactions)
    }

    /// Returns whether what this transaction commits may be missing.
    pub(crate) fn may_lack(&self, transaction: TransactionId) -> bool {
        self.next <= transaction || self.in_progress.contains(&transaction)
    }

    pub(crate) fn to_proto(&self) -> proto::Snapshot {
        let in_progress = self.in_progress.iter().copied().map(u64::from).collect();
        proto::Snapshot { next: self.next.into(), in_progress }
    }

    pub(crate) fn from_proto(message: &proto::Snapshot) -> Self {
        let in_progress = message.in_progress.iter().copied().map(TransactionId::from).collect();
        Self::new(message.next.into(), in_progress)
    }
}

/// How many transactions a snapshot lists, and how many a replica is asked about. Each costs a connection of the primary, so more
/// are rare, and a tracker asks about so many in one question.
pub(crate) const MAX_IN_PROGRESS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: impl IntoIterator<Item = u64>) -> Vec<TransactionId> {
        ids.into_iter().map(TransactionId::from).collect()
    }

    #[test]
    fn later_transactions_may_be_in_progress() {
        let snapshot = Snapshot::new(900.into(), ids([850, 870]));
        for (before, expected) in
            [(850, vec![]), (851, vec![850]), (900, vec![850, 870]), (903, vec![850, 870, 900, 901, 902])]
        {
            assert!(expected.iter().all(|id| snapshot.may_lack((*id).into())), "{before}");
            assert_eq!(snapshot.in_progress_before(before.into()), Some(ids(expected)), "{before}");
        }
        assert_eq!(snapshot.in_progress_before(u64::MAX.into()), None);
        assert!([849, 851, 899].into_iter().all(|id| !snapshot.may_lack(TransactionId::from(id))));
        assert_eq!(Snapshot::from_proto(&snapshot.to_proto()), snapshot);
    }

    #[test]
    fn long_list_is_cut() {
        let many = MAX_IN_PROGRESS as u64;
        let snapshot = Snapshot::new((3 * many).into(), ids((0..=many).map(|number| 2 * number)));
        assert_eq!(snapshot.in_progress.len(), MAX_IN_PROGRESS);
        assert_eq!(snapshot.in_progress_before((2 * many).into()).unwrap().len(), MAX_IN_PROGRESS);
        assert_eq!(snapshot.in_progress_before((2 * many + 1).into()), None);
    }
}
