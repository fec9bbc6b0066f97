//! Lists of values in PostgreSQL's binary format, as DataRow and Bind messages hold them.
//!
//! Each value is a big-endian `int32` with its length in bytes (-1 for NULL), and then that many bytes.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::error;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::error::{Error, Result};

/// Encodes the parameters of a statement as the types that it was prepared with.
pub(crate) fn encode(parameters: &[&(dyn ToSql + Sync)], types: &[Type]) -> Result<Bytes> {
    check_count(parameters.len(), types)?;
    let mut list = BytesMut::new();
    for (index, (parameter, ty)) in parameters.iter().zip(types).enumerate() {
        encode_parameter(index, *parameter, ty, &mut list)?;
    }
    Ok(list.freeze())
}

/// Refuses more parameters than PostgreSQL can count. It would describe such a statement with a wrong number of them.
pub(crate) fn check_parameter_count(parameters: usize) -> Result<()> {
    if parameters <= MAX_PARAMETERS {
        return Ok(());
    }
    Err(Error::misuse(format!(
        "a statement takes at most {MAX_PARAMETERS} parameters, but {parameters} were given: pass an array, or send \
         several statements"
    )))
}

/// Refuses another number of parameters than the statement takes.
pub(crate) fn check_count(given: usize, types: &[Type]) -> Result<()> {
    if given == types.len() {
        return Ok(());
    }
    Err(Error::misuse(format!(
        "wrong number of parameters: the statement takes {}, the call gives {given}",
        types.len()
    )))
}

/// Appends one parameter, counted from zero.
pub(crate) fn encode_parameter(
    index: usize,
    parameter: &(dyn ToSql + Sync),
    ty: &Type,
    list: &mut BytesMut,
) -> Result<()> {
    encode_value(parameter, ty, list).map_err(|error| {
        let message = format!("parameter ${} does not fit PostgreSQL's {ty}", index + 1);
        Error::misuse(message).with_source(error)
    })
}

fn encode_value(
    value: &(dyn ToSql + Sync),
    ty: &Type,
    list: &mut BytesMut,
) -> Result<(), Box<dyn error::Error + Send + Sync>> {
    let start = list.len();
    list.put_i32(NULL);
    if let IsNull::No = value.to_sql_checked(ty, list)? {
        let length = i32::try_from(list.len() - start - LENGTH_BYTES)?;
        list[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    } else {
        // A value that wrote some bytes and then turned out to be NULL must not shift the next values.
        list.truncate(start + LENGTH_BYTES);
    }
    Ok(())
}

/// Appends the value of a column as it came from the server.
pub(crate) fn put(list: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(bytes) => {
            let length = i32::try_from(bytes.len()).expect("PostgreSQL's values are below 1 GiB");
            list.put_i32(length);
            list.put_slice(bytes);
        }
        None => list.put_i32(NULL),
    }
}

/// Returns the values of a row as they came from the server.
pub(crate) fn of_row(row: &tokio_postgres::Row) -> Bytes {
    of_columns(row, row.len())
}

/// Returns the values of the first columns of a row.
pub(crate) fn of_columns(row: &tokio_postgres::Row, columns: usize) -> Bytes {
    let mut list = BytesMut::new();
    for index in 0..columns {
        put(&mut list, row.get::<_, Raw<'_>>(index).0);
    }
    list.freeze()
}

/// Splits a list into exactly `count` values without copying them. `None` if the list holds anything else.
pub(crate) fn split(mut list: Bytes, count: usize) -> Option<Vec<Option<Bytes>>> {
    // The count comes from another node, so it is not trusted: the list bounds how much memory is reserved.
    let mut values = Vec::with_capacity(count.min(list.len() / LENGTH_BYTES));
    for _ in 0..count {
        let length = i32::from_be_bytes(list.get(..LENGTH_BYTES)?.try_into().ok()?);
        let _ = list.split_to(LENGTH_BYTES);
        values.push(match usize::try_from(length) {
            Ok(length) if length <= list.len() => Some(list.split_to(length)),
            Ok(_) => return None,
            Err(_) if length == NULL => None,
            Err(_) => return None,
        });
    }
    list.is_empty().then_some(values)
}

/// A value that is already in PostgreSQL's binary format.
#[derive(Debug)]
pub(crate) struct Encoded(pub(crate) Option<Bytes>);

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The bytes of a column as they came from the server.
#[derive(Debug)]
pub(crate) struct Raw<'a>(pub(crate) Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The most parameters of one statement: PostgreSQL's Bind message counts them in 16 bits.
pub(crate) const MAX_PARAMETERS: usize = 65_535;

const LENGTH_BYTES: usize = 4;
const NULL: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_wire() {
        let list =
            encode(&[&7_i32, &Option::<&str>::None, &"", &"Ada"], &[Type::INT4, Type::TEXT, Type::TEXT, Type::TEXT])
                .unwrap();
        let values = split(list, 4).unwrap();
        assert_eq!(values[0].as_deref(), Some(&7_i32.to_be_bytes()[..]));
        assert_eq!(values[1], None);
        assert_eq!(values[2].as_deref(), Some(&b""[..]));
        assert_eq!(values[3].as_deref(), Some(&b"Ada"[..]));
    }

    #[test]
    fn wrong_type_names_the_parameter() {
        let error = encode(&[&7_i32, &"Ada"], &[Type::INT4, Type::INT8]).unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent());
        assert_eq!(error.to_string(), "parameter $2 does not fit PostgreSQL's int8");
    }

    #[test]
    fn wrong_number_of_parameters_is_misuse() {
        let error = encode(&[&7_i32], &[]).unwrap_err();
        assert_eq!(error.to_string(), "wrong number of parameters: the statement takes 0, the call gives 1");
    }

    #[test]
    fn damaged_lists_are_refused() {
        let list = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        for (bytes, count) in [
            (&[0, 0][..], 1),
            (&[0, 0, 0, 2, 1], 1),
            (&[255, 255, 255, 254], 1),
            (&[127, 255, 255, 255], 1),
            (&[255, 255, 255, 255, 0], 1),
            (&[255, 255, 255, 255], 2),
            (&[255, 255, 255, 255], usize::MAX),
            (&[255, 255, 255, 255], 0),
        ] {
            assert_eq!(split(list(bytes), count), None, "{bytes:?} as {count}");
        }
    }
}
