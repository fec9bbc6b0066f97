//! [`Cluster`], the model of a primary with replicas: their logs, and what each of them shows.

use super::table::{Key, Row, Table};
use crate::position::history::TimelineHistory;
use crate::position::role::Role;
use crate::position::state::{Ancestor, ServerState};
use crate::position::{Position, Timeline};

/// The servers, and the log of each timeline from the beginning of the cluster. A place in a log is the number of records up to
/// there.
#[derive(Debug)]
pub(super) struct Cluster {
    logs: Vec<Log>,
    /// The table of outcomes of the primary.
    pub(super) table: Table,
    pub(super) servers: Vec<Server>,
    /// `None`: it is dead.
    pub(super) primary: Option<usize>,
    /// The calls whose writes were committed, and lost in a failover.
    pub(super) lost: u64,
    /// How many writes were committed.
    pub(super) writes: u32,
    /// The keys whose settlements were lost in a failover.
    pub(super) forgotten: u128,
}

#[derive(Debug)]
struct Log {
    records: Vec<Record>,
    /// Where it left the log of the timeline before it.
    fork: usize,
    history: TimelineHistory,
}

/// One committed transaction.
#[derive(Debug, Clone, Copy)]
struct Record {
    timeline: u32,
    change: Change,
    /// The calls whose writes are stored after it.
    stored: u64,
}

/// What a transaction changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// It is the first one of its timeline, or changed nothing that matters.
    Nothing,

    /// It stored the write of a call, and its key.
    Write { call: usize, key: Option<(Key, Row)> },

    /// It changed the row of a key alone.
    Key { key: Key, row: Row },
}

/// A server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) is_up: bool,
    /// Whether it was a primary, and died.
    pub(super) is_retired: bool,
    /// The index of the log that it follows.
    log: usize,
    /// How many records of it it has replayed.
    replayed: usize,
}

impl Cluster {
    pub(super) fn new(servers: usize) -> Self {
        let first = Record { timeline: 1, change: Change::Nothing, stored: 0 };
        let log = Log { records: vec![first], fork: 0, history: TimelineHistory::parse("") };
        let server = Server { is_up: true, is_retired: false, log: 0, replayed: 1 };
        Self {
            logs: vec![log],
            table: Table::default(),
            servers: vec![server; servers],
            primary: Some(0),
            lost: 0,
            writes: 0,
            forgotten: 0,
        }
    }

    pub(super) fn role(&self, server: usize) -> Role {
        if self.primary == Some(server) { Role::Primary } else { Role::Replica }
    }

    /// Ends the primary for good.
    pub(super) fn kill_primary(&mut self) {
        if let Some(primary) = self.primary.take() {
            (self.servers[primary].is_up, self.servers[primary].is_retired) = (false, true);
        }
    }

    /// Commits a transaction on the primary.
    pub(super) fn commit(&mut self, change: Change) {
        let last = self.newest().records.last().expect("it has a first record");
        let (timeline, mut stored) = (last.timeline, last.stored);
        if let Change::Write { call, .. } = change {
            stored |= 1 << call;
            self.writes += 1;
        }
        self.newest_mut().records.push(Record { timeline, change, stored });
        if let Change::Write { key: Some((key, row)), .. } | Change::Key { key, row } = change {
            self.table.set(key, row);
        }
        let end = self.newest().records.len();
        if let Some(primary) = self.primary {
            self.servers[primary].replayed = end;
        }
    }

    /// Returns the calls whose writes are stored on the primary, or were on the last one.
    pub(super) fn stored(&self) -> u64 {
        self.newest().records.last().map_or(0, |record| record.stored)
    }

    /// Returns the end of the log of the primary.
    pub(super) fn end(&self) -> Position {
        Position::new(SYSTEM, self.timeline(), self.newest().records.len() as u64)
    }

    /// Returns the timeline of the primary.
    pub(super) fn timeline(&self) -> Timeline {
        self.newest().records.last().expect("it has a first record").timeline.into()
    }

