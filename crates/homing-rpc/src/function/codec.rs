//! The codec of arguments and results: CBOR (RFC 8949).
//!
//! CBOR describes itself, so two builds of an application understand each other during a deployment: fields are found
//! by name, unknown fields are skipped, and missing fields may have a default.

use std::fmt;

use bytes::Bytes;
use ciborium::de;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Encodes a value as one CBOR item.
///
/// # Errors
///
/// [`Error::is_misuse`] if the value's `Serialize` implementation fails.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    let mut buffer = Vec::new();
    match ciborium::into_writer(value, &mut buffer) {
        Ok(()) => Ok(buffer.into()),
        Err(error) => Err(Error::misuse(format!(
            "a value of type {} cannot be encoded as CBOR; check its Serialize implementation",
            std::any::type_name::<T>()
        ))
        .with_source(CodecError(error.to_string()))),
    }
}

/// Decodes one CBOR item, which must be all of the bytes.
pub fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, CodecError> {
    let value = ciborium::from_reader(&mut bytes).map_err(CodecError::from)?;
    if bytes.is_empty() { Ok(value) } else { Err(CodecError(format!("{} bytes follow the value", bytes.len()))) }
}

/// Returns whether the bytes are null or undefined.
pub(crate) fn is_null(bytes: &[u8]) -> bool {
    matches!(bytes, [NULL | UNDEFINED])
}

/// The reason why bytes cannot be decoded or a value cannot be encoded.
#[derive(Debug)]
pub struct CodecError(String);

impl fmt::Display for CodecError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

impl<T: fmt::Debug> From<de::Error<T>> for CodecError {
    fn from(error: de::Error<T>) -> Self {
        Self(match error {
            de::Error::Io(_) => "the bytes end within the value".to_owned(),
            de::Error::Syntax(offset) => format!("not CBOR at byte {offset}"),
            de::Error::Semantic(_, message) => message,
            de::Error::RecursionLimitExceeded => "nested too deeply".to_owned(),
        })
    }
}

/// The simple values 22 and 23, RFC 8949, section 3.3.
const NULL: u8 = 0xf6;
const UNDEFINED: u8 = 0xf7;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        name: String,
        #[serde(default)]
        age: Option<u8>,
    }

    #[test]
    fn values_come_back() {
        let map = BTreeMap::from([("a".to_owned(), vec![1.5, f64::MIN]), (String::new(), vec![])]);
        assert_eq!(decode::<BTreeMap<String, Vec<f64>>>(&encode(&map).unwrap()).unwrap(), map);
        assert_eq!(decode::<i128>(&encode(&i128::MIN).unwrap()).unwrap(), i128::MIN);
        assert_eq!(decode::<Option<()>>(&encode(&None::<()>).unwrap()).unwrap(), None);
        let () = decode(&encode(&()).unwrap()).unwrap();
    }

    #[test]
    fn two_builds_understand_each_other() {
        let new = New { name: "Ada".into(), age: Some(36) };
        assert_eq!(decode::<Old>(&encode(&new).unwrap()).unwrap().name, "Ada");
        let old = Old { name: "Ada".into() };
        assert_eq!(decode::<New>(&encode(&old).unwrap()).unwrap(), New { name: "Ada".into(), age: None });
    }

    #[test]
    fn nothing_is_null_or_undefined() {
        assert!(is_null(&encode(&()).unwrap()));
        assert!(is_null(&encode(&None::<String>).unwrap()));
        assert!(is_null(&[UNDEFINED]));
        for other in [&[][..], &[0], &[NULL, NULL]] {
            assert!(!is_null(other));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let nested = vec![0x81; 1000];
        let table: [(&[u8], &str); 5] = [
            (b"", "end within"),
            (b"\x1a\x00", "end within"),
            (b"\x1c", "not CBOR"),
            (b"\x01\x02", "1 bytes follow"),
            (&nested, "too deeply"),
        ];
        for (bytes, expected) in table {
            let error = decode::<ciborium::Value>(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        }
        let error = decode::<String>(&encode(&7).unwrap()).unwrap_err().to_string();
        assert!(error.contains("expected") && error.contains('7'), "{error}");
    }
}
