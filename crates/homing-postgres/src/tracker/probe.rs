//! [`ProbeQuery`], which asks a server for its state, and [`ProbeAnswer`].

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::{Error, Row};

use crate::position::Timeline;
use crate::position::lsn::Lsn;
use crate::position::role::Role;
use crate::position::transaction_id::TransactionId;

/// One answer of a server to a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProbeAnswer {
    pub(super) role: Role,

    /// The replayed place on a replica, the flushed one on a primary.
    pub(super) lsn: Lsn,

    /// The end of replay on a primary that was promoted since its start.
    pub(super) switched_at: Option<Lsn>,

    /// The timeline of a primary, or the one that a replica is streaming at this moment; both are certain. Replicas show
    /// it to members of `pg_monitor` only.
    pub(super) timeline: Option<Timeline>,

    /// The process id of a replica's WAL receiver, which every role may see.
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
}

impl ProbeQuery {
    pub(super) fn sql(self) -> String {
        let more = match self {
            Self::Quick => String::new(),
            Self::Thorough => format!(", {CONTROL_FILE}"),
            Self::ThoroughWithFiles => format!(", {CONTROL_FILE}, {HIGHEST_FILE}"),
        };
        // `offset 0` keeps the planner from calling the function once for each mention.
        format!(
            "select replica, {VISIBLE}, {BASICS}{more} from (select pg_is_in_recovery() as replica offset 0) as server"
        )
    }

    pub(super) fn read(self, row: &Row) -> Result<ProbeAnswer, Error> {
        let role = if row.try_get(0)? { Role::Replica } else { Role::Primary };
        let lsn = row.try_get(2)?;
        let (receiver, streamed) = read_receiver(row)?;
        let written = row.try_get::<_, Option<&str>>(4)?.and_then(timeline_of_file);
        let received = row.try_get(6)?;
        Ok(ProbeAnswer {
            role,
            lsn,
            switched_at: row.try_get(3)?,
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
        let highest = if self == Self::ThoroughWithFiles { row.try_get::<_, Option<i64>>(10)? } else { None };
        let (timeline, lsn) = read_point(row, 8)?.max(read_point(row, 9)?);
        Ok(Evidence { timeline, lsn, highest: highest.map(timeline_of_number) })
    }
}

/// Reads the WAL receiver's process id, and the timeline that it is streaming.
fn read_receiver(row: &Row) -> Result<(Option<i32>, Option<Timeline>), Error> {
    let receiver = row.try_get::<_, Option<Vec<Option<i32>>>>(5)?.unwrap_or_default();
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
    let seconds: Option<f64> = row.try_get(7)?;
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

/// Column 1: the transactions that are committed and visible here. A transaction that this server does not know yet would
/// be an error. The list of running transactions in a replica's snapshot is empty, so the snapshot alone does not tell.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>
const VISIBLE: &str = "\
     array(select asked from unnest($1::xid8[]) as asked \
            where case when asked < pg_snapshot_xmax(pg_current_snapshot()) \
                       then pg_xact_status(asked) = 'committed' end)";

/// Columns 2 to 7.
const BASICS: &str = "\
     case when replica then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, \
     case when not replica then pg_last_wal_replay_lsn() end, \
     case when not replica then pg_walfile_name(pg_current_wal_flush_lsn()) end, \
     case when replica then (select array[pid, case when status = 'streaming' then received_tli end] \
                               from pg_stat_get_wal_receiver()) end, \
     case when replica then pg_last_wal_receive_lsn() end, \
     case when replica then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 end";

/// Columns 8 and 9: two certain places. One call reads both halves of a place, so that they belong together.
const CONTROL_FILE: &str = "\
     (select array[timeline_id::int8, (checkpoint_lsn - '0/0')::int8] from pg_control_checkpoint()), \
     (select array[min_recovery_end_timeline::int8, (min_recovery_end_lsn - '0/0')::int8] from pg_control_recovery())";

/// Column 10. The files of a timeline and its `.history` exist before anything of it is replayed.
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
