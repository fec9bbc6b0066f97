//! [`Token`], the positions of a session on their way to another node.

mod contents;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homing_rpc::{Key, Rpc, Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::position::Position;
use crate::scope::DatabaseName;

/// The positions that a session has to see, as a string that can travel in a cookie, a header or a message.
///
/// [`Repo::token`](crate::Repo::token) makes a token, and [`Repo::with_token`](crate::Repo::with_token) uses it. It
/// holds the positions of each database of the session. With one database it has 87 characters, whatever they are; all of
/// them are letters, digits, `-` or `_`. Further databases make it longer, in steps of 42 or 43 characters.
/// Writes [by transaction](crate::PositionKind::Transaction) that were made at the same time have a position each, and make it
/// longer too.
///
/// A token is encrypted and authenticated: its holder can neither read nor change what is in it. Two tokens are equal if
/// their positions are, which is all that they tell. The key is that of [`Repo::with_token_key`](crate::Repo::with_token_key),
/// else one that is derived from the node's secret. A node with neither accepts only tokens of its own process.
///
/// ```no_run
/// # async fn example(here: homing_postgres::Repo, there: homing_postgres::Repo) -> homing_postgres::Result<()> {
/// here.execute("insert into orders default values", &[]).await?;
/// let cookie = here.token().await?.to_string();
///
/// let repo = there.with_token(&cookie)?; // another node, another request
/// let orders = repo.query("select * from orders", &[]).await?; // sees the order
/// # Ok(())
/// # }
/// ```
///
/// Parsing checks only the form. The node that uses the token checks whether it is genuine, because that takes the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(Arc<str>);

/// The key of a node's tokens.
#[derive(Debug)]
pub(crate) struct TokenKey {
    key: Key,
    source: KeySource,
}

/// Where the key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeySource {
    /// From a setting of its own.
    Setting,

    /// From the secret of the node.
    Secret,

    /// It is random: nodes without a secret share nothing that strangers do not know.
    Process,
}

impl Token {
    /// Returns the token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a token of these positions.
    pub(crate) fn seal(positions: &[(DatabaseName, Position)], key: &TokenKey) -> Self {
        Self::seal_contents(&contents::encode(positions), key)
    }

    pub(crate) fn seal_contents(contents: &[u8], key: &TokenKey) -> Self {
        let mut bytes = vec![VERSION];
        bytes.extend(key.key.seal(contents));
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// Returns the positions of a token that was made with this key.
    pub(crate) fn open(text: &str, key: &TokenKey) -> Result<Vec<(DatabaseName, Position)>> {
        let bytes = decoded(text)?;
        let Some(contents) = key.key.open(&bytes[1..]) else {
            return Err(Error::token_refused(match key.source {
                KeySource::Setting => {
                    "the token was changed on its way, or made by a node with another HOMING_TOKEN_KEY: go on without it"
                }
                KeySource::Secret => {
                    "the token was changed on its way, or made by a node with another HOMING_SECRET, or with a \
                     HOMING_TOKEN_KEY: go on without it"
                }
                KeySource::Process => {
                    "the token was changed on its way, or made by another process: go on without it, or set \
                     HOMING_TOKEN_KEY or HOMING_SECRET, because a node with neither accepts only its own tokens"
                }
            }));
        };
        contents::decode(&contents)
            .ok_or_else(|| Error::token_refused("this build cannot read the positions in the token: go on without it"))
    }
}

impl TokenKey {
    /// Returns the key that a node with this secret has.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_secret(secret: &Secret) -> Self {
        Self { key: secret.key(LABEL), source: KeySource::Secret }
    }

    /// Returns the key of this node's tokens. `own` is the setting for it.
    pub(crate) fn of(own: Option<&Secret>, rpc: &Rpc) -> Self {
        static OF_THIS_PROCESS: LazyLock<Key> = LazyLock::new(Key::random);
        match (own, rpc.secret()) {
            (Some(own), _) => Self { key: own.key(LABEL), source: KeySource::Setting },
            (None, Some(secret)) => Self { key: secret.key(LABEL), source: KeySource::Secret },
            (None, None) => Self { key: OF_THIS_PROCESS.clone(), source: KeySource::Process },
        }
    }
}

/// Returns the error for a token of another cluster.
pub(crate) fn foreign(database: &str) -> Error {
    let database = if database.is_empty() { "the database" } else { database };
    Error::token_refused(format!(
        "the token is of another database cluster than {database} on this node: go on without it, or correct the \
         connection strings if both nodes should use the same cluster"
    ))
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        decoded(text)?;
        Ok(Self(text.into()))
    }
}

