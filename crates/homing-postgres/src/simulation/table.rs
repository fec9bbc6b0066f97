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

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;
    use tokio_postgres::error::SqlState;
    use tokio_postgres::{Client, Row as SqlRow};

    use super::super::choices::Choices;
    use super::*;
    use crate::outcome::key::IdempotencyKey;
    use crate::outcome::migration_sql;

    /// The model and PostgreSQL answer the same to the same questions, in any order.
    #[tokio::test]
    async fn model_is_like_the_functions_of_the_table() {
        let server = Postgres::options().start().await.unwrap();
        let (client, claimant) = (server.connect().await.unwrap(), server.connect().await.unwrap());
        client.batch_execute(&format!("begin; {}; commit", migration_sql())).await.unwrap();
        let seed = rand::random();
        println!("the seed is {seed}");
        let (mut choices, mut table) = (Choices::random(seed), Table::default());
        let keys: Vec<_> = (0..40).map(|_| IdempotencyKey::generate()).collect();
        for step in 0..600_u16 {
            let (key, fingerprint) = (choices.below(keys.len()), u8::from(choices.one_in(3)));
            if choices.one_in(3) {
                let claim = Claim { key, fingerprint, fence: i32::try_from(choices.below(3)).unwrap(), id: step };
                let claimed = claim.ask(&claimant, &keys).await;
                assert_eq!(claimed, table.claim(key, claim.fence, step, None), "{claim:?}");
                let asked = ask(&client, "recall", &keys[key], fingerprint).await;
                assert_eq!(asked, table.recall(key, Some(fingerprint)), "before the commit of {claim:?}");
                let is_committed = claimed == Claimed::Yes && choices.one_in(2);
                claimant.batch_execute(if is_committed { "commit" } else { "rollback" }).await.unwrap();
                if is_committed {
                    table.set(key, Row { fence: None, fingerprint: claim.fingerprint, result: Some(step) });
                }
                table.release(key, step);
            } else if choices.one_in(2) {
                table.settle(key, Some(fingerprint), None);
                let told = ask(&client, "settle", &keys[key], fingerprint).await;
                assert_eq!(told, table.recall(key, Some(fingerprint)), "settled");
            }
            let asked = ask(&client, "recall", &keys[key], fingerprint).await;
            assert_eq!(asked, table.recall(key, Some(fingerprint)));
        }
    }

    #[derive(Debug)]
    struct Claim {
        key: Key,
        fingerprint: u8,
        fence: i32,
        id: AttemptId,
    }

    impl Claim {
        async fn ask(&self, client: &Client, keys: &[IdempotencyKey]) -> Claimed {
            client.batch_execute("begin").await.unwrap();
            let key = &keys[self.key];
            let (fingerprint, result) = (i64::from(self.fingerprint), &self.id.to_be_bytes()[..]);
            let sql = "select homing.claim($1, $2, $3, $4, true, $5)";
            match client.query_one(sql, &[&key.slot(), key, &fingerprint, &self.fence, &result]).await {
                Ok(_) => Claimed::Yes,
                Err(error) => {
                    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error}");
                    Claimed::No
                }
            }
        }
    }

    async fn ask(client: &Client, function: &str, key: &IdempotencyKey, fingerprint: u8) -> Known<AttemptId> {
        let sql = format!("select * from homing.{function}($1, $2, $3)");
        let row = client.query_opt(&sql, &[&key.slot(), key, &i64::from(fingerprint)]).await.unwrap();
        let known = |row: SqlRow| {
            let result: Option<&[u8]> = row.get(2);
            Known::of_row(
                row.get(0),
                row.get(1),
                result.map(|bytes| AttemptId::from_be_bytes(bytes.try_into().unwrap())),
            )
        };
        row.map_or(Known::Nothing, known)
    }
}
