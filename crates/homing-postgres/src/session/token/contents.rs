//! What is in a token, before it is sealed.
//!
//! ```text
//! head (1)  [name]  [system identifier (8)  timeline (varint)]  lsn (varint)  [transaction (varint)]
//! ```
//!
//! for each position, and zeros up to a whole number of blocks, so that the length tells little. In the head, the lowest six
//! bits are the length of the database's name and one, so that it is never zero. If they are zero, the position has the
//! database, the cluster and the timeline of the one before, and nothing of these follows. [`HAS_TRANSACTION`] says whether a
//! transaction follows.

use homing_proto::v1 as proto;
use prost::encoding::{decode_varint, encode_varint};

use crate::position::Position;
use crate::scope::DatabaseName;

/// Returns the contents of a token with these positions.
pub(super) fn encode(positions: &[(DatabaseName, Position)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = None;
    for (database, position) in positions {
        let place = (database, position.system_identifier, position.timeline);
        let name = database.as_str();
        let position = position.to_proto("");
        let transaction = if position.transaction == 0 { 0 } else { HAS_TRANSACTION };
        if before == Some(place) {
            bytes.push(AS_BEFORE | transaction);
        } else {
            let length = u8::try_from(name.len()).expect("the name of a database is short");
            bytes.push((length + 1) | transaction);
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&position.system_identifier.to_be_bytes());
            encode_varint(position.timeline.into(), &mut bytes);
        }
        encode_varint(position.lsn, &mut bytes);
        if transaction != 0 {
            encode_varint(position.transaction, &mut bytes);
        }
        before = Some(place);
    }
    bytes.resize(bytes.len().max(1).next_multiple_of(BLOCK_BYTES), PADDING);
    bytes
}

/// Returns the positions in the contents of a token. `None` if they are of a build with another format.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<(DatabaseName, Position)>> {
    let mut positions: Vec<(DatabaseName, Position)> = Vec::new();
    while let Some((&head, rest)) = bytes.split_first() {
        bytes = rest;
        if head == PADDING {
            return bytes.iter().all(|&byte| byte == PADDING).then_some(positions);
        }
        let (database, mut position) = match head & !(HAS_TRANSACTION | AS_BEFORE) {
            0 => {
                let (database, before) = positions.last().filter(|_| head & AS_BEFORE != 0)?;
                (database.clone(), before.to_proto(""))
            }
            length if head & AS_BEFORE == 0 => place(length - 1, &mut bytes)?,
            _ => return None,
        };
        position.lsn = decode_varint(&mut bytes).ok()?;
        position.transaction = match head & HAS_TRANSACTION {
            0 => 0,
            _ => decode_varint(&mut bytes).ok().filter(|&number| number != 0)?,
        };
        positions.push((database, Position::from_proto(&position)?));
    }
    Some(positions)
}

/// Reads the name of a database, its cluster and its timeline.
fn place(length: u8, bytes: &mut &[u8]) -> Option<(DatabaseName, proto::Position)> {
    let (name, rest) = bytes.split_at_checked(length.into())?;
    let (system_identifier, rest) = rest.split_first_chunk()?;
    *bytes = rest;
    let name = std::str::from_utf8(name).ok()?;
    let database = if name.is_empty() { DatabaseName::default() } else { DatabaseName::new(name).ok()? };
    let system_identifier = u64::from_be_bytes(*system_identifier);
    let timeline = u32::try_from(decode_varint(bytes).ok()?).ok()?;
    Some((database, proto::Position { system_identifier, timeline, ..Default::default() }))
}

/// The contents of a token have a multiple of this size. One block holds the positions of one database without a name: what
/// the session has seen, and a write that is new.
pub(super) const BLOCK_BYTES: usize = 32;

/// Bits of a head.
const HAS_TRANSACTION: u8 = 0x80;
const AS_BEFORE: u8 = 0x40;

const PADDING: u8 = 0;
