//! The credential that the nodes of an application share.

pub(crate) mod key;

use std::fmt;

use http::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};
use crate::secret::key::Key;

/// The credential that the nodes of an application share: at least 32 visible ASCII characters.
///
/// It is never printed: `Debug` hides it, headers mark it as sensitive, and no error contains it. Digests are compared
/// in constant time.
///
/// ```
/// use homing_rpc::Secret;
///
/// let secret = Secret::new("the output of: openssl rand -hex 32".replace(' ', "-"))?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("too short").is_err());
/// # Ok::<(), homing_rpc::Error>(())
/// ```
#[derive(Clone)]
pub struct Secret {
    /// `Bearer <secret>`, as it is sent.
    bearer: HeaderValue,
    /// SHA-256 of `bearer`. Comparing digests hides both content and length from measurements of time.
    digest: [u8; 32],
}

impl Secret {
    /// Returns the secret with this text.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the text is shorter than 32 bytes, or contains a character other than visible ASCII.
    pub fn new(secret: impl AsRef<str>) -> Result<Self> {
        let secret = secret.as_ref();
        if secret.len() < MIN_BYTES {
            return Err(Error::misuse(format!(
                "the secret has {} bytes but needs at least {MIN_BYTES}; generate one with `openssl rand -hex 32`",
                secret.len()
            )));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::misuse(
                "the secret contains a character that is not visible ASCII, perhaps a space or a line feed; generate \
                 one with `openssl rand -hex 32`",
            ));
        }
        let text = format!("{SCHEME}{secret}");
        let digest = Sha256::digest(&text).into();
        let mut bearer = HeaderValue::try_from(text).expect("visible ASCII is a header value");
        bearer.set_sensitive(true);
        Ok(Self { bearer, digest })
    }

    /// Derives the key for one purpose. It is the same on every node with this secret, and does not reveal the secret.
    pub fn key(&self, label: &str) -> Key {
        Key::derive(self.bearer.as_bytes(), label)
    }

    /// Returns the value of the `authorization` header.
    pub(crate) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// Returns whether the value of an `authorization` header is this secret.
    pub(crate) fn accepts(&self, authorization: &HeaderValue) -> bool {
        let digest: [u8; 32] = Sha256::digest(authorization.as_bytes()).into();
        self.digest.ct_eq(&digest).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

const MIN_BYTES: usize = 32;
const SCHEME: &str = "Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn it_accepts_itself_and_nothing_else() {
        let secret = Secret::new(TEXT).unwrap();
        assert!(secret.accepts(&secret.bearer()));
        let long = format!("Bearer {TEXT}0");
        let short = format!("Bearer {}", &TEXT[1..]);
        for other in ["", "Bearer", TEXT, "bearer 0123456789abcdef0123456789abcdef", &long, &short] {
            assert!(!secret.accepts(&HeaderValue::from_str(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn invalid_secret_is_misuse_without_quote() {
        let spaced = TEXT.replace('0', " ");
        let line = format!("{TEXT}\n");
        let accented = TEXT.replace('0', "é");
        for text in ["", "hunter2", &TEXT[1..], &spaced, &line, &accented] {
            let error = Secret::new(text).unwrap_err();
            assert!(error.is_misuse());
            assert!(text.is_empty() || !format!("{error} {error:?}").contains(text.trim()), "{error}");
        }
    }

    #[test]
    fn it_is_never_printed() {
        let secret = Secret::new(TEXT).unwrap();
        let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, secret.bearer())]);
        assert!(!format!("{secret:?} {headers:?}").contains("0123"));
    }
}
