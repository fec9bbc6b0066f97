//! [`Position`], a place in the write-ahead log of one cluster and timeline.

pub(crate) mod history;
pub(crate) mod kind;
pub(crate) mod lsn;
pub(crate) mod role;
pub(crate) mod shown;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod transaction_id;

use std::fmt;

use homing_proto::v1 as proto;

use self::lsn::Lsn;
use self::transaction_id::TransactionId;

/// A place in a database's write-ahead log: the cluster, the timeline and the log sequence number; and of a write the
/// transaction that wrote.
///
/// The place of a write is the primary's flush position (`pg_current_wal_flush_lsn()`), read after the commit on the same
/// connection. It may lie inside a record that another session has not finished. No replica replays that record before
/// some later commit, but the write is visible as soon as its transaction is. So a replica has reached a position if it
/// has replayed the log up to there, or if it shows the transaction as committed.
///
/// A server that does not tell its place in the log has positions [by transaction](kind::PositionKind::Transaction) alone, whose
/// log sequence number is [`Lsn::INVALID`]. Such a position stands for everything that was committed before the commit of the
/// transaction: commits become visible on a replica in the order in which they are in the log.
///
/// A position is printed as `7312394723947239472/1:0/16B3748`, without the transaction; one by transaction alone as
/// `7312394723947239472/1:transaction 744`. Positions are not ordered: one of
/// another cluster or timeline is neither before nor after. [`ServerState::compare`](crate::ServerState::compare) tells
/// whether a server has replayed the log up to a position.
///
/// On the wire, a position is a `homing.v1.Position`. That message also names the database within the node, which
/// `Position` does not hold.
///
/// The fields are public because the type is complete: PostgreSQL has no more to say about a place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The cluster.
    pub system_identifier: SystemIdentifier,

    /// The timeline of that cluster.
    pub timeline: Timeline,

    /// The place in that timeline. [`Lsn::INVALID`] if only the transaction tells.
    pub lsn: Lsn,

    /// The transaction that wrote. `None` if it is not known, or if none wrote.
    pub transaction: Option<TransactionId>,
}

impl Position {
    /// Returns a place in a log, without a transaction.
    pub fn new(
        system_identifier: impl Into<SystemIdentifier>,
        timeline: impl Into<Timeline>,
        lsn: impl Into<Lsn>,
    ) -> Self {
        Self {
            system_identifier: system_identifier.into(),
            timeline: timeline.into(),
            lsn: lsn.into(),
            transaction: None,
        }
    }

    /// Returns the position of a transaction whose place in the log is not known.
    pub fn by_transaction(
        system_identifier: impl Into<SystemIdentifier>,
        timeline: impl Into<Timeline>,
        transaction: impl Into<TransactionId>,
    ) -> Self {
        Self::new(system_identifier, timeline, Lsn::INVALID).with_transaction(transaction.into())
    }

    /// Returns whether the transaction alone says where it is.
    pub fn is_by_transaction(&self) -> bool {
        self.lsn == Lsn::INVALID && self.transaction.is_some()
    }

    /// Returns the number that orders the positions of one kind and timeline: the place in the log, or else the id of the
    /// transaction.
    pub(crate) fn number(&self) -> u64 {
        match self.transaction {
            Some(transaction) if self.is_by_transaction() => transaction.into(),
            _ => self.lsn.into(),
        }
    }

    /// Sets the transaction that wrote.
    #[must_use]
    pub fn with_transaction(self, transaction: impl Into<Option<TransactionId>>) -> Self {
        Self { transaction: transaction.into(), ..self }
    }

    /// Returns the message for this position. `database` is the name of the node's database, empty for the unnamed one.
    pub(crate) fn to_proto(self, database: impl Into<String>) -> proto::Position {
        proto::Position {
            database: database.into(),
            system_identifier: self.system_identifier.0,
            timeline: self.timeline.0,
            lsn: self.lsn.into(),
            transaction: self.transaction.map_or(0, u64::from),
        }
    }

