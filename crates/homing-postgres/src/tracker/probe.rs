//! [`ProbeQuery`], which asks a server for its state, and [`ProbeAnswer`].
//!
//! PostgreSQL 19 has `WAIT FOR LSN`, which ends when a place is replayed. Tried on 19rc1, it took the server 100 to 109 µs for one
//! awaited write, and questions without a pause took 53 to 104 µs (1.6 to 4.5 of them); for 10,000 writes at once, which share a
//! question, it took 268 to 321 µs against 180 to 261 µs. It was not faster either. It also blocks the connection, and does not end
//! if the place lies inside an unfinished record. So the tracker asks.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::{Error, Row};

use crate::connection::abilities::Abilities;
use crate::position::Timeline;
use crate::position::kind::PositionKind;
use crate::position::lsn::Lsn;
use crate::position::role::{IS_REPLICA, Role};
use crate::position::transaction_id::TransactionId;

/// One answer of a server to a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProbeAnswer {
    pub(super) role: Role,

    /// By what the server tells positions.
    pub(super) positions: PositionKind,

    /// The replayed place on a replica, the flushed one on a primary. Of a server that tells positions by transaction, a place
    /// right after the evidence, which is behind the real one.
    pub(super) lsn: Lsn,

    /// See [`ServerState::next_transaction`](crate::ServerState::next_transaction).
    pub(super) next_transaction: Option<TransactionId>,

    /// See [`ServerState::finished_before`](crate::ServerState::finished_before).
    pub(super) finished_before: Option<TransactionId>,

    /// The end of replay on a primary that was promoted since its start.
    pub(super) switched_at: Option<Lsn>,

    /// The timeline of a primary, or the one that a replica is streaming at this moment; both are certain. Replicas show
    /// it to members of `pg_monitor` only. Unknown, and the same all the time, if the server tells nothing of timelines.
    pub(super) timeline: Option<Timeline>,

    /// The process id of a replica's WAL receiver, which every role may see; zero if the server does not tell it.
    pub(super) receiver: Option<i32>,

    /// How far a replica has received the log, replayed or not.
    pub(super) received: Option<Lsn>,

    /// See [`ServerState::lag`](crate::ServerState::lag).
    pub(super) lag: Option<Duration>,

    /// Only in the answer to a thorough query.
    pub(super) evidence: Option<Evidence>,
}

/// The timeline as the server's files show it. It may be too low, but never too high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    /// The server's history up to `lsn` is that of this timeline.
    pub(super) timeline: Timeline,
    pub(super) lsn: Lsn,

    /// The highest timeline in the names of its WAL files. Nothing of a higher one can have been replayed.
    pub(super) highest: Option<Timeline>,
}

/// The query of a probe.
///
/// Functions that work on one role only are not called on the other, even if the role changes in between: a primary
/// becomes a replica only through a restart. The order of the columns matters, since PostgreSQL evaluates them in it. A
/// replica notes a new timeline before it replays anything of it. So the transactions and the position are read before
/// the timeline. Otherwise, those of the new timeline could be taken for those of the old timeline.
///
/// The parameter is a list of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeQuery {
    /// Takes the server about 10 µs. Enough if the last answer held the timeline.
    Quick,

    /// Also reads the control file, which takes about 15 µs more.
    Thorough,

    /// Also lists `pg_wal`, which takes 15 µs more and some µs for each file. Members of `pg_monitor` may.
    ThoroughWithFiles,

    /// Asks no function that tells a place in the log, and only those of the others that the server allows. Reads the control
    /// file if it may.
    Transactions(Abilities),
}

