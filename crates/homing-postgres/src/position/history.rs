//! [`TimelineHistory`], the timelines that the timeline of a server came from.

use super::lsn::Lsn;
use super::{Position, Timeline};

/// The history file of a timeline: for each timeline before it, the place where the history left that timeline.
///
/// <https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>
#[derive(Debug)]
pub(crate) struct TimelineHistory(Vec<(Timeline, Lsn)>);

impl TimelineHistory {
    /// Reads a history file. A line has the number of a timeline, the place where it was left, and the reason.
    pub(crate) fn parse(text: &str) -> Self {
        let parse = |line: &str| {
            let mut words = line.split_whitespace();
            let timeline: u32 = words.next()?.parse().ok()?;
            Some((timeline.into(), words.next()?.parse().ok()?))
        };
        Self(text.lines().filter_map(parse).collect())
    }

    /// Returns the name of a timeline's file.
    pub(crate) fn file(timeline: Timeline) -> String {
        format!("pg_wal/{:08X}.history", u32::from(timeline))
    }

    /// Returns whether a position of an earlier timeline of the same cluster is in the history. The file tells nothing of
    /// transactions.
    pub(crate) fn contains(&self, position: Position) -> bool {
        position.lsn != Lsn::INVALID
            && self.0.iter().any(|&(timeline, left_at)| timeline == position.timeline && position.lsn <= left_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::tests::position;

    #[test]
    fn history_ends_where_it_left_a_timeline() {
        let text = "1\t0/A0\tno recovery target specified\n\n3\t1/10\tafter LSN 1/8\nnonsense\n";
        let history = TimelineHistory::parse(text);
        let table = [
            (position(1, 0xA0), true),
            (position(1, 0xA1), false),
            (position(2, 1), false),
            (position(3, 0x1_0000_0010), true),
            (position(3, 0x1_0000_0011), false),
        ];
        for (position, expected) in table {
            assert_eq!(history.contains(position), expected, "{position}");
        }
        assert!(!history.contains(Position::by_transaction(7, 1, 744)));
        assert_eq!(TimelineHistory::file(26.into()), "pg_wal/0000001A.history");
    }
}