    /// Returns whether the primary has a position in its history.
    pub(super) fn has(&self, position: Position) -> bool {
        position.timeline == self.timeline() || self.newest().history.contains(position)
    }

    /// Returns the calls whose writes a server shows.
    pub(super) fn shown_by(&self, server: usize) -> u64 {
        self.last_of(server).stored
    }

    /// Returns what a probe of a server tells.
    pub(super) fn state(&self, server: usize) -> ServerState {
        let timeline = self.last_of(server).timeline;
        let replayed = self.servers[server].replayed;
        let state = ServerState::new(self.role(server), Position::new(SYSTEM, timeline, replayed as u64));
        let fork = self.logs[timeline as usize - 1].fork;
        let ancestor = (timeline > 1).then(|| Ancestor {
            timeline: self.logs[timeline as usize - 1].records[fork - 1].timeline.into(),
            lsn: (fork as u64).into(),
            next_transaction: None,
        });
        ServerState { ancestor, ..state }
    }

    /// Returns whether a replica can replay more.
    pub(super) fn is_behind(&self, server: usize) -> bool {
        let Server { is_up, replayed, .. } = self.servers[server];
        is_up && self.primary != Some(server) && self.is_in_line(server) && replayed < self.newest().records.len()
    }

    /// Replays the next record.
    pub(super) fn replay(&mut self, server: usize) {
        self.servers[server].log = self.logs.len() - 1;
        self.servers[server].replayed += 1;
    }

    /// Makes a replica that is in line the primary of a new timeline. What it has not replayed is lost.
    pub(super) fn promote(&mut self, server: usize) {
        let replayed = self.servers[server].replayed;
        let records = &self.newest().records;
        let lost = records[replayed..].iter().fold((0, 0_u128), |(writes, keys), record| match record.change {
            Change::Write { call, key } => (writes | 1 << call, keys | key.map_or(0, |(key, _)| 1 << key)),
            Change::Key { key, .. } => (writes, keys | 1 << key),
            Change::Nothing => (writes, keys),
        });
        (self.lost, self.forgotten) = (self.lost | lost.0, self.forgotten | lost.1);
        let mut records = self.newest().records[..replayed].to_vec();
        let last = records[replayed - 1];
        let timeline = u32::try_from(self.logs.len() + 1).expect("there are few timelines");
        records.push(Record { timeline, change: Change::Nothing, ..last });
        self.table = Table::default();
        for record in &records {
            if let Change::Write { key: Some((key, row)), .. } | Change::Key { key, row } = record.change {
                self.table.set(key, row);
            }
        }
        self.logs.push(Log { records, fork: replayed, history: TimelineHistory::parse("") });
        let history = TimelineHistory::parse(&self.history_file());
        self.newest_mut().history = history;
        self.servers[server] =
            Server { is_up: true, is_retired: false, log: self.logs.len() - 1, replayed: replayed + 1 };
        self.primary = Some(server);
    }

    /// Returns whether a server has nothing that is not in the history of the newest timeline. Otherwise it stays behind.
    pub(super) fn is_in_line(&self, server: usize) -> bool {
        let Server { log, replayed, .. } = self.servers[server];
        self.logs[log + 1..].iter().all(|later| replayed <= later.fork)
    }

    /// Returns the history file of the newest timeline.
    fn history_file(&self) -> String {
        let records = &self.newest().records;
        let switches = records.windows(2).enumerate().filter(|(_, pair)| pair[0].timeline != pair[1].timeline);
        switches.map(|(index, pair)| format!("{}\t0/{:X}\tpromoted\n", pair[0].timeline, index + 1)).collect()
    }

    fn last_of(&self, server: usize) -> Record {
        let Server { log, replayed, .. } = self.servers[server];
        self.logs[log].records[replayed - 1]
    }

    fn newest(&self) -> &Log {
        self.logs.last().expect("it has a first log")
    }

    fn newest_mut(&mut self) -> &mut Log {
        self.logs.last_mut().expect("it has a first log")
    }
}

/// The system identifier of the cluster.
const SYSTEM: u64 = 7;
