//! Keys that only nodes with the same secret have.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key for one purpose, derived from a [`Secret`](crate::Secret): what one node of an application has signed, the
/// others can verify, and nobody else can make.
///
/// HMAC-SHA256. Keys of different labels have nothing to do with each other, nor with the credential that travels.
///
/// ```
/// use homing_rpc::Secret;
///
/// let secret = Secret::new("0123456789abcdef0123456789abcdef")?;
/// let tag = secret.key("an example").sign(b"message");
/// assert!(secret.key("an example").verify(b"message", &tag[..16]));
/// assert!(!secret.key("another one").verify(b"message", &tag[..16]));
/// assert!(!secret.key("an example").verify(b"massage", &tag[..16]));
/// # Ok::<(), homing_rpc::Error>(())
/// ```
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A key that nobody else has, and that is gone with the process.
    pub fn random() -> Self {
        Self::new(&rand::random::<[u8; 32]>())
    }

    /// The tag of a message. The first 16 bytes or more of it will do, where space is dear.
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// Whether `tag` is the beginning of the message's tag, and at least 16 bytes of it. Takes the same time wherever
    /// the difference is.
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        tag.len() >= MIN_TAG_BYTES && self.0.clone().chain_update(message).verify_truncated_left(tag).is_ok()
    }

    /// For `label`, from what is secret.
    pub(crate) fn derive(secret: &[u8], label: &str) -> Self {
        Self::new(&Self::new(secret).sign(label.as_bytes()))
    }

    fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length will do"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// Half of the whole tag, below which guessing becomes worth while (RFC 2104, section 5).
const MIN_TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn it_signs_as_the_standard_says() {
        let tag = Key::new(b"Jefe").sign(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(tag.map(|byte| format!("{byte:02x}")).concat(), expected);
    }

    #[test]
    fn a_short_or_long_tag_is_no_tag() {
        let key = Key::random();
        let tag = key.sign(b"message");
        for length in 16..=32 {
            assert!(key.verify(b"message", &tag[..length]));
        }
        assert!(!key.verify(b"message", &tag[..15]));
        assert!(!key.verify(b"message", &[]));
        assert!(!key.verify(b"message", &[&tag[..], &[0]].concat()));
        assert!(!Key::random().verify(b"message", &tag));
    }

    #[test]
    fn it_is_never_printed() {
        assert_eq!(format!("{:?}", Key::derive(b"geheim", "label")), "Key(..)");
    }
}
