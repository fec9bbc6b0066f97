//! [`TransactionId`], the number of one transaction of a cluster.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// The number of a transaction that has changed something: PostgreSQL's `xid8`, which never wraps around.
///
/// After a failover, the new timeline gives the same numbers to other transactions. So a number means something only
/// together with its cluster and timeline, as in a [`Position`](crate::Position).
///
/// <https://www.postgresql.org/docs/current/transaction-id.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u64);

impl From<u64> for TransactionId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<TransactionId> for u64 {
    fn from(transaction: TransactionId) -> Self {
        transaction.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a> FromSql<'a> for TransactionId {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(u64::from_be_bytes(raw.try_into()?)))
    }

    accepts!(XID8);
}

impl ToSql for TransactionId {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_u64(self.0);
        Ok(IsNull::No)
    }

    accepts!(XID8);
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travels_as_postgres_encodes_it() {
        let mut out = BytesMut::new();
        TransactionId(0x1_0000_02E8).to_sql_checked(&Type::XID8, &mut out).unwrap();
        assert_eq!(&out[..], [0, 0, 0, 1, 0, 0, 2, 0xE8]);
        assert_eq!(TransactionId::from_sql(&Type::XID8, &out).unwrap(), TransactionId(0x1_0000_02E8));
        assert!(TransactionId::from_sql(&Type::XID8, &out[1..]).is_err());
        assert!(TransactionId(1).to_sql_checked(&Type::XID, &mut out).is_err());
    }
}
