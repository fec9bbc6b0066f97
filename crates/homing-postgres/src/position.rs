//! [`Position`], a place in the write-ahead log of one history of one cluster.

pub(crate) mod lsn;
pub(crate) mod role;
pub(crate) mod state;

use std::error::Error as StdError;
use std::fmt;

use homing_proto::v1 as proto;

use self::lsn::Lsn;

/// A place in a database's write-ahead log: which cluster, which history of it, how far.
///
/// Prints as `7312394723947239472/1:0/16B3748`: system identifier, timeline, log sequence number. There is no order
/// between positions, since one of another cluster or timeline is neither before nor after; ask
/// [`ServerState::compare`](crate::ServerState::compare).
///
/// On the wire it is a `homing.v1.Position`, which also names the database within the node. The name is kept apart:
/// [`Position::to_proto`] takes it, and the conversion back leaves it in the message.
///
/// The three fields are all that PostgreSQL needs to name a place in a log; there will be no fourth.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which cluster.
    pub system_identifier: SystemIdentifier,

    /// Which history of that cluster.
    pub timeline: Timeline,

    /// How far in that history.
    pub lsn: Lsn,
}

impl Position {
    /// The message for this position in the node's database of the given name; empty for the only one.
    pub fn to_proto(self, database: impl Into<String>) -> proto::Position {
        proto::Position {
            database: database.into(),
            system_identifier: self.system_identifier.0,
            timeline: self.timeline.0,
            lsn: self.lsn.into(),
        }
    }
}

impl TryFrom<&proto::Position> for Position {
    type Error = InvalidPosition;

    /// Fails where a part is zero, which PostgreSQL never assigns: a field is missing.
    fn try_from(message: &proto::Position) -> Result<Self, Self::Error> {
        if message.system_identifier == 0 || message.timeline == 0 || message.lsn == 0 {
            return Err(InvalidPosition(()));
        }
        Ok(Self {
            system_identifier: SystemIdentifier(message.system_identifier),
            timeline: Timeline(message.timeline),
            lsn: Lsn::from(message.lsn),
        })
    }
}

impl From<Position> for proto::Position {
    /// The position in the node's only database.
    fn from(position: Position) -> Self {
        position.to_proto(String::new())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.system_identifier, self.timeline, self.lsn)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

/// Which cluster: the number that `initdb` gave it, equal on a primary and its replicas (`pg_control_system()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemIdentifier(u64);

impl From<u64> for SystemIdentifier {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<SystemIdentifier> for u64 {
    fn from(identifier: SystemIdentifier) -> Self {
        identifier.0
    }
}

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which history of a cluster. Starts at one; a promotion begins a higher one.
///
/// <https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(u32);

impl From<u32> for Timeline {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl From<Timeline> for u32 {
    fn from(timeline: Timeline) -> Self {
        timeline.0
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message that is no position: its system identifier, timeline or log sequence number is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPosition(());

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position without system identifier, timeline or log sequence number")
    }
}

impl StdError for InvalidPosition {}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position {
        system_identifier: SystemIdentifier(7_312_394_723_947_239_472),
        timeline: Timeline(3),
        lsn: Lsn::INVALID,
    };

    #[test]
    fn prints_its_three_parts() {
        let position = Position { lsn: Lsn::from(0x016B_3748), ..POSITION };
        assert_eq!(position.to_string(), "7312394723947239472/3:0/16B3748");
        assert_eq!(format!("{position:?}"), "Position(7312394723947239472/3:0/16B3748)");
    }

    #[test]
    fn survives_the_wire_with_the_database_apart() {
        let position = Position { lsn: Lsn::from(7), ..POSITION };
        let message = position.to_proto("orders");
        assert_eq!(message.database, "orders");
        assert_eq!(Position::try_from(&message), Ok(position));
        assert_eq!(proto::Position::from(position).database, "");
    }

    #[test]
    fn refuses_a_message_with_a_part_missing() {
        let message = Position { lsn: Lsn::from(7), ..POSITION }.to_proto("");
        for broken in [
            proto::Position { system_identifier: 0, ..message.clone() },
            proto::Position { timeline: 0, ..message.clone() },
            proto::Position { lsn: 0, ..message },
            proto::Position::default(),
        ] {
            assert_eq!(Position::try_from(&broken), Err(InvalidPosition(())), "{broken:?}");
        }
    }
}
