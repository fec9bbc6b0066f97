//! [`Token`], the positions of a session on their way to another node.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homing_proto::v1 as proto;
use homing_rpc::{Key, Rpc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::position::Position;
use crate::scope::DatabaseName;

/// The positions that a session has to see, as a string that can travel in a cookie, a header or a message.
///
/// [`Repo::token`](crate::Repo::token) makes a token, and [`Repo::with_token`](crate::Repo::with_token) uses it. It
/// holds the positions of each database of the session. With one database it has 51 characters, or up to 90 while a write
/// is new; all of them are letters, digits, `-` or `_`.
///
/// A token is authenticated (HMAC-SHA256, 128 bits, with a key derived from the node's secret) but not encrypted. Its
/// holder can read the positions in it, and cannot change them. A node without a secret accepts only tokens of its own
/// process.
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

impl Token {
    /// Returns the token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a token of these positions.
    pub(crate) fn seal(positions: &[(DatabaseName, Position)], key: &Key) -> Self {
        let mut bytes = vec![VERSION];
        for (database, position) in positions {
            let name = database.as_str().as_bytes();
            let position = position.to_proto("");
            let length = u8::try_from(name.len()).expect("the name of a database is short");
            let flag = if position.transaction == 0 { 0 } else { WITH_TRANSACTION };
            bytes.push(length | flag);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&position.system_identifier.to_be_bytes());
            bytes.extend_from_slice(&position.timeline.to_be_bytes());
            bytes.extend_from_slice(&position.lsn.to_be_bytes());
            if flag != 0 {
                bytes.extend_from_slice(&position.transaction.to_be_bytes());
            }
        }
        let tag = key.sign(&bytes);
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// Returns the positions of a token that was made with this key.
    pub(crate) fn open(text: &str, key: &Key, has_secret: bool) -> Result<Vec<(DatabaseName, Position)>> {
        let bytes = decoded(text)?;
        let (message, tag) = bytes.split_at(bytes.len() - TAG_BYTES);
        if !key.verify(message, tag) {
            return Err(Error::token_refused(if has_secret {
                "the token was changed on its way, or made by a node with another HOMING_SECRET: go on without it"
            } else {
                "the token was changed on its way, or made by another process: go on without it, or set HOMING_SECRET, \
                 because a node without one accepts only its own tokens"
            }));
        }
        positions(&message[1..])
            .ok_or_else(|| Error::token_refused("this build cannot read the positions in the token: go on without it"))
    }
}

/// Returns the key of this node's tokens.
pub(crate) fn key(rpc: &Rpc) -> Key {
    /// For nodes without a secret: they share nothing that strangers do not know.
    static OF_THIS_PROCESS: LazyLock<Key> = LazyLock::new(Key::random);
    rpc.secret().map_or_else(|| OF_THIS_PROCESS.clone(), |secret| secret.key(LABEL))
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

/// Decodes a token of this version into its bytes: the version, the positions and the tag.
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
        Some(&VERSION) if bytes.len() > TAG_BYTES => Ok(bytes),
        Some(&VERSION) | None => Err(Error::token_refused("this is not a token: it is cut off")),
        Some(version) => Err(Error::token_refused(format!(
            "the token has version {version}, and this build reads version {VERSION}: go on without it"
        ))),
    }
}

fn positions(mut bytes: &[u8]) -> Option<Vec<(DatabaseName, Position)>> {
    let mut positions = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked((length & !WITH_TRANSACTION).into())?;
        let (system_identifier, rest) = rest.split_first_chunk()?;
        let (timeline, rest) = rest.split_first_chunk()?;
        let (lsn, rest) = rest.split_first_chunk()?;
        let (transaction, rest) = match length & WITH_TRANSACTION {
            0 => (0, rest),
            _ => rest.split_first_chunk().map(|(number, rest)| (u64::from_be_bytes(*number), rest))?,
        };
        if transaction == 0 && length & WITH_TRANSACTION != 0 {
            return None;
        }
        bytes = rest;
        let name = std::str::from_utf8(name).ok()?;
        let name = if name.is_empty() { DatabaseName::default() } else { DatabaseName::new(name).ok()? };
        let position = proto::Position {
            database: String::new(),
            system_identifier: u64::from_be_bytes(*system_identifier),
            timeline: u32::from_be_bytes(*timeline),
            lsn: u64::from_be_bytes(*lsn),
            transaction,
        };
        positions.push((name, Position::from_proto(&position)?));
    }
    Some(positions)
}

/// The version of the format, the first byte of a token.
const VERSION: u8 = 1;

/// A bit of the length of a database's name: the position has a transaction. Builds that do not know it cannot read the
/// positions, and refuse the token.
const WITH_TRANSACTION: u8 = 0x80;

const TAG_BYTES: usize = 16;

/// The purpose of the key, from which it is derived.
const LABEL: &str = "homing token 1";

/// The most characters of a token. They fit into a cookie, and are enough for more than fifty databases.
const MAX_CHARACTERS: usize = 4096;

#[cfg(test)]
mod tests {
    use homing_rpc::Secret;

    use super::*;
    use crate::position::transaction_id::TransactionId;

    fn key(secret: &str) -> Key {
        Secret::new(secret).unwrap().key(LABEL)
    }

