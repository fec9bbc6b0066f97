//! [`CallKey`], the key of a call.

use bytes::Bytes;
use homing_proto::v1::Once;

use crate::reload::digest_of;

/// The key of a call. A function that takes one ([`Function::takes_key`](crate::Function::takes_key)) is applied once, however
/// often it is called with it. This crate does not interpret it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallKey {
    /// The key, on whose form the application's nodes agree.
    pub bytes: Vec<u8>,
    /// Whether an earlier attempt of the call may have been executed, or may still be running.
    pub again: bool,
    /// How often the caller was told that an attempt with the key was not executed. If that was told more often since, this call is
    /// late, and is not executed. 0: never.
    pub fence: i32,
    /// A hash of the function's name, its scope and its arguments, by which two calls with the same key can be told apart. The node
    /// that runs the function sets it.
    pub fingerprint: i64,
}

impl CallKey {
    pub(crate) fn to_proto(&self, again: bool) -> Once {
        Once { key: self.bytes.clone().into(), again: self.again || again, fence: self.fence }
    }

    pub(crate) fn from_proto(once: Once) -> Self {
        Self { bytes: once.key.to_vec(), again: once.again, fence: once.fence, fingerprint: 0 }
    }

    /// Sets the fingerprint of a call.
    pub(crate) fn of_call(self, function: &str, scope: &str, arguments: &[Bytes]) -> Self {
        let texts = [function.as_bytes(), scope.as_bytes()];
        let parts = texts.into_iter().chain(arguments.iter().map(|argument| &**argument));
        Self { fingerprint: fingerprint_of(parts), ..self }
    }
}

/// Returns the fingerprint of the parts of a request, in order.
pub fn fingerprint_of<'a>(parts: impl Iterator<Item = &'a [u8]>) -> i64 {
    let digest = digest_of(parts);
    i64::from_be_bytes(*digest.first_chunk().expect("a digest is longer"))
}
