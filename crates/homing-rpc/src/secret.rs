//! The credential that the nodes of an application share.

pub(crate) mod key;
mod seal;
pub(crate) mod texts;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::reload::Reloaded;
use crate::secret::key::Key;
use crate::secret::texts::Texts;

/// The credential that the nodes of an application share: a text of at least 32 visible ASCII characters, or up to four
/// such texts with commas between them. A text contains no comma.
///
/// Nodes prove to each other that they know it, and never send it. It is never printed either: `Debug` hides it, and no
/// error contains it.
///
/// # Several texts
///
/// Two nodes can call each other if they have a text in common, in any place. [Keys](Self::key) sign and seal with the first
/// text; they verify and open with all. So a fleet changes its secret while it runs:
///
/// | step: all nodes have | calls between nodes | tokens |
/// |---|---|---|
/// | `old` | prove `old` | sealed with `old` |
/// | `old,new` | prove `old` | sealed with `old`, `new` is accepted |
/// | `new,old` | prove `new`, beside nodes that are not there yet `old` | sealed with `new`, `old` is accepted |
/// | `new` | prove `new` | sealed with `new` |
///
/// Wait between the steps until all nodes have the new value, and before the last one until tokens sealed with `old` are no
/// longer in use. Without the step `old,new` no call fails either, but nodes that know only `old` refuse the tokens of
/// the others meanwhile.
///
/// A connection that is open when its text is removed stays open: restart the nodes if the text has become known to
/// others.
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
pub struct Secret(Arc<Source>);

enum Source {
    Fixed(Texts),
    File(Reloaded<Texts>),
}

impl Secret {
    /// Returns the secret with this text, or with these texts, separated by commas.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`](crate::Error::is_misuse) if a text is shorter than 32 bytes, or contains a character other
    /// than visible ASCII, or if there are more than four.
    pub fn new(secret: impl AsRef<str>) -> Result<Self> {
        Texts::parse(secret.as_ref()).map(|texts| Self(Arc::new(Source::Fixed(texts))))
    }

    /// Returns the secret in a file. White space at the end of the file is ignored.
    ///
    /// The file is read again when a connection is made or a key is derived, at most once a second; a changed secret is
    /// used from then on. If it cannot be read or is not a secret, the last one stays in use, and a warning says so.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`](crate::Error::is_misuse) if the file cannot be read now, or if [`new`](Self::new) refuses its
    /// contents.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self> {
        let file = Reloaded::new("the secret", vec![path.into()], |contents| parse(&contents[0]))?;
        Ok(Self(Arc::new(Source::File(file))))
    }

    /// Derives the key for one purpose. It is the same on every node with this secret, and does not reveal the secret. It
    /// signs and seals with the first text, and verifies and opens with all.
    pub fn key(&self, label: &str) -> Key {
        self.texts().key(label)
    }

    /// Returns the texts that the secret has now.
    pub(crate) fn texts(&self) -> Texts {
        match &*self.0 {
            Source::Fixed(texts) => texts.clone(),
            Source::File(file) => file.current(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// Reads the contents of a file, without an editor's line feed at the end.
fn parse(contents: &[u8]) -> Result<Texts> {
    let text = std::str::from_utf8(contents.trim_ascii_end());
    Texts::parse(text.map_err(|_| Error::misuse("it is not text; generate one with `openssl rand -hex 32`"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn first_text_signs_and_all_verify() {
        let key = |texts: &[&str]| Secret::new(texts.join(",")).unwrap().key("label");
        let (old, new) = (key(&[TEXT]), key(&[OTHER]));
        let (adding, changed) = (key(&[TEXT, OTHER]), key(&[OTHER, TEXT]));
        for (signer, accepted) in [
            (&old, [true, false, true, true]),
            (&new, [false, true, true, true]),
            (&adding, [true, false, true, true]),
            (&changed, [false, true, true, true]),
        ] {
            let tag = signer.sign(b"message");
            assert_eq!([&old, &new, &adding, &changed].map(|key| key.verify(b"message", &tag)), accepted);
        }
    }

    #[test]
    fn invalid_secret_is_misuse_without_quote() {
        let spaced = TEXT.replace('0', " ");
        let line = format!("{TEXT}\n");
        let accented = TEXT.replace('0', "é");
        let lists = [format!("{TEXT},"), format!(",{TEXT}"), format!("{TEXT}, {OTHER}"), [TEXT; 5].join(",")];
        let texts = ["", "hunter2", &TEXT[1..], &spaced, &line, &accented];
        for text in texts.into_iter().chain(lists.iter().map(String::as_str)) {
            let error = Secret::new(text).unwrap_err();
            assert!(error.is_misuse());
            assert!(text.is_empty() || !format!("{error} {error:?}").contains(text.trim()), "{error}");
        }
        assert!(Secret::new([TEXT; 4].join(",")).is_ok());
    }

    #[test]
    fn file_is_read_without_its_line_feed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, format!("{TEXT},{OTHER}\r\n")).unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert!(secret.texts() == Secret::new(format!("{TEXT},{OTHER}")).unwrap().texts());
        for text in ["hunter2", &format!("{TEXT} {OTHER}"), &format!("{TEXT},hunter2")] {
            std::fs::write(&path, text).unwrap();
            let error = Secret::from_file(&path).unwrap_err();
            assert!(error.is_misuse() && error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2") && !error.to_string().contains(TEXT), "{error}");
        }
    }

    #[test]
    fn it_is_never_printed() {
        assert!(!format!("{:?}", Secret::new(TEXT).unwrap()).contains("0123"));
    }
}