    fn ours() -> Key {
        key("0123456789abcdef0123456789abcdef")
    }

    fn at(lsn: u64) -> Position {
        Position::new(u64::MAX, 3, lsn)
    }

    fn written(lsn: u64) -> Position {
        at(lsn).with_transaction(TransactionId::from(u64::MAX))
    }

    fn named(name: &str) -> DatabaseName {
        DatabaseName::new(name).unwrap()
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
            let token = Token::seal(&positions, &ours());
            assert_eq!(Token::open(token.as_str(), &ours(), true).unwrap(), positions);
            let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            assert!(token.as_str().bytes().all(url_safe), "{token}");
        }
    }

    #[test]
    fn token_fits_into_a_cookie() {
        assert_eq!(Token::seal(&[(DatabaseName::default(), at(u64::MAX))], &ours()).as_str().len(), 51);
        let newest = [(DatabaseName::default(), at(1)), (DatabaseName::default(), written(2))];
        assert_eq!(Token::seal(&newest, &ours()).as_str().len(), 90);
        assert_eq!(Token::seal(&[], &ours()).as_str().len(), 23);
        let longest = (0..50).map(|number| (named(&format!("{}{number:02}", "x".repeat(30))), at(1)));
        let token = Token::seal(&longest.collect::<Vec<_>>(), &ours());
        assert!(token.as_str().len() <= MAX_CHARACTERS);
        assert_eq!(Token::open(token.as_str(), &ours(), true).unwrap().len(), 50);
    }

    #[test]
    fn foreign_tokens_are_refused() {
        let token = Token::seal(&[(DatabaseName::default(), at(7))], &ours());
        let other_key = key("0123456789abcdef0123456789abcdeF");
        let mut other_version = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
        other_version[0] = 2;
        let other_version = URL_SAFE_NO_PAD.encode(other_version);
        let with_padding = format!("{token}=");
        let too_long = "A".repeat(MAX_CHARACTERS + 1);
        let texts = ["", "A", "AQ", "AQAA", "token", "ä", "a b", &other_version, &with_padding, &too_long];
        for text in texts {
            let error = Token::open(text, &ours(), true).unwrap_err();
            assert!(error.is_token_refused() && error.is_not_sent() && !error.is_misuse(), "{error:?}");
            assert_eq!(text.parse::<Token>().unwrap_err().to_string(), error.to_string());
        }
        assert!(Token::open(&other_version, &ours(), true).unwrap_err().to_string().contains("version 2"));
        for (has_secret, hint) in [(true, "another HOMING_SECRET"), (false, "another process")] {
            let error = Token::open(token.as_str(), &other_key, has_secret).unwrap_err();
            assert!(error.is_token_refused() && error.to_string().contains(hint), "{error}");
        }
    }

    /// Every change of one character, every cut, and ten thousand changes of several bytes.
    #[test]
    fn changed_token_is_refused() {
        let positions = [(DatabaseName::default(), written(7)), (named("analytics"), at(9))];
        let token = Token::seal(&positions, &ours());
        let text = token.as_str();
        let refused = |changed: &[u8]| {
            let changed = String::from_utf8_lossy(changed);
            if changed != text {
                let error = Token::open(&changed, &ours(), true).unwrap_err();
                assert!(error.is_token_refused(), "{changed}: {error:?}");
            }
        };
        for index in 0..text.len() {
            refused(&text.as_bytes()[..index]);
            refused(&text.as_bytes()[index + 1..]);
            for byte in 0..=u8::MAX {
                let mut changed = text.as_bytes().to_vec();
                changed[index] = byte;
                refused(&changed);
            }
        }
        let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
        for _ in 0..10_000 {
            let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            for _ in 0..=random.below(4) {
                let index = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[index] ^= 1 << random.below(8),
                    1 => bytes.truncate(index.max(1)),
                    2 => bytes.insert(index, u8::try_from(random.below(256)).unwrap()),
                    _ => bytes[index] = u8::try_from(random.below(256)).unwrap(),
                }
            }
            refused(URL_SAFE_NO_PAD.encode(&bytes).as_bytes());
        }
    }

    /// A signed token may come from another build, so its contents are not trusted either.
    #[test]
    fn signed_garbage_is_refused() {
        let mut random = Xorshift(0x2545_F491_4F6C_DD1D);
        for _ in 0..10_000 {
            let mut bytes = vec![VERSION];
            bytes.extend((0..random.below(80)).map(|_| u8::try_from(random.below(40)).unwrap()));
            let tag = ours().sign(&bytes);
            bytes.extend_from_slice(&tag[..TAG_BYTES]);
            match Token::open(&URL_SAFE_NO_PAD.encode(&bytes), &ours(), true) {
                Ok(positions) => assert_eq!(Token::seal(&positions, &ours()).as_str(), URL_SAFE_NO_PAD.encode(&bytes)),
                Err(error) => assert!(error.is_token_refused(), "{error:?}"),
            }
        }
    }

    #[test]
    fn debug_hides_the_text() {
        let token = Token::seal(&[(DatabaseName::default(), at(7))], &ours());
        assert_eq!(format!("{token:?}"), "Token(51 characters)");
    }

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
        }
    }
}
