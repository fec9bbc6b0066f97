//! [`IdempotencyKey`], which makes a write one of its kind.

use std::error;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha256};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// The key of a write: however often the write is sent with it, it is applied once.
///
/// Homing makes a key for each write. [`Repo::with_key`](crate::Repo::with_key) takes one of the application's own, for a write
/// that another process or a client may repeat: the number of an order, or the header `Idempotency-Key` of a request together
/// with the name of the user. Any text is a key, and equal texts are equal keys.
///
/// `Display` prints it as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// Makes a new key: a UUID of version 7, whose first 48 bits are the time in milliseconds.
    /// <https://www.rfc-editor.org/rfc/rfc9562#section-5.7>
    pub(crate) fn generate() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(now, rand::random())
    }

    fn at(time: Duration, random: [u8; 16]) -> Self {
        let mut bytes = random;
        // Milliseconds take 48 bits until the year 10889.
        bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[10..]);
        Self(bytes).of_version(GENERATED)
    }

    fn of_text(text: &str) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(text)[..16]);
        Self(bytes).of_version(OWN)
    }

    fn of_version(mut self, version: u8) -> Self {
        self.0[6] = version << 4 | self.0[6] & 0x0f;
        self.0[8] = 0x80 | self.0[8] & 0x3f;
        self
    }

    /// Reads a key from a request. `None` if this build does not know its kind.
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Self> {
        let key = Self(bytes.try_into().ok()?);
        [GENERATED, OWN].contains(&key.version()).then_some(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns whether it is a key of the application's own, which may have been used before.
    pub(crate) fn is_own(&self) -> bool {
        self.version() == OWN
    }

    /// Returns whether its row may have been removed by now. `false` if its age is not known.
    pub(crate) fn has_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        !self.is_own() && now > self.time() + KEPT
    }

    /// Returns the slot of the table that has the key's row.
    pub(crate) fn slot(&self) -> i16 {
        if self.is_own() { 0 } else { slot_at(self.time()) }
    }

    fn time(&self) -> Duration {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Duration::from_millis(u64::from_be_bytes(millis))
    }

    fn version(&self) -> u8 {
        self.0[6] >> 4
    }
}

/// Returns the number of the present interval of keys, and the slots to prune in it: that which comes next, so that it is empty by
/// then, and that of the application's own keys.
pub(crate) fn to_prune(now: SystemTime) -> (u64, [i16; 2]) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / INTERVAL.as_secs(), [slot_at(since + INTERVAL), 0])
}

fn slot_at(time: Duration) -> i16 {
    let slot = time.as_secs() / INTERVAL.as_secs() % SLOTS;
    1 + i16::try_from(slot).expect("there are few slots")
}

impl From<&str> for IdempotencyKey {
    fn from(text: &str) -> Self {
        Self::of_text(text)
    }
}

impl From<String> for IdempotencyKey {
    fn from(text: String) -> Self {
        Self::of_text(&text)
    }
}

impl From<&String> for IdempotencyKey {
    fn from(text: &String) -> Self {
        Self::of_text(text)
    }
}

/// A parameter of PostgreSQL's type `uuid`.
impl ToSql for IdempotencyKey {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&index) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({self})")
    }
}

/// The version of a UUID with a time, and that of one of the application's kind.
const GENERATED: u8 = 7;
const OWN: u8 = 8;

/// How long the row of a generated key is kept at least. A retry comes within the time limit of a call.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// The keys of five minutes are in one slot. With eight of them, a slot is pruned half an hour after its last key was made.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
const SLOTS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_key_is_uuid_of_its_time() {
        // The example of RFC 9562, appendix A.6.
        let random = 0x0000_0000_0000_0cc3_18c4_dc0c_0c07_398f_u128.to_be_bytes();
        let key = IdempotencyKey::at(Duration::from_millis(0x017f_22e2_79b0), random);
        assert_eq!(key.to_string(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        assert_eq!(key.time(), Duration::from_millis(0x017f_22e2_79b0));
        assert!(key.has_expired() && !key.is_own());
        let (first, second) = (IdempotencyKey::generate(), IdempotencyKey::generate());
        assert!(first != second && !first.has_expired());
    }

    #[test]
    fn equal_texts_are_equal_keys() {
        let key = IdempotencyKey::from("order 17");
        assert_eq!(key, IdempotencyKey::from("order 17".to_owned()));
        assert_ne!(key, IdempotencyKey::from("order 18"));
        assert!(key.is_own() && !key.has_expired());
        assert_eq!(key.slot(), 0);
    }

    #[test]
    fn only_known_kinds_are_read() {
        for key in [IdempotencyKey::generate(), IdempotencyKey::from("")] {
            assert_eq!(IdempotencyKey::from_wire(key.as_bytes()), Some(key));
        }
        assert_eq!(IdempotencyKey::from_wire(&[0; 16]), None);
        assert_eq!(IdempotencyKey::from_wire(&[0x77; 15]), None);
    }

    #[test]
    fn slot_is_pruned_between_expiry_and_use() {
        let start = Duration::from_secs(1_800_000_000);
        let made = IdempotencyKey::at(start, [0; 16]);
        let pruned_at: Vec<u64> = (0..24)
            .filter(|interval| {
                let now = UNIX_EPOCH + start + INTERVAL * (*interval);
                to_prune(now).1[0] == made.slot()
            })
            .map(u64::from)
            .collect();
        assert_eq!(pruned_at, [7, 15, 23]);
        assert!(INTERVAL * 6 > KEPT);
        assert!((1..=8).contains(&made.slot()));
    }
}
