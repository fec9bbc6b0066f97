//! [`Table`], the table of outcomes with its functions, as `outcome/table.sql` states them.

use super::bug::Bug;
use super::executor::AttemptId;
use crate::outcome::known::Known;

/// The number of a key.
pub(super) type Key = usize;

/// The rows of one primary, and the claims that are not committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    rows: Vec<Option<Row>>,
    claims: Vec<Option<AttemptId>>,
}

/// The row of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// `None`: committed.
    pub(super) fence: Option<i32>,
    pub(super) fingerprint: u8,
    pub(super) result: Option<AttemptId>,
}

/// What a claim meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    Yes,

    /// A unique violation.
    No,

    /// It waits for the transaction that has claimed the key.
    Waits,
}

impl Table {
    pub(super) fn row(&self, key: Key) -> Option<Row> {
        self.rows.get(key).copied().flatten()
    }

    pub(super) fn set(&mut self, key: Key, row: Row) {
        *at(&mut self.rows, key) = Some(row);
    }

    /// Returns whether a transaction has claimed the key, and is not over.
    pub(super) fn is_claimed(&self, key: Key) -> bool {
        self.claims.get(key).is_some_and(Option::is_some)
    }

    /// `homing.claim`.
    pub(super) fn claim(&mut self, key: Key, fence: i32, by: AttemptId, bug: Option<Bug>) -> Claimed {
        let row = self.row(key);
        if fence != 0 && row.is_none() {
            // An update does not see a row that is not committed.
            return Claimed::No;
        }
        if self.is_claimed(key) {
            return Claimed::Waits;
        }
        let fits = match row {
            None => true,
            Some(Row { fence: Some(_), .. }) if bug == Some(Bug::IgnoresFence) => true,
            Some(row) => fence != 0 && row.fence == Some(fence),
        };
        if !fits {
            return Claimed::No;
        }
        *at(&mut self.claims, key) = Some(by);
        Claimed::Yes
    }

    /// Ends the transaction that has claimed a key.
    pub(super) fn release(&mut self, key: Key, by: AttemptId) {
        let claim = at(&mut self.claims, key);
        if *claim == Some(by) {
            *claim = None;
        }
    }

    /// `homing.recall`. Without a fingerprint, any request that is committed counts.
    pub(super) fn recall(&self, key: Key, fingerprint: Option<u8>) -> Known<AttemptId> {
        let Some(Row { fence, fingerprint: known, result }) = self.row(key) else { return Known::Nothing };
        Known::of_row(fence, fingerprint.is_none_or(|asked| asked == known), result)
    }

    /// `homing.settle`, without a claim in the way. Returns whether it changed the row.
    pub(super) fn settle(&mut self, key: Key, fingerprint: Option<u8>, bug: Option<Bug>) -> bool {
        let (fence, fingerprint) = match self.row(key) {
            None => (1, fingerprint.unwrap_or_default()),
            Some(Row { fence: Some(_), .. }) if bug == Some(Bug::SettlesOnce) => return false,
            Some(Row { fence: Some(fence), fingerprint, .. }) => (fence + 1, fingerprint),
            Some(Row { fence: None, .. }) => return false,
        };
        self.set(key, Row { fence: Some(fence), fingerprint, result: None });
        true
    }
}

fn at<T: Clone + Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if list.len() <= index {
        list.resize(index + 1, T::default());
    }
    &mut list[index]
}
