//! A value of sea-query as a parameter of a statement.

use std::error;

use bytes::BytesMut;
use sea_query::{OptionEnum, Value};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, WrongType, to_sql_checked};

use crate::statement::numeric;

type EncodeResult = Result<IsNull, Box<dyn error::Error + Sync + Send>>;

/// A value with the type of a Rust expression, for a parameter whose type PostgreSQL has chosen.
///
/// `Expr::col("id").eq(7)` holds an `i32`, but the column may be a `bigint`. So a number is written with the
/// parameter's type, if it fits. A number that does not fit is an error; it is not truncated. Values of other types are
/// not converted.
#[derive(Debug)]
pub(super) struct BuiltParameter(pub(super) Value);

impl ToSql for BuiltParameter {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> EncodeResult {
        write(&self.0, ty, out)
    }

    /// Accepts every type, because the value decides.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[allow(unreachable_patterns, reason = "features of other crates may add variants that this crate does not know")]
fn write(value: &Value, ty: &Type, out: &mut BytesMut) -> EncodeResult {
    match value {
        Value::Bool(value) => plain(value, ty, out),
        Value::TinyInt(value) => integer(value.map(Into::into), ty, out),
        Value::SmallInt(value) => integer(value.map(Into::into), ty, out),
        Value::Int(value) => integer(value.map(Into::into), ty, out),
        Value::BigInt(value) => integer(value.map(Into::into), ty, out),
        Value::TinyUnsigned(value) => integer(value.map(Into::into), ty, out),
        Value::SmallUnsigned(value) => integer(value.map(Into::into), ty, out),
        Value::Unsigned(value) => integer(value.map(Into::into), ty, out),
        Value::BigUnsigned(value) => integer(value.map(Into::into), ty, out),
        Value::Float(value) => float(value.map(Into::into), ty, out),
        Value::Double(value) => float(*value, ty, out),
        Value::String(value) => text(value.as_deref(), ty, out),
        Value::Char(value) => text(value.map(|value| value.to_string()).as_deref(), ty, out),
        Value::Enum(OptionEnum::Some(value)) => text(Some(&value.value), ty, out),
        Value::Enum(OptionEnum::None(_)) => Ok(IsNull::Yes),
        Value::Bytes(value) => plain(&value.as_deref(), ty, out),
        #[cfg(feature = "serde_json")]
        Value::Json(value) => plain(&value.as_deref(), ty, out),
        #[cfg(feature = "chrono")]
        Value::ChronoDate(value) => plain(value, ty, out),
        #[cfg(feature = "chrono")]
        Value::ChronoTime(value) => plain(value, ty, out),
        #[cfg(feature = "chrono")]
        Value::ChronoDateTime(value) => plain(value, ty, out),
        #[cfg(feature = "chrono")]
        Value::ChronoDateTimeUtc(value) => plain(value, ty, out),
        #[cfg(feature = "chrono")]
        Value::ChronoDateTimeLocal(value) => plain(value, ty, out),
        #[cfg(feature = "chrono")]
        Value::ChronoDateTimeWithTimeZone(value) => plain(value, ty, out),
        #[cfg(feature = "time")]
        Value::TimeDate(value) => plain(value, ty, out),
        #[cfg(feature = "time")]
        Value::TimeTime(value) => plain(value, ty, out),
        #[cfg(feature = "time")]
        Value::TimeDateTime(value) => plain(value, ty, out),
        #[cfg(feature = "time")]
        Value::TimeDateTimeWithTimeZone(value) => plain(value, ty, out),
        #[cfg(feature = "jiff")]
        Value::JiffDate(value) => plain(value, ty, out),
        #[cfg(feature = "jiff")]
        Value::JiffTime(value) => plain(value, ty, out),
        #[cfg(feature = "jiff")]
        Value::JiffDateTime(value) => plain(&value.as_deref(), ty, out),
        #[cfg(feature = "jiff")]
        Value::JiffTimestamp(value) => plain(&value.as_deref(), ty, out),
        #[cfg(feature = "uuid")]
        Value::Uuid(value) => plain(value, ty, out),
        #[cfg(feature = "rust_decimal")]
        Value::Decimal(value) => plain(value, ty, out),
        Value::Array(_, Some(values)) => array(values, ty, out),
        Value::Array(_, None) => Ok(IsNull::Yes),
        _ => Err("Homing does not support this kind of value in sea-query: pass it to query or execute as a parameter"
            .into()),
    }
}

/// Writes a value that has only one PostgreSQL type.
fn plain<T: ToSql>(value: &Option<T>, ty: &Type, out: &mut BytesMut) -> EncodeResult {
    match value {
        Some(value) if T::accepts(base(ty)) => value.to_sql(base(ty), out),
        Some(_) => Err(Box::new(WrongType::new::<T>(ty.clone()))),
        None => Ok(IsNull::Yes),
    }
}

fn integer(value: Option<i128>, ty: &Type, out: &mut BytesMut) -> EncodeResult {
    let Some(value) = value else { return Ok(IsNull::Yes) };
    match *base(ty) {
        Type::INT2 => i16::try_from(value)?.to_sql(ty, out),
        Type::INT4 => i32::try_from(value)?.to_sql(ty, out),
        Type::INT8 => i64::try_from(value)?.to_sql(ty, out),
        Type::OID => u32::try_from(value)?.to_sql(ty, out),
        Type::FLOAT4 => (value as f32).to_sql(ty, out),
        Type::FLOAT8 => (value as f64).to_sql(ty, out),
        Type::NUMERIC => numeric::write(&value.to_string(), out),
        // For an empty list sea-query writes `$1 = $2` with 1 and 2, whose types PostgreSQL takes to be text.
        Type::TEXT => value.to_string().to_sql(ty, out),
        _ => Err(Box::new(WrongType::new::<i64>(ty.clone()))),
    }
}

/// Writes a floating-point number, rounded to the nearest if the parameter has fewer digits, as PostgreSQL does.
fn float(value: Option<f64>, ty: &Type, out: &mut BytesMut) -> EncodeResult {
    let Some(value) = value else { return Ok(IsNull::Yes) };
    match *base(ty) {
        Type::FLOAT4 if (value as f32).is_infinite() && value.is_finite() => {
            Err(format!("{value} is out of range for real").into())
        }
        Type::FLOAT4 => (value as f32).to_sql(ty, out),
        Type::FLOAT8 => value.to_sql(ty, out),
        Type::NUMERIC if value.is_finite() => numeric::write(&value.to_string(), out),
        Type::TEXT => value.to_string().to_sql(ty, out),
        _ => Err(Box::new(WrongType::new::<f64>(ty.clone()))),
    }
}

fn text(value: Option<&str>, ty: &Type, out: &mut BytesMut) -> EncodeResult {
    let Some(value) = value else { return Ok(IsNull::Yes) };
    match base(ty).kind() {
        Kind::Enum(variants) if variants.iter().any(|variant| variant == value) => {
            out.extend_from_slice(value.as_bytes());
            Ok(IsNull::No)
        }
        Kind::Enum(variants) => {
            Err(format!("{value:?} is not a value of the enum {}: use one of {}", ty.name(), variants.join(", "))
                .into())
        }
        _ => plain(&Some(value), ty, out),
    }
}

fn array(values: &[Value], ty: &Type, out: &mut BytesMut) -> EncodeResult {
    let array = base(ty);
    match array.kind() {
        Kind::Array(_) => values.iter().cloned().map(BuiltParameter).collect::<Vec<_>>().to_sql(array, out),
        _ => Err(Box::new(WrongType::new::<Vec<Value>>(ty.clone()))),
    }
}

/// Returns the base type of a domain, as which its values are written.
fn base(mut ty: &Type) -> &Type {
    while let Kind::Domain(under) = ty.kind() {
        ty = under;
    }
    ty
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: Value, ty: &Type) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        match BuiltParameter(value).to_sql(ty, &mut out).ok()? {
            IsNull::Yes => Some(Vec::new()),
            IsNull::No => Some(out.to_vec()),
        }
    }

    fn email() -> Type {
        Type::new("email".into(), 90_001, Kind::Domain(Type::TEXT), "public".into())
    }

    fn mood() -> Type {
        Type::new("mood".into(), 90_002, Kind::Enum(vec!["sad".into(), "happy".into()]), "public".into())
    }

    #[test]
    fn numbers_take_the_type_of_the_parameter() {
        for (ty, expected) in [
            (Type::INT2, &[0, 7][..]),
            (Type::INT4, &[0, 0, 0, 7]),
            (Type::INT8, &[0, 0, 0, 0, 0, 0, 0, 7]),
            (Type::FLOAT4, &7_f32.to_be_bytes()),
            (Type::FLOAT8, &7_f64.to_be_bytes()),
            (Type::NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 7]),
            (Type::TEXT, b"7"),
        ] {
            for value in [Value::TinyInt(Some(7)), Value::Int(Some(7)), Value::BigUnsigned(Some(7))] {
                assert_eq!(written(value, &ty).as_deref(), Some(expected), "{ty}");
            }
        }
        assert_eq!(written(Value::Double(Some(0.1)), &Type::FLOAT4), Some(0.1_f32.to_be_bytes().to_vec()));
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (value, ty) in [
            (Value::Int(Some(40_000)), Type::INT2),
            (Value::BigInt(Some(i64::MAX)), Type::INT4),
            (Value::BigUnsigned(Some(u64::MAX)), Type::INT8),
            (Value::Int(Some(-1)), Type::OID),
            (Value::Double(Some(1e300)), Type::FLOAT4),
            (Value::Double(Some(0.5)), Type::INT4),
            (Value::Double(Some(f64::NAN)), Type::NUMERIC),
            // Four bytes would make an integer.
            (Value::String(Some("Ada!".into())), Type::INT4),
            (Value::String(Some("bored".into())), mood()),
            (Value::Bool(Some(true)), Type::TEXT),
            (Value::Bytes(Some(vec![1])), Type::TEXT),
            (Value::Array(sea_query::ArrayType::Int, Some(Box::new(Vec::new()))), Type::INT4),
        ] {
            assert_eq!(written(value.clone(), &ty), None, "{value:?} as {ty}");
        }
    }

    #[test]
    fn domains_and_enums_take_their_values() {
        assert_eq!(written(Value::String(Some("a@b".into())), &email()).as_deref(), Some(&b"a@b"[..]));
        assert_eq!(written(Value::String(Some("happy".into())), &mood()).as_deref(), Some(&b"happy"[..]));
    }

    #[test]
    fn null_is_null_of_any_type() {
        for ty in [Type::INT4, Type::TEXT, Type::UUID, mood()] {
            for value in [Value::Int(None), Value::String(None), Value::Bytes(None)] {
                assert_eq!(written(value, &ty), Some(Vec::new()));
            }
        }
    }
}
