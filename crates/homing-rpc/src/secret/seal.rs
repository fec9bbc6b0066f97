//! Messages that are encrypted and authenticated with a [`Key`].

use hmac::{Hmac, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sha2::Sha256;

use crate::secret::key::Key;

impl Key {
    /// Encrypts and authenticates a message. The result is 32 bytes longer than the message. It tells strangers its own
    /// length, and whether two messages that were sealed with one key are equal: equal messages give equal results.
    ///
    /// # Algorithm
    ///
    /// ChaCha20-Poly1305 ([RFC 8439]) with a key that is used for one message only, so its nonce is zero:
    ///
    /// | value | is |
    /// |---|---|
    /// | salt | the first 16 bytes of HMAC-SHA256(key, "salt" and the message) |
    /// | key of the message | HKDF-Expand(key, "key" and the salt, 32 bytes) of [RFC 5869], with SHA-256 |
    /// | result | the salt, and behind it the encrypted message with its tag |
    ///
    /// A nonce of 96 bits that is chosen at random is safe for 2³² messages of a key at most. A salt of 128 bits that follows
    /// from the message does not repeat by chance before about 2⁶⁴ different messages, and needs no random numbers. It is the
    /// synthetic initialization vector of Rogaway and Shrimpton, "A Provable-Security Treatment of the Key-Wrap Problem"
    /// (2006).
    ///
    /// ```
    /// use homing_rpc::Secret;
    ///
    /// let key = Secret::new("0123456789abcdef0123456789abcdef")?.key("an example");
    /// let sealed = key.seal(b"message");
    /// assert_eq!(key.open(&sealed).as_deref(), Some(&b"message"[..]));
    /// assert_eq!(key.open(&sealed[1..]), None);
    /// # Ok::<(), homing_rpc::Error>(())
    /// ```
    ///
    /// [RFC 5869]: https://www.rfc-editor.org/rfc/rfc5869#section-2.3
    /// [RFC 8439]: https://www.rfc-editor.org/rfc/rfc8439#section-2.8
    pub fn seal(&self, message: &[u8]) -> Vec<u8> {
        let salt: [u8; 32] = mac(&self.signing, &[b"salt", message]);
        let salt = &salt[..SALT_BYTES];
        let mut sealed = message.to_vec();
        let encrypted = key_of(&self.signing, salt).seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed);
        encrypted.expect("a message in memory is shorter than 256 GiB");
        [salt, &sealed].concat()
    }

    /// Decrypts what [`seal`](Self::seal) returned for this key. `None` if it was changed, or sealed with another key.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, encrypted) = sealed.split_at_checked(SALT_BYTES)?;
        let open = |key: &Hmac<Sha256>| {
            let mut message = encrypted.to_vec();
            let bytes = key_of(key, salt).open_in_place(nonce(), Aad::empty(), &mut message).ok()?.len();
            message.truncate(bytes);
            Some(message)
        };
        open(&self.signing).or_else(|| self.others.iter().find_map(open))
    }
}

/// Derives the key of the message with this salt: the first block of HKDF-Expand.
fn key_of(key: &Hmac<Sha256>, salt: &[u8]) -> LessSafeKey {
    let key = mac(key, &[b"key", salt, &[1]]);
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).expect("a key has 32 bytes"))
}

fn mac(key: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(key.clone(), |mac, part| mac.chain_update(part)).finalize().into_bytes().into()
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

const SALT_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn key(texts: &str) -> Key {
        Secret::new(texts).unwrap().key("label")
    }

    #[test]
    fn first_text_seals_and_all_open() {
        let keys = [OLD.to_owned(), format!("{OLD},{NEW}"), format!("{NEW},{OLD}"), NEW.to_owned()].map(|it| key(&it));
        let table = [[true, true, true, false], [true, true, true, false], [false, true, true, true]];
        for (key, accepted) in keys.iter().zip(table) {
            let sealed = key.seal(b"message");
            assert_eq!([0, 1, 2, 3].map(|index| keys[index].open(&sealed).is_some()), accepted);
        }
        let other_label = Secret::new(OLD).unwrap().key("another label");
        assert_eq!(other_label.open(&key(OLD).seal(b"message")), None);
    }

    /// Computed with Python's `cryptography`: other builds and languages read the same bytes.
    #[test]
    fn it_seals_as_the_standards_say() {
        let sealed = key(OLD).seal(b"message").into_iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(sealed, "f41796dec4b4c99924812fe6c460a8a3c9293cc575598a9dd5e54cf90206fc46b36c458de5e038");
    }

    #[test]
    fn sealed_messages_share_no_part() {
        let sealed: Vec<_> = (0_u16..1000).map(|number| key(OLD).seal(&number.to_be_bytes())).collect();
        let salts: BTreeSet<_> = sealed.iter().map(|sealed| &sealed[..SALT_BYTES]).collect();
        let tags: BTreeSet<_> = sealed.iter().map(|sealed| &sealed[sealed.len() - 16..]).collect();
        assert_eq!((salts.len(), tags.len()), (1000, 1000));
        assert_eq!(key(OLD).seal(&7_u16.to_be_bytes()), sealed[7]);
    }

    proptest! {
        #[test]
        fn opened_message_is_the_sealed_one(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealed = key(OLD).seal(&message);
            assert_eq!(sealed.len(), message.len() + 32);
            assert_eq!(key(OLD).open(&sealed), Some(message));
            assert_eq!(key(NEW).open(&sealed), None);
        }

        #[test]
        fn changed_message_does_not_open(message in prop::collection::vec(any::<u8>(), 0..40), bit in any::<prop::sample::Index>()) {
            let sealed = key(OLD).seal(&message);
            let bit = bit.index(sealed.len() * 8);
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(OLD).open(&changed), None);
            assert_eq!(key(OLD).open(&sealed[..bit / 8]), None);
            assert_eq!(key(OLD).open(&sealed[bit / 8 + 1..]), None);
        }

        #[test]
        fn any_bytes_do_not_open(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            assert_eq!(key(OLD).open(&bytes), None);
        }
    }
}
