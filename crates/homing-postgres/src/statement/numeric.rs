//! PostgreSQL's `numeric`, converted to and from Rust's own numbers.
//!
//! The binary format is that of `numeric_send`: the number of base-10,000 digits, the weight of the first digit, the sign,
//! the display scale, then the digits.
//! <https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/numeric.c>

use std::error;

#[cfg(feature = "sea-query")]
use bytes::{BufMut, BytesMut};
#[cfg(feature = "sea-query")]
use tokio_postgres::types::IsNull;
use tokio_postgres::types::{FromSql, Type};

/// A `numeric` that came from the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numeric {
    Finite { is_negative: bool, digits: Vec<u16>, weight: i16 },
    Infinite { is_negative: bool },
    NaN,
}

impl Numeric {
    /// Returns the number if it is whole and fits into an `i64`.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        let Self::Finite { is_negative, digits, weight } = self else { return None };
        let whole_digits = usize::try_from(i32::from(*weight) + 1).unwrap_or(0);
        if digits.iter().skip(whole_digits).any(|&digit| digit != 0) {
            return None;
        }
        let mut number: i128 = 0;
        for index in 0..whole_digits {
            let digit = digits.get(index).copied().unwrap_or(0);
            number = number.checked_mul(BASE)?.checked_add(digit.into())?;
        }
        i64::try_from(if *is_negative { -number } else { number }).ok()
    }

    /// Returns the nearest `f64`.
    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Self::Finite { is_negative, digits, weight } => {
                let sign = if *is_negative { "-" } else { "" };
                let exponent = (i64::from(*weight) + 1 - digits.len() as i64) * DIGITS_OF_BASE;
                let digits: String = digits.iter().map(|digit| format!("{digit:04}")).collect();
                format!("{sign}0{digits}e{exponent}").parse().expect("digits and an exponent are a number")
            }
            Self::Infinite { is_negative: true } => f64::NEG_INFINITY,
            Self::Infinite { is_negative: false } => f64::INFINITY,
            Self::NaN => f64::NAN,
        }
    }

    fn parse(raw: &[u8]) -> Option<Self> {
        let (words, []) = raw.as_chunks::<2>() else { return None };
        let (&[count, weight, sign, _scale], digits) = words.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(count)) != digits.len() {
            return None;
        }
        let digits: Vec<_> = digits.iter().map(|digit| u16::from_be_bytes(*digit)).collect();
        if digits.iter().any(|&digit| i128::from(digit) >= BASE) {
            return None;
        }
        let finite = |is_negative| Self::Finite { is_negative, digits, weight: i16::from_be_bytes(weight) };
        match u16::from_be_bytes(sign) {
            0x0000 => Some(finite(false)),
            0x4000 => Some(finite(true)),
            0xC000 => Some(Self::NaN),
            0xD000 => Some(Self::Infinite { is_negative: false }),
            0xF000 => Some(Self::Infinite { is_negative: true }),
            _ => None,
        }
    }
}

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn error::Error + Sync + Send>> {
        Self::parse(raw).ok_or_else(|| "not a numeric".into())
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }
}

/// Writes a decimal number such as `-12.5`, without an exponent.
#[cfg(feature = "sea-query")]
pub(crate) fn write(decimal: &str, out: &mut BytesMut) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
    let (sign, decimal) = match decimal.strip_prefix('-') {
        Some(decimal) => (0x4000, decimal),
        None => (0, decimal),
    };
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    // Zeros in front and behind fill both parts up to whole groups of four.
    let in_front = whole.len().next_multiple_of(4) - whole.len();
    let behind = fraction.len().next_multiple_of(4) - fraction.len();
    let digits = format!("{}{whole}{fraction}{}", "0".repeat(in_front), "0".repeat(behind));
    let groups = (0..digits.len()).step_by(4).map(|start| digits[start..start + 4].parse());
    let groups: Vec<u16> = groups.collect::<Result<_, _>>()?;
    out.put_u16(groups.len().try_into()?);
    out.put_i16(i16::try_from((whole.len() + in_front) / 4)? - 1);
    out.put_u16(sign);
    out.put_u16(fraction.len().try_into()?);
    groups.into_iter().for_each(|group| out.put_u16(group));
    Ok(IsNull::No)
}

const BASE: i128 = 10_000;
const DIGITS_OF_BASE: i64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(is_negative: bool, digits: &[u16], weight: i16) -> Numeric {
        let sign: u16 = if is_negative { 0x4000 } else { 0 };
        let count = u16::try_from(digits.len()).unwrap();
        let words = [count, weight.cast_unsigned(), sign, 0].into_iter().chain(digits.iter().copied());
        let raw: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
        Numeric::parse(&raw).unwrap()
    }

    #[test]
    fn whole_numbers_are_exact() {
        assert_eq!(numeric(false, &[], 0).to_i64(), Some(0));
        assert_eq!(numeric(true, &[7], 0).to_i64(), Some(-7));
        assert_eq!(numeric(false, &[7], 2).to_i64(), Some(700_000_000));
        assert_eq!(numeric(true, &[922, 3372, 368, 5477, 5808], 4).to_i64(), Some(i64::MIN));
        assert_eq!(numeric(false, &[922, 3372, 368, 5477, 5808], 4).to_i64(), None);
        assert_eq!(numeric(false, &[1], i16::MAX).to_i64(), None);
        assert_eq!(numeric(false, &[1, 0], 0).to_i64(), Some(1));
        assert_eq!(numeric(false, &[1, 5000], 0).to_i64(), None);
        assert_eq!(numeric(false, &[5000], -1).to_i64(), None);
        assert_eq!(Numeric::NaN.to_i64(), None);
    }

    #[test]
    fn other_numbers_are_rounded() {
        assert_eq!(numeric(false, &[], 0).to_f64(), 0.0);
        assert_eq!(numeric(true, &[2, 5000], 0).to_f64(), -2.5);
        assert_eq!(numeric(false, &[1], 1).to_f64(), 10_000.0);
        assert_eq!(numeric(false, &[1], -1).to_f64(), 0.0001);
        assert_eq!(numeric(false, &[1], i16::MAX).to_f64(), f64::INFINITY);
        assert_eq!(Numeric::Infinite { is_negative: true }.to_f64(), f64::NEG_INFINITY);
        assert!(Numeric::NaN.to_f64().is_nan());
    }

    #[cfg(feature = "sea-query")]
    #[test]
    fn decimals_are_written_in_groups() {
        for (decimal, expected) in [
            ("0", numeric(false, &[0], 0)),
            ("-12.5", numeric(true, &[12, 5000], 0)),
            ("12345", numeric(false, &[1, 2345], 1)),
            ("0.00001", numeric(false, &[0, 0, 1000], 0)),
            (
                "170141183460469231731687303715884105727",
                numeric(false, &[170, 1411, 8346, 469, 2317, 3168, 7303, 7158, 8410, 5727], 9),
            ),
        ] {
            let mut out = BytesMut::new();
            write(decimal, &mut out).unwrap();
            assert_eq!(Numeric::parse(&out), Some(expected), "{decimal}");
        }
        let digits = i128::MAX.to_string().len();
        assert!(write(&"9".repeat(digits * 10_000), &mut BytesMut::new()).is_err());
    }

    #[test]
    fn invalid_numerics_are_refused() {
        for raw in [
            &[][..],
            &[0; 7],
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0x12, 0x34, 0, 0],
            &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10],
        ] {
            assert_eq!(Numeric::parse(raw), None, "{raw:?}");
        }
    }
}
