//! Keys that are derived from a secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key for one purpose, derived from a [`Secret`](crate::Secret). It signs messages, or seals them, which also hides their
/// contents. The nodes of an application can verify and open each other's, and only they can make them.
///
/// Signatures are HMAC-SHA256, and [`seal`](Self::seal) says how messages are sealed. Keys with different labels are
/// independent of each other; use one for signing or for sealing. The key of a secret with several texts signs and seals with
/// the first one, and verifies and opens with all.
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
pub struct Key {
    pub(super) signing: Hmac<Sha256>,
    /// Further keys whose signatures are valid too.
    pub(super) others: Vec<Hmac<Sha256>>,
}

impl Key {
    /// Returns a random key, which only this process has.
    pub fn random() -> Self {
        Self::new(&rand::random::<[u8; 32]>())
    }

    /// Returns the tag of a message. If space is scarce, its first 16 bytes are enough.
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        self.signing.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// Returns whether `tag` consists of the first 16 or more bytes of the message's tag. Compares in constant time.
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        let is_of = |key: &Hmac<Sha256>| key.clone().chain_update(message).verify_truncated_left(tag).is_ok();
        tag.len() >= MIN_TAG_BYTES && (is_of(&self.signing) || self.others.iter().any(is_of))
    }

    /// Derives the key for `label` from `secret`.
    pub(crate) fn derive(secret: &[u8], label: &str) -> Self {
        Self::new(&Self::new(secret).sign(label.as_bytes()))
    }

    /// Returns a key that signs like this one, and verifies the signatures of `other` too.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.others.push(other.signing);
        self.others.extend(other.others);
        self
    }

    fn new(key: &[u8]) -> Self {
        Self { signing: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"), others: Vec::new() }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// Half of the tag, the least that RFC 2104 recommends in section 5.
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
    fn short_or_long_tag_is_invalid() {
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
