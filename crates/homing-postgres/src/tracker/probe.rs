//! [`ProbeAnswer`], what a server answers when it is asked how far it is.

use std::time::Duration;

use tokio_postgres::{Error, Row};

use crate::position::Timeline;
use crate::position::lsn::Lsn;
use crate::position::role::Role;

/// One answer of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProbeAnswer {
    pub(super) role: Role,

    /// Replayed on a replica, flushed on a primary.
    pub(super) lsn: Lsn,

    /// On a primary that was promoted since its start: where its replay ended.
    pub(super) switched_at: Option<Lsn>,

    /// Certain: the timeline of a primary, or the one that a replica is streaming at this moment. Replicas tell it to
    /// members of `pg_monitor` only.
    pub(super) timeline: Option<Timeline>,

    /// The process id of a replica's WAL receiver, which every role may see.
    pub(super) receiver: Option<i32>,

    /// What a replica has received, replayed or not.
    pub(super) received: Option<Lsn>,

    /// See [`ServerState::lag`](crate::ServerState::lag).
    pub(super) lag: Option<Duration>,

    /// Only in the answer to a thorough question.
    pub(super) evidence: Option<Evidence>,
}

/// What a server's files say of its timeline. It may be too low, but never too high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    /// Up to `lsn`, the server's history is that of this timeline.
    pub(super) timeline: Timeline,
    pub(super) lsn: Lsn,

    /// The highest timeline in the names of its WAL files. Nothing of a higher one can have been replayed.
    pub(super) highest: Option<Timeline>,
}

/// What to ask.
///
/// Functions that work on one role only are not reached on the other, also when the role changes in between: a
/// primary becomes a replica by a restart only. PostgreSQL evaluates the columns in their order, which matters. A
/// replica notes a new timeline before it replays anything of it, so the position is read before the timeline; the
/// other way round a position of the new timeline could be taken for one of the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Takes a server about 10 µs. Enough while the last answer left no doubt.
    Quick,

    /// Reads the control file too: about 15 µs more.
    Thorough,

    /// Lists `pg_wal` too: 15 µs and some µs for each file more. Members of `pg_monitor` may.
    ThoroughWithFiles,
}

impl Question {
    pub(super) fn sql(self) -> String {
        let more = match self {
            Self::Quick => String::new(),
            Self::Thorough => format!(", {CONTROL_FILE}"),
            Self::ThoroughWithFiles => format!(", {CONTROL_FILE}, {HIGHEST_FILE}"),
        };
        // `offset 0` keeps the planner from evaluating the function once for each mention.
        format!("select {BASICS}{more} from (select pg_is_in_recovery() as replica offset 0) as server")
    }

    pub(super) fn read(self, row: &Row) -> Result<ProbeAnswer, Error> {
        let role = if row.try_get(0)? { Role::Replica } else { Role::Primary };
        let lsn = row.try_get(1)?;
        let (receiver, streamed) = read_receiver(row)?;
        let written = row.try_get::<_, Option<&str>>(3)?.and_then(timeline_of_file);
        let received = row.try_get(5)?;
        Ok(ProbeAnswer {
            role,
            lsn,
            switched_at: row.try_get(2)?,
            timeline: written.or(streamed),
            receiver,
            received,
            lag: read_lag(row, lsn, received, receiver)?,
            evidence: if self == Self::Quick { None } else { Some(self.read_evidence(row)?) },
        })
    }

    fn read_evidence(self, row: &Row) -> Result<Evidence, Error> {
        let highest = if self == Self::ThoroughWithFiles { row.try_get::<_, Option<i64>>(9)? } else { None };
        let (timeline, lsn) = read_point(row, 7)?.max(read_point(row, 8)?);
        Ok(Evidence { timeline, lsn, highest: highest.map(timeline_of_number) })
    }
}

/// The WAL receiver's process id, and the timeline it is streaming.
fn read_receiver(row: &Row) -> Result<(Option<i32>, Option<Timeline>), Error> {
    let receiver = row.try_get::<_, Option<Vec<Option<i32>>>>(4)?.unwrap_or_default();
    let number = |index: usize| receiver.get(index).copied().flatten();
    Ok((number(0), number(1).map(|timeline| timeline_of_number(timeline.into()))))
}

/// Nothing is known of what was not received, so without a receiver the age of the last commit counts.
fn read_lag(row: &Row, replayed: Lsn, received: Option<Lsn>, receiver: Option<i32>) -> Result<Option<Duration>, Error> {
    if receiver.is_some() && received.is_some_and(|received| received <= replayed) {
        return Ok(Some(Duration::ZERO));
    }
    // Negative where the clocks of primary and replica differ.
    let seconds: Option<f64> = row.try_get(6)?;
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

/// `000000010000000000000003` is a file of timeline 1.
fn timeline_of_file(name: &str) -> Option<Timeline> {
    u32::from_str_radix(name.get(..8)?, 16).ok().map(Timeline::from)
}

/// Columns 0 to 6.
const BASICS: &str = "replica, \
     case when replica then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, \
     case when not replica then pg_last_wal_replay_lsn() end, \
     case when not replica then pg_walfile_name(pg_current_wal_flush_lsn()) end, \
     case when replica then (select array[pid, case when status = 'streaming' then received_tli end] \
                               from pg_stat_get_wal_receiver()) end, \
     case when replica then pg_last_wal_receive_lsn() end, \
     case when replica then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 end";

/// Columns 7 and 8: two places that are certain. Each is read by one call, so that its halves belong together.
const CONTROL_FILE: &str = "\
     (select array[timeline_id::int8, (checkpoint_lsn - '0/0')::int8] from pg_control_checkpoint()), \
     (select array[min_recovery_end_timeline::int8, (min_recovery_end_lsn - '0/0')::int8] from pg_control_recovery())";

/// Column 9. Files of a timeline, and its `.history`, are there before anything of it is replayed.
const HIGHEST_FILE: &str = "\
     (select max(('x' || left(name, 8))::bit(32)::int8) from pg_ls_waldir() \
       where name ~ '^[0-9A-F]{8}([0-9A-F]{16}|\\.history)')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeline_is_the_first_part_of_a_file_name() {
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
