//! [`Before`], a transaction with the same key.

use bytes::Bytes;
use homing_proto::v1 as proto;

use crate::error::Error;
use crate::position::Position;

/// A transaction with the same key that is committed already.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    pub(crate) position: Option<Position>,
    /// The result that was kept with it.
    pub(crate) result: Option<Bytes>,
}

impl Before {
    /// Reads the answer to a beginning or a commit. `None` if the transaction itself was committed.
    pub(crate) fn from_proto(committed: &proto::TransactionCommitted) -> Option<Self> {
        let before = committed.before.as_ref()?;
        let position = committed.position.as_ref().and_then(Position::from_proto);
        Some(Self { position, result: before.result.clone() })
    }

    /// Returns the error of a transaction that was rolled back because of this one.
    pub(crate) fn error(&self) -> Error {
        Error::committed(
            "a transaction with the same key is committed already, so this one is rolled back: read what the first one wrote",
            self.position,
        )
    }
}