impl ProbeQuery {
    pub(super) fn sql(self) -> String {
        let more = match self {
            Self::Quick => BASICS.to_owned(),
            Self::Thorough => format!("{BASICS}, {CONTROL_FILE}"),
            Self::ThoroughWithFiles => format!("{BASICS}, {CONTROL_FILE}, {HIGHEST_FILE}"),
            Self::Transactions(abilities) => {
                let receiver = if abilities.receiver { RECEIVER } else { UNKNOWN_RECEIVER };
                let control_file = if abilities.timeline { CONTROL_FILE } else { "null, null" };
                format!("{receiver}, {control_file}")
            }
        };
        // The status of a transaction that ended long ago is unknown. If nothing else tells, it was committed: it has a position.
        let ended_long_ago = matches!(self, Self::Transactions(_));
        let visible = VISIBLE.replace("{ended_long_ago}", &ended_long_ago.to_string());
        // `offset 0` keeps the planner from calling the function once for each mention.
        format!(
            "select {IS_REPLICA}, {visible}, {more} from (select pg_is_in_recovery() as replica offset 0) as server"
        )
    }

    pub(super) fn read(self, row: &Row) -> Result<ProbeAnswer, Error> {
        if let Self::Transactions(abilities) = self {
            return read_transactions(row, abilities);
        }
        let lsn = row.try_get(4)?;
        let (receiver, streamed) = read_receiver(row, 7)?;
        let written = row.try_get::<_, Option<&str>>(6)?.and_then(timeline_of_file);
        let received = row.try_get(8)?;
        Ok(ProbeAnswer {
            role: read_role(row)?,
            positions: PositionKind::Lsn,
            lsn,
            next_transaction: row.try_get(2)?,
            finished_before: row.try_get(3)?,
            switched_at: row.try_get(5)?,
            timeline: written.or(streamed),
            receiver,
            received,
            lag: read_lag(row, lsn, received, receiver)?,
            evidence: if self == Self::Quick { None } else { Some(self.read_evidence(row)?) },
        })
    }

    /// Reads which of the transactions that were asked about are visible.
    pub(super) fn read_visible(row: &Row) -> Result<BTreeSet<TransactionId>, Error> {
        Ok(row.try_get::<_, Vec<TransactionId>>(1)?.into_iter().collect())
    }

    fn read_evidence(self, row: &Row) -> Result<Evidence, Error> {
        let highest = if self == Self::ThoroughWithFiles { row.try_get::<_, Option<i64>>(12)? } else { None };
        let (timeline, lsn) = read_point(row, 10)?.max(read_point(row, 11)?);
        Ok(Evidence { timeline, lsn, highest: highest.map(timeline_of_number) })
    }
}

/// Reads the answer of a server that tells positions by transaction.
fn read_transactions(row: &Row, abilities: Abilities) -> Result<ProbeAnswer, Error> {
    let role = read_role(row)?;
    let (receiver, streamed) = read_receiver(row, 4)?;
    let mut answer = ProbeAnswer {
        role,
        positions: PositionKind::Transaction,
        lsn: Lsn::INVALID,
        next_transaction: row.try_get(2)?,
        finished_before: row.try_get(3)?,
        switched_at: None,
        timeline: Some(Timeline::UNKNOWN),
        receiver,
        received: None,
        lag: None,
        evidence: None,
    };
    if abilities.timeline {
        let (timeline, lsn) = read_point(row, 5)?.max(read_point(row, 6)?);
        answer.evidence = Some(Evidence { timeline, lsn, highest: None });
        answer.lsn = Lsn::from(u64::from(lsn) + 1);
        // A primary that plays a replica has no receiver either, and is not asked for one.
        let is_primary = row.try_get::<_, Option<Vec<Option<i32>>>>(4)?.is_none();
        answer.timeline = if is_primary { Some(timeline) } else { streamed };
    }
    Ok(answer)
}

fn read_role(row: &Row) -> Result<Role, Error> {
    Ok(if row.try_get(0)? { Role::Replica } else { Role::Primary })
}

/// Reads the WAL receiver's process id, and the timeline that it is streaming.
fn read_receiver(row: &Row, column: usize) -> Result<(Option<i32>, Option<Timeline>), Error> {
    let receiver = row.try_get::<_, Option<Vec<Option<i32>>>>(column)?.unwrap_or_default();
    let number = |index: usize| receiver.get(index).copied().flatten();
    Ok((number(0), number(1).map(|timeline| timeline_of_number(timeline.into()))))
}

