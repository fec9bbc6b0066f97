//! The details of a function's error.

use bytes::Bytes;

/// The details that a function attaches to its error: a protobuf message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The full name of the message, such as `homing.v1.DatabaseError`.
    pub type_name: String,
    /// The message in binary form.
    pub bytes: Bytes,
}

impl Details {
    /// Returns the details with this type name and this message in binary form.
    pub fn new(type_name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { type_name: type_name.into(), bytes: bytes.into() }
    }
}