impl AsRef<str> for Token {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    /// Leaves out the text, which would let others use the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} characters)", self.0.len())
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Decodes a token of this version into its bytes: the version, and what is sealed.
fn decoded(text: &str) -> Result<Vec<u8>> {
    if text.len() > MAX_CHARACTERS {
        return Err(Error::token_refused(format!(
            "the token has {} characters, and the limit is {MAX_CHARACTERS}: go on without it",
            text.len()
        )));
    }
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes =
        bytes.map_err(|_| Error::token_refused("this is not a token: it is cut off, or has invalid characters"))?;
    match bytes.first() {
        Some(&VERSION) if bytes.len() >= MIN_BYTES => Ok(bytes),
        Some(&VERSION) | None => Err(Error::token_refused("this is not a token: it is cut off")),
        Some(version) => Err(Error::token_refused(format!(
            "the token has version {version}, and this build reads version {VERSION}: go on without it"
        ))),
    }
}

/// The version of the format, the first byte of a token. Version 1 was not encrypted. It is refused: builds that make it
/// refuse version 2 anyway, so a session cannot move between the two builds in both directions.
const VERSION: u8 = 2;

/// The purpose of the key, from which it is derived.
const LABEL: &str = "homing token 2";

/// The version, and a sealed message of the shortest contents.
const MIN_BYTES: usize = 1 + 32 + contents::BLOCK_BYTES;

/// The most characters of a token. They fit into a cookie, and are enough for more than fifty databases.
const MAX_CHARACTERS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::position::transaction_id::TransactionId;

    fn key(secret: &str) -> TokenKey {
        TokenKey::of_secret(&Secret::new(secret).unwrap())
    }

    fn ours() -> TokenKey {
        key("0123456789abcdef0123456789abcdef")
    }

    fn at(lsn: u64) -> Position {
        Position::new(7_312_394_723_947_239_472, 3, lsn)
    }

    fn written(lsn: u64) -> Position {
        at(lsn).with_transaction(TransactionId::from(lsn))
    }

    fn named(name: &str) -> DatabaseName {
        DatabaseName::new(name).unwrap()
    }

    fn seal(positions: &[(DatabaseName, Position)]) -> Token {
        Token::seal(positions, &ours())
    }

    #[test]
    fn opened_token_holds_the_sealed_positions() {
        let databases = [
            vec![],
            vec![(DatabaseName::default(), at(7))],
            vec![(named("a"), at(1)), (named("b_2"), at(u64::MAX))],
            vec![(named("a"), at(1)), (named("a"), written(2)), (named("b"), at(3))],
        ];
        for positions in databases {
            let token = seal(&positions);
            assert_eq!(Token::open(token.as_str(), &ours()).unwrap(), positions);
            let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            assert!(token.as_str().bytes().all(url_safe), "{token}");
        }
    }

    /// Up to a log of 500 TiB and 2^41 transactions.
    #[test]
    fn length_does_not_tell_the_contents() {
        let one = DatabaseName::default;
        let far = at((1 << 49) - 1).with_transaction(TransactionId::from((1 << 41) - 1));
        let databases = [
            vec![],
            vec![(one(), at(1))],
            vec![(one(), written(1 << 30))],
            vec![(one(), at(1)), (one(), written(2))],
            vec![(one(), Position { transaction: None, ..far }), (one(), far)],
            vec![(named("analytics"), at(1 << 40))],
        ];
        assert_eq!(databases.map(|positions| seal(&positions).as_str().len()), [87; 6]);
    }

    #[test]
    fn token_fits_into_a_cookie() {
        let longest = (0..50).map(|number| (named(&format!("{}{number:02}", "x".repeat(30))), at(1 << 49)));
        let token = seal(&longest.collect::<Vec<_>>());
        assert!(token.as_str().len() <= MAX_CHARACTERS);
        assert_eq!(Token::open(token.as_str(), &ours()).unwrap().len(), 50);
    }

    #[test]
    fn strangers_read_nothing() {
        let position = at(0x0123_4567_89AB_CDEF);
        let token = seal(&[(named("analytics"), position)]);
        let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
        let known = [
            &b"analytics"[..4],
            &7_312_394_723_947_239_472_u64.to_be_bytes()[..4],
            &0x0123_4567_89AB_CDEF_u64.to_be_bytes()[..4],
        ];
        assert!(!bytes.windows(4).any(|part| known.contains(&part)), "{bytes:?}");
        // Neighbours share nothing but the version.
        let next = seal(&[(named("analytics"), at(0x0123_4567_89AB_CDEE))]);
        let next = URL_SAFE_NO_PAD.decode(next.as_str()).unwrap();
        let same = bytes.iter().zip(&next).skip(1).filter(|(left, right)| left == right).count();
        assert!(same < 8, "{same} of {} bytes", bytes.len());
        assert_eq!(seal(&[(named("analytics"), position)]), token);
    }

