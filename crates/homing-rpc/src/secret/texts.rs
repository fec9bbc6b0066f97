//! The texts of a secret.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::secret::key::Key;

/// The texts of a secret, the one in use first. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Texts(Arc<[Box<str>]>);

impl Texts {
    /// Reads texts that are separated by commas.
    pub(crate) fn parse(texts: &str) -> Result<Self> {
        let texts: Arc<[Box<str>]> = texts.split(',').map(Box::from).collect();
        if texts.len() > MAX_TEXTS {
            return Err(Error::misuse(format!(
                "the secret consists of {} texts with commas between them, and the limit is {MAX_TEXTS}; remove those \
                 that no node uses any longer",
                texts.len()
            )));
        }
        texts.iter().try_for_each(|text| check(text))?;
        Ok(Self(texts))
    }

    /// Derives the key for one purpose from each text.
    pub(crate) fn keys(&self, label: &str) -> impl Iterator<Item = Key> {
        self.0.iter().map(move |text| Key::derive(text.as_bytes(), label))
    }

    /// Derives the key that signs with the first text and verifies with all.
    pub(crate) fn key(&self, label: &str) -> Key {
        self.keys(label).reduce(Key::or).expect("a secret has at least one text")
    }
}

fn check(text: &str) -> Result<()> {
    if text.len() < MIN_BYTES {
        return Err(Error::misuse(format!(
            "the secret has {} bytes but needs at least {MIN_BYTES} (a comma separates several secrets, each of that \
             length); generate one with `openssl rand -hex 32`",
            text.len()
        )));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::misuse(
            "the secret contains a character that is not visible ASCII, perhaps a space or a line feed; generate one \
             with `openssl rand -hex 32`",
        ));
    }
    Ok(())
}

/// How many texts a secret may have. A change needs two; a few more leave room for a change that begins before the last
/// one has ended. A client offers all of them to each peer, and the offers of a stranger cost the server the product.
pub(crate) const MAX_TEXTS: usize = 4;

/// 32 hexadecimal digits have 128 bits.
const MIN_BYTES: usize = 32;
