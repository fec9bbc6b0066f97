//! [`Lsn`], a place in one write-ahead log.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A log sequence number: a byte offset in a write-ahead log.
///
/// It is printed and parsed as in PostgreSQL: `0/16B3748`. Two numbers can only be compared if they belong to the same
/// cluster and timeline. A [`Position`](crate::Position) holds all three.
///
/// <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// `0/0`, which PostgreSQL uses for "no place".
    pub const INVALID: Self = Self(0);
}

impl From<u64> for Lsn {
    fn from(offset: u64) -> Self {
        Self(offset)
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> Self {
        lsn.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError(()))?;
        Ok(Self(half(high)? << 32 | half(low)?))
    }
}

impl<'a> FromSql<'a> for Lsn {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(u64::from_be_bytes(raw.try_into()?)))
    }

    accepts!(PG_LSN);
}

impl ToSql for Lsn {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_u64(self.0);
        Ok(IsNull::No)
    }

    accepts!(PG_LSN);
    to_sql_checked!();
}

/// The text is not a log sequence number. A valid one is two hexadecimal numbers of at most eight digits each, with a
/// slash between them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParseLsnError(());

impl fmt::Display for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a log sequence number such as 0/16B3748")
    }
}

/// Prints the message.
impl fmt::Debug for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for ParseLsnError {}

/// Parses one half of the text form. `from_str_radix` alone would also accept a sign.
fn half(digits: &str) -> Result<u64, ParseLsnError> {
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ParseLsnError(()));
    }
    u64::from_str_radix(digits, 16).map_err(|_| ParseLsnError(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_like_postgres() {
        for (text, offset) in
            [("0/0", 0), ("0/16B3748", 0x016B_3748), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/FFFFFFFF", u64::MAX)]
        {
            assert_eq!(text.parse(), Ok(Lsn(offset)), "{text}");
            assert_eq!(Lsn(offset).to_string(), text);
        }
        assert_eq!("a/bc".parse(), Ok(Lsn(0xA_0000_00BC)));
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "/", "0/", "/0", "0", "0/0/0", "+1/0", "0/-1", "123456789/0", "0/G", " 0/0", "0/é"] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError(())), "{text:?}");
        }
    }

    #[test]
    fn travels_as_postgres_encodes_it() {
        let mut out = BytesMut::new();
        Lsn(0x16_B374_D848).to_sql_checked(&Type::PG_LSN, &mut out).unwrap();
        assert_eq!(&out[..], [0, 0, 0, 0x16, 0xB3, 0x74, 0xD8, 0x48]);
        assert_eq!(Lsn::from_sql(&Type::PG_LSN, &out).unwrap(), Lsn(0x16_B374_D848));
        assert!(Lsn::from_sql(&Type::PG_LSN, &out[1..]).is_err());
        assert!(Lsn(1).to_sql_checked(&Type::INT8, &mut out).is_err());
    }
}
