//! [`Once`], the key of a request, and whether the request may have been sent before.

use homing_proto::v1 as proto;

use super::key::IdempotencyKey;

/// The key of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Once {
    pub(crate) key: IdempotencyKey,

    /// Whether an earlier attempt of the request may be committed, or be under way.
    pub(crate) again: bool,

    /// Whether to keep the results of a single statement that runs in a block with the key, which takes a further round trip to
    /// the database. Otherwise a repeated attempt only learns that it is committed. Results of several statements, and those of one
    /// that carries its claim, are kept in any case.
    pub(crate) keeps_result: bool,

    /// How often the key was settled, as far as the caller was told. If it was settled more often since, the request does not run:
    /// it is late, and its caller may have been told that it is not committed.
    pub(crate) fence: i32,
}

/// The fence of a request that cannot be late: its caller sends the commit only after the server has looked for the key.
pub(crate) const ANY_FENCE: i32 = i32::MAX;

impl Once {
    pub(crate) fn to_proto(self) -> proto::Once {
        proto::Once { key: self.key.as_bytes().to_vec().into(), again: self.again, fence: self.fence }
    }

    /// Reads the key of a request. `None` if this build does not know its kind.
    pub(crate) fn from_proto(once: &proto::Once) -> Option<Self> {
        // A key of the application's own may have been used at any time.
        let again = |key: &IdempotencyKey| once.again || key.is_own();
        let key = IdempotencyKey::from_wire(&once.key)?;
        Some(Self { key, again: again(&key), keeps_result: true, fence: once.fence })
    }
}

/// The key that a transaction claims at its commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransactionKey {
    pub(crate) once: Once,
    /// Tells requests with the same key apart.
    pub(crate) fingerprint: i64,
}