    #[test]
    fn foreign_tokens_are_refused() {
        let token = seal(&[(DatabaseName::default(), at(7))]);
        let other_key = key("0123456789abcdef0123456789abcdeF");
        let of_version = |version: u8| {
            let mut bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
            bytes[0] = version;
            URL_SAFE_NO_PAD.encode(bytes)
        };
        let (former, future) = (of_version(1), of_version(3));
        let with_padding = format!("{token}=");
        let too_long = "A".repeat(MAX_CHARACTERS + 1);
        let texts = ["", "A", "Ag", "AgAA", "token", "ä", "a b", &former, &future, &with_padding, &too_long];
        for text in texts {
            let error = Token::open(text, &ours()).unwrap_err();
            assert!(error.is_token_refused() && error.is_not_sent() && !error.is_misuse(), "{error:?}");
            assert_eq!(text.parse::<Token>().unwrap_err().to_string(), error.to_string());
        }
        for (text, part) in [(&former, "version 1"), (&future, "version 3")] {
            assert!(Token::open(text, &ours()).unwrap_err().to_string().contains(part));
        }
        for (source, hint) in [
            (KeySource::Setting, "another HOMING_TOKEN_KEY"),
            (KeySource::Secret, "another HOMING_SECRET"),
            (KeySource::Process, "another process"),
        ] {
            let error = Token::open(token.as_str(), &TokenKey { source, key: other_key.key.clone() }).unwrap_err();
            assert!(error.is_token_refused() && error.to_string().contains(hint), "{error}");
        }
        let other_purpose = Secret::new("0123456789abcdef0123456789abcdef").unwrap().key("homing token 1");
        let other_purpose = TokenKey { key: other_purpose, source: KeySource::Secret };
        assert!(Token::open(token.as_str(), &other_purpose).unwrap_err().is_token_refused());
    }

    /// Every change of one character, and every cut.
    #[test]
    fn changed_token_is_refused() {
        let token = seal(&[(DatabaseName::default(), written(7)), (named("analytics"), at(9))]);
        let text = token.as_str();
        for index in 0..text.len() {
            refuse(&text[..index], &token);
            refuse(&text[index + 1..], &token);
            for byte in 0..=u8::MAX {
                let mut changed = text.as_bytes().to_vec();
                changed[index] = byte;
                refuse(&String::from_utf8_lossy(&changed), &token);
            }
        }
    }

    fn refuse(changed: &str, token: &Token) {
        if changed != token.as_str() {
            let error = Token::open(changed, &ours()).unwrap_err();
            assert!(error.is_token_refused(), "{changed}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn edited_token_is_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..5)) {
            let token = seal(&[(DatabaseName::default(), written(7)), (named("analytics"), at(9))]);
            let mut bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
            for (index, edit, byte) in edits {
                let index = index.index(bytes.len());
                match edit {
                    0 => bytes[index] ^= 1 << (byte % 8),
                    1 => bytes.truncate(index.max(1)),
                    2 => bytes.insert(index, byte),
                    _ => bytes[index] = byte,
                }
            }
            refuse(&URL_SAFE_NO_PAD.encode(&bytes), &token);
        }

        #[test]
        fn any_text_is_refused(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            assert!(Token::open(&text, &ours()).unwrap_err().is_token_refused());
            let bytes = [&[VERSION][..], &bytes].concat();
            assert!(Token::open(&URL_SAFE_NO_PAD.encode(bytes), &ours()).unwrap_err().is_token_refused());
        }

        /// A sealed token may come from another build, so its contents are not trusted either.
        #[test]
        fn sealed_garbage_is_no_panic(garbage in prop::collection::vec(any::<u8>(), 32..120)) {
            let bytes = [&[VERSION][..], &ours().key.seal(&garbage)].concat();
            match Token::open(&URL_SAFE_NO_PAD.encode(bytes), &ours()) {
                Ok(positions) => assert_eq!(Token::open(seal(&positions).as_str(), &ours()).unwrap(), positions),
                Err(error) => assert!(error.is_token_refused(), "{error:?}"),
            }
        }
    }

    #[test]
    fn debug_hides_the_text() {
        assert_eq!(format!("{:?}", seal(&[(DatabaseName::default(), at(7))])), "Token(87 characters)");
    }
}