/// Reads the lag. Without a WAL receiver the log may go on where the replica cannot see it, so the age of the last
/// replayed commit counts.
fn read_lag(row: &Row, replayed: Lsn, received: Option<Lsn>, receiver: Option<i32>) -> Result<Option<Duration>, Error> {
    if receiver.is_some() && received.is_some_and(|received| received <= replayed) {
        return Ok(Some(Duration::ZERO));
    }
    // Negative if the clocks of the primary and the replica differ.
    let seconds: Option<f64> = row.try_get(9)?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

fn read_point(row: &Row, column: usize) -> Result<(Timeline, Lsn), Error> {
    let point: Vec<i64> = row.try_get(column)?;
    let number = |index: usize| point.get(index).copied().unwrap_or_default();
    Ok((timeline_of_number(number(0)), Lsn::from(number(1).cast_unsigned())))
}

fn timeline_of_number(number: i64) -> Timeline {
    // PostgreSQL shows its unsigned number as an int4 in some places.
    #[expect(clippy::cast_possible_truncation, reason = "the lower 32 bits are the number")]
    Timeline::from(number as u32)
}

/// Reads the timeline from a file name: `000000010000000000000003` is a file of timeline 1.
fn timeline_of_file(name: &str) -> Option<Timeline> {
    u32::from_str_radix(name.get(..8)?, 16).ok().map(Timeline::from)
}

/// Columns 1 to 3: the transactions that are committed and visible here, the id after the last one that has ended, and the id
/// before which all have ended. A transaction that this server does not know yet would be an error. The list of running
/// transactions in a replica's snapshot is empty, so the snapshot alone does not tell.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>
const VISIBLE: &str = "\
     array(select asked from unnest($1::xid8[]) as asked \
            where case when asked < pg_snapshot_xmax(pg_current_snapshot()) \
                       then coalesce(pg_xact_status(asked) = 'committed', {ended_long_ago}) end), \
     pg_snapshot_xmax(pg_current_snapshot()), \
     pg_snapshot_xmin(pg_current_snapshot())";

/// The process id of the WAL receiver, and the timeline that it is streaming.
const RECEIVER: &str = "\
     case when replica then (select array[pid, case when status = 'streaming' then received_tli end] \
                               from pg_stat_get_wal_receiver()) end";

/// In the place of [`RECEIVER`], if the server does not tell of it.
const UNKNOWN_RECEIVER: &str = "case when replica then array[0] end";

/// Columns 4 to 9, with the WAL receiver as column 7.
const BASICS: &str = "\
     case when replica then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, \
     case when not replica then pg_last_wal_replay_lsn() end, \
     case when not replica then pg_walfile_name(pg_current_wal_flush_lsn()) end, \
     case when replica then (select array[pid, case when status = 'streaming' then received_tli end] \
                               from pg_stat_get_wal_receiver()) end, \
     case when replica then pg_last_wal_receive_lsn() end, \
     case when replica then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 end";

/// Columns 10 and 11, or 5 and 6 of a server that tells positions by transaction: two certain places. One call reads both
/// halves of a place, so that they belong together. A primary's timeline is the higher one, if they are read in this order: a
/// promotion writes the new timeline as that of the end of recovery, and the next checkpoint removes it there when it writes
/// its own.
const CONTROL_FILE: &str = "\
     (select array[min_recovery_end_timeline::int8, (min_recovery_end_lsn - '0/0')::int8] from pg_control_recovery()), \
     (select array[timeline_id::int8, (checkpoint_lsn - '0/0')::int8] from pg_control_checkpoint())";

/// Column 12. The files of a timeline and its `.history` exist before anything of it is replayed.
const HIGHEST_FILE: &str = "\
     (select max(('x' || left(name, 8))::bit(32)::int8) from pg_ls_waldir() \
       where name ~ '^[0-9A-F]{8}([0-9A-F]{16}|\\.history)')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_begins_with_the_timeline() {
        for (name, timeline) in [
            ("000000010000000000000003", Some(1)),
            ("0000001A00000002000000FF", Some(26)),
            ("00000002.history", Some(2)),
            ("archive_status", None),
            ("0001", None),
            ("", None),
        ] {
            assert_eq!(timeline_of_file(name), timeline.map(Timeline::from), "{name:?}");
        }
    }
}