    /// Returns the position in this message; `None` if neither a place in a log nor a transaction is complete. PostgreSQL
    /// never assigns zero, so the field is missing. The timeline of a transaction may be
    /// [unknown](Timeline::UNKNOWN).
    pub(crate) fn from_proto(message: &proto::Position) -> Option<Self> {
        let is_place = message.timeline != 0 && message.lsn != 0;
        let is_transaction = message.lsn == 0 && message.transaction != 0;
        (message.system_identifier != 0 && (is_place || is_transaction)).then(|| {
            let transaction = Some(message.transaction).filter(|number| *number != 0).map(TransactionId::from);
            Self::new(message.system_identifier, message.timeline, message.lsn).with_transaction(transaction)
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:", self.system_identifier, self.timeline)?;
        match self.transaction {
            Some(transaction) if self.lsn == Lsn::INVALID => write!(f, "transaction {transaction}"),
            _ => self.lsn.fmt(f),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transaction {
            Some(transaction) if self.lsn != Lsn::INVALID => write!(f, "Position({self}, transaction {transaction})"),
            _ => write!(f, "Position({self})"),
        }
    }
}

/// The number that `initdb` gave a cluster. A primary and all of its replicas have the same number.
///
/// A *cluster* here is what one `initdb` created, and all copies of it. `pg_control_system()` shows the number. Where that
/// function is refused, a number that is derived from the name and the OID of the database takes its place. It is the same
/// on all servers of the cluster, and may be the same on another cluster.
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

/// One history of a cluster. The first timeline is 1; each promotion begins a higher one.
///
/// After a promotion the same log sequence numbers are used again, with other contents. So a number alone does not name
/// a place.
///
/// <https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(u32);

impl Timeline {
    /// The timeline of a server that does not tell it. PostgreSQL uses zero for "no timeline".
    pub const UNKNOWN: Self = Self(0);
}

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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a position of the cluster that tests of other modules use too.
    pub(crate) fn position(timeline: u32, lsn: u64) -> Position {
        Position::new(7, timeline, lsn)
    }

    const POSITION: Position = Position {
        system_identifier: SystemIdentifier(7_312_394_723_947_239_472),
        timeline: Timeline(3),
        lsn: Lsn::INVALID,
        transaction: None,
    };

    #[test]
    fn prints_its_three_parts() {
        let position = Position { lsn: Lsn::from(0x016B_3748), ..POSITION };
        assert_eq!(position.to_string(), "7312394723947239472/3:0/16B3748");
        assert_eq!(format!("{position:?}"), "Position(7312394723947239472/3:0/16B3748)");
        let write = position.with_transaction(TransactionId::from(744));
        assert_eq!(write.to_string(), position.to_string());
        assert_eq!(format!("{write:?}"), "Position(7312394723947239472/3:0/16B3748, transaction 744)");
    }

    #[test]
    fn survives_the_wire_without_the_database() {
        let position = Position { lsn: Lsn::from(7), ..POSITION };
        let message = position.to_proto("orders");
        assert_eq!(message.database, "orders");
        assert_eq!(Position::from_proto(&message), Some(position));
        assert_eq!(position.to_proto("").database, "");
        let write = position.with_transaction(TransactionId::from(744));
        assert_eq!(Position::from_proto(&write.to_proto("")), Some(write));
    }

    #[test]
    fn transaction_alone_is_a_position() {
        let position = Position::by_transaction(7, 3, 744);
        assert!(
            position.is_by_transaction()
                && !Position::new(7, 3, 1).with_transaction(position.transaction).is_by_transaction()
        );
        assert_eq!(position.to_string(), "7/3:transaction 744");
        assert_eq!(format!("{position:?}"), "Position(7/3:transaction 744)");
        for position in [position, Position { timeline: Timeline::UNKNOWN, ..position }] {
            assert_eq!(Position::from_proto(&position.to_proto("")), Some(position));
        }
    }

    #[test]
    fn refuses_a_message_with_a_part_missing() {
        let message = Position { lsn: Lsn::from(7), ..POSITION }.to_proto("");
        for broken in [
            proto::Position { system_identifier: 0, ..message.clone() },
            proto::Position { timeline: 0, ..message.clone() },
            proto::Position { lsn: 0, ..message.clone() },
            proto::Position { timeline: 0, transaction: 744, ..message.clone() },
            proto::Position { system_identifier: 0, lsn: 0, transaction: 744, ..message },
            proto::Position::default(),
        ] {
            assert_eq!(Position::from_proto(&broken), None, "{broken:?}");
        }
    }
}
