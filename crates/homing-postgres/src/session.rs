//! [`Session`], which remembers what a handle has written and read, so that its reads see all of it.

mod ahead;
pub(crate) mod earlier;
mod floor;
mod history;
pub(crate) mod seen;
mod shown;
pub(crate) mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::floor::Floor;
use self::seen::Seen;
use crate::database::{Database, WeakDatabase};
use crate::position::Position;
use crate::scope::DatabaseName;

/// The positions that every read of a handle has to see. The clones of a handle share them. There is a floor for each
/// database, and a `Session` is a view of one of them.
///
/// A position is *imported* if it came from another node with a token and this node has not confirmed it yet. An
/// imported position is *offered* if it came from a stranger: if it turns out to be of another cluster, it is left out.
/// A server is *seen* if the session has read from it, or written on it, without asking how far it was.
///
/// The floor is a position, and below it what the session has read. A server has reached a position if it shows the write of
/// the position, and that alone says nothing about reads and other writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    floors: Arc<Mutex<Vec<Floor>>>,
    database: DatabaseName,
}

/// The position that a read has to see, and the one that a replica did not reach in time, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequiredPosition {
    pub(crate) position: Position,
    pub(crate) behind: Option<Position>,
}

impl Session {
    /// Returns the view of this session for another database.
    pub(crate) fn of(&self, database: &DatabaseName) -> Self {
        Self { floors: Arc::clone(&self.floors), database: database.clone() }
    }

    /// Returns a new, empty session.
    pub(crate) fn renewed(&self) -> Self {
        Self { floors: Arc::default(), database: self.database.clone() }
    }

    /// Returns a new session that starts with the positions of this one.
    pub(crate) fn forked(&self) -> Self {
        let floors = self.lock().clone();
        Self { floors: Arc::new(Mutex::new(floors)), database: self.database.clone() }
    }

    /// Moves the floor up to this position.
    pub(crate) fn advance(&self, position: Position) {
        self.raise(position, &[], false);
    }

    /// Moves the floor up to the position of a transaction that was committed after the session had these positions: it stands
    /// for them too.
    pub(crate) fn advance_past(&self, before: &[Position], position: Position) {
        self.raise(position, before, false);
    }

    /// Moves the floor to a position of another node, which may be of another cluster.
    pub(crate) fn import(&self, position: Position) {
        self.note_imported();
        self.raise(position, &[], true);
    }

    /// Moves the floor to a position of a stranger. If it is of another cluster, [`decline`](Self::decline) removes it.
    pub(crate) fn offer(&self, position: Position) {
        self.import(position);
        self.change(|floor| floor.offered |= floor.imported);
    }

    /// Removes an offered position that turned out to be of another cluster. Returns false if it was not offered.
    pub(crate) fn decline(&self) -> bool {
        let mut declined = false;
        self.change(|floor| {
            declined = floor.imported && floor.offered;
            if declined {
                *floor = Floor {
                    database: floor.database.clone(),
                    seen: std::mem::take(&mut floor.seen),
                    ahead: std::mem::take(&mut floor.ahead),
                    ..Floor::default()
                };
            }
        });
        declined
    }

    pub(crate) fn wanted(&self) -> Option<RequiredPosition> {
        self.wanted_with_below().map(|(required, _)| required)
    }

    /// Returns the wanted position with what a server has to have reached besides. Both are of one moment: when another call
    /// moves the floor up, its new position stands for what was below, and the former one does not.
    pub(crate) fn wanted_with_below(&self) -> Option<(RequiredPosition, Vec<Position>)> {
        self.read(|floor| {
            let required = RequiredPosition { position: floor.position?, behind: floor.behind };
            Some((required, floor.below.clone()))
        })
    }

    /// Returns the positions that make a floor, lowest first. A primary has to have them in its history.
    pub(crate) fn positions(&self) -> Vec<Position> {
        let all = |floor: &Floor| floor.unproven.iter().chain(&floor.below).chain(&floor.position).copied().collect();
        self.read(|floor| Some(all(floor))).unwrap_or_default()
    }

    /// Tells whether the position came from another node and is not confirmed yet.
    pub(crate) fn is_imported(&self) -> bool {
        self.read(|floor| Some(floor.imported)).unwrap_or_default()
    }

    /// Returns the position that a replica did not reach in time, if it is not known to have reached it since.
    pub(crate) fn behind(&self) -> Option<Position> {
        self.read(|floor| floor.behind)
    }

    /// Notes that a wait for `position` took too long, so that later reads do not wait again before a replica is there.
    pub(crate) fn fell_behind(&self, position: Position) {
        self.change(|floor| {
            let _ = floor.behind.get_or_insert(position);
        });
    }

    /// Notes that the replica has reached `position`.
    pub(crate) fn caught_up(&self, position: Position) {
        self.change(|floor| {
            let is_covered = floor.behind.is_some_and(|behind| {
                (behind.system_identifier, behind.timeline) == (position.system_identifier, position.timeline)
                    && behind.lsn <= position.lsn
                    && (behind == position || !behind.is_by_transaction())
            });
            if is_covered || floor.position == Some(position) {
                floor.behind = None;
            }
        });
    }

    /// Notes a read from this server, with the server's position after it if the answer contained one. `before` is the
    /// list of seen servers when the read began. If other calls ended in between, the position does not cover them.
    pub(crate) fn has_read(&self, server: &Database, position: Option<Position>, before: &[Seen]) {
        if server.is_spread() {
            // It may have been any of several servers. The primary stands for all of them.
            return self.has_read_primary();
        }
        self.note_ahead(server, None);
        let before = before.iter().find(|seen| seen.server.is(server)).map_or(0, |seen| seen.last_call);
        self.see(&server.downgrade(), server.moves(), |seen| {
            seen.position = position.filter(|_| seen.last_call == before);
        });
    }

    /// Notes a write on this server, at a position that it was not asked for.
    pub(crate) fn has_written(&self, server: &Database) {
        self.see(&server.downgrade(), server.moves(), Seen::write);
    }

    /// Notes that something may have been written at an unknown position. The primary has to be asked for one.
    pub(crate) fn lost_track(&self) {
        self.see(&WeakDatabase::default(), 0, Seen::write);
    }

    /// Notes a read from the primary at an unknown position. The primary has to be asked for one.
    pub(crate) fn has_read_primary(&self) {
        self.see(&WeakDatabase::default(), 0, Seen::read);
    }

    /// Tells whether there are writes whose positions are not known.
    pub(crate) fn has_unknown_writes(&self) -> bool {
        self.read(|floor| Some(floor.seen.iter().any(|seen| seen.wrote))).unwrap_or_default()
    }

    /// Moves the floor up to `position`, which covers the reads of a seen server, and the positions that the session had
    /// `before` if it is one by transaction. If there were more reads in between, the server remains on the list.
    pub(crate) fn settle(&self, asked: &Seen, before: &[Position], position: Position) {
        self.change(|floor| {
            floor.seen.settle(asked);
            if floor.position.is_none_or(|known| known.system_identifier == position.system_identifier) {
                floor.raise(position, before);
            }
        });
    }

    /// Returns the databases that have a floor.
    pub(crate) fn databases(&self) -> Vec<DatabaseName> {
        self.lock().iter().map(|floor| floor.database.clone()).collect()
    }

    fn raise(&self, position: Position, before: &[Position], imported: bool) {
        self.change(|floor| {
            if floor.raise(position, before) {
                floor.imported = imported;
            }
        });
    }

    fn see(&self, server: &WeakDatabase, moves: u64, change: impl FnOnce(&mut Seen)) {
        self.change(|floor| floor.seen.see(server, moves, change));
    }

    fn read<T>(&self, read: impl FnOnce(&Floor) -> Option<T>) -> Option<T> {
        self.lock().iter().find(|floor| floor.database == self.database).and_then(read)
    }

    fn change(&self, change: impl FnOnce(&mut Floor)) {
        let mut floors = self.lock();
        let known = floors.iter().position(|floor| floor.database == self.database);
        let index = known.unwrap_or_else(|| {
            floors.push(Floor { database: self.database.clone(), ..Floor::default() });
            floors.len() - 1
        });
        change(&mut floors[index]);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Floor>> {
        // No code under the lock panics in the middle of a change.
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::transaction_id::TransactionId;

    fn at(system: u64, timeline: u32, lsn: u64) -> Position {
        Position::new(system, timeline, lsn)
    }

    /// Returns all that a server has to have reached.
    fn wanted(session: &Session) -> (Position, Vec<Position>) {
        let (required, below) = session.wanted_with_below().unwrap();
        (required.position, below)
    }

    #[test]
    fn positions_only_go_forward() {
        let session = Session::default();
        assert_eq!(session.wanted(), None);
        for (next, expected) in [
            (at(7, 1, 100), at(7, 1, 100)),
            (at(7, 1, 90), at(7, 1, 100)),
            (at(7, 1, 110), at(7, 1, 110)),
            (at(7, 2, 50), at(7, 2, 50)),
            (at(7, 1, 500), at(7, 2, 50)),
            (at(8, 1, 1), at(8, 1, 1)),
        ] {
            session.advance(next);
            assert_eq!(session.wanted().unwrap().position, expected);
        }
    }

    #[test]
    fn write_covers_only_itself_by_its_transaction() {
        let write = |lsn, transaction: u64| at(7, 1, lsn).with_transaction(TransactionId::from(transaction));
        let session = Session::default();
        let check = |position, below: Option<u64>| {
            assert_eq!(wanted(&session), (position, below.map(|lsn| at(7, 1, lsn)).into_iter().collect()));
        };
        session.advance(write(100, 900));
        check(write(100, 900), None);
        session.advance(write(100, 900));
        check(write(100, 900), None);
        session.advance(at(7, 1, 50));
        check(write(100, 900), Some(50));
        session.advance(write(120, 901));
        check(write(120, 901), Some(100));
        session.advance(write(110, 902));
        check(write(120, 901), Some(110));
        // The place of a read includes all of it.
        session.advance(at(7, 1, 130));
        check(at(7, 1, 130), None);
        session.advance(write(140, 903));
        session.advance(at(7, 2, 10).with_transaction(TransactionId::from(904)));
        assert_eq!(wanted(&session).1, []);
    }

    #[test]
    fn write_stands_for_what_was_below() {
        let write = |transaction: u64| Position::by_transaction(7, 1, transaction);
        let session = Session::default();
        session.advance(write(900));
        session.advance(write(901));
        assert_eq!(wanted(&session), (write(901), vec![write(900)]));
        session.advance_past(&session.positions(), write(902));
        assert_eq!(wanted(&session), (write(902), vec![]));
    }

    #[test]
    fn another_id_does_not_end_being_behind() {
        let (behind, write) = (Position::by_transaction(7, 1, 900), Position::by_transaction(7, 1, 902));
        let session = Session::default();
        session.advance(write);
        session.fell_behind(behind);
        session.caught_up(Position::by_transaction(7, 1, 903));
        assert_eq!(session.behind(), Some(behind));
        session.caught_up(write);
        assert_eq!(session.behind(), None, "it is the floor");
    }

    #[test]
    fn transactions_survive_one_by_one() {
        let write = |timeline: u32, transaction: u64| Position::by_transaction(7, timeline, transaction);
        let session = Session::default();
        session.advance(write(1, 900));
        session.advance(write(1, 901));
        let before = session.positions();
        session.advance(write(1, 902));
        session.survived(&before, 2.into());
        assert_eq!(session.unproven(), [write(1, 902)]);
        assert_eq!(wanted(&session), (write(2, 901), vec![write(2, 900)]));
        session.lost(&[write(1, 902), write(2, 901)]);
        assert_eq!(session.positions(), [write(2, 900)]);
        assert!(session.has_unknown_writes());
    }

    #[test]
    fn earlier_timeline_is_kept_until_proven() {
        let session = Session::default();
        session.advance(at(7, 1, 100).with_transaction(TransactionId::from(900)));
        session.advance(at(7, 2, 50));
        session.import(at(7, 1, 120));
        assert_eq!(session.positions(), [at(7, 1, 120), at(7, 2, 50)]);
        session.survived(&session.positions(), 2.into());
        // All of it is in timeline 2, where it has the same number.
        assert_eq!(session.positions(), [at(7, 2, 120)]);
        session.survived(&session.positions(), 3.into());
        assert_eq!(session.positions(), [at(7, 3, 120)]);
        let write = at(7, 3, 130).with_transaction(TransactionId::from(901));
        session.advance(write);
        session.survived(&session.positions(), 4.into());
        assert_eq!(session.positions(), [at(7, 4, 120), Position { timeline: 4.into(), ..write }]);
        session.advance(at(8, 1, 1));
        assert_eq!(session.positions(), [at(8, 1, 1)]);
    }

    #[test]
    fn lost_positions_are_forgotten() {
        let session = Session::default();
        session.advance(at(7, 1, 100));
        let before = session.positions();
        session.advance(at(7, 2, 90));
        session.lost(&before);
        assert_eq!(session.positions(), [at(7, 2, 90)]);
        session.lost(&[at(7, 2, 90)]);
        assert_eq!(session.positions(), []);
        assert_eq!(session.losses(), 2);
        assert!(session.has_unknown_writes(), "later reads see what the primary has");
    }

    #[test]
    fn being_behind_ends_at_the_awaited_position() {
        let session = Session::default();
        session.advance(at(7, 1, 100));
        session.fell_behind(at(7, 1, 100));
        // Reads of the primary move the floor, and waits for that may fail too.
        session.advance(at(7, 1, 200));
        session.fell_behind(at(7, 1, 200));
        assert_eq!(session.wanted().unwrap().behind, Some(at(7, 1, 100)));
        session.caught_up(at(7, 1, 90));
        assert_eq!(session.behind(), Some(at(7, 1, 100)));
        session.caught_up(at(7, 1, 100));
        assert_eq!(session.behind(), None);
        session.fell_behind(at(7, 1, 200));
        session.advance(at(7, 2, 150));
        assert_eq!(session.behind(), None, "the numbers of a timeline say nothing about another one");
    }

    #[test]
    fn each_database_has_its_own_floor() {
        let session = Session::default();
        let analytics = session.of(&DatabaseName::new("analytics").unwrap());
        session.advance(at(7, 1, 100));
        assert_eq!(analytics.wanted(), None);
        analytics.advance(at(8, 1, 5));
        assert_eq!(session.wanted().unwrap().position, at(7, 1, 100));
        assert_eq!(session.clone().of(&analytics.database).wanted().unwrap().position, at(8, 1, 5));
        assert_eq!(session.databases().len(), 2);
        assert_eq!(session.renewed().databases().len(), 0);
    }

    #[test]
    fn lost_track_asks_the_primary_once() {
        let session = Session::default();
        assert!(session.seen_elsewhere(None).is_empty());
        assert!(!session.has_unknown_writes());
        session.has_read_primary();
        assert!(!session.has_unknown_writes());
        session.lost_track();
        assert!(session.has_unknown_writes());
        let [seen] = &session.seen_elsewhere(None)[..] else { panic!("the primary has to be asked") };
        assert!(seen.server().is_none());
        session.settle(seen, &[], at(7, 1, 100));
        assert!(session.seen_elsewhere(None).is_empty() && !session.has_unknown_writes());
        assert_eq!(session.wanted().unwrap().position, at(7, 1, 100));
    }

    #[test]
    fn settled_server_may_be_seen_anew() {
        let session = Session::default();
        session.has_read_primary();
        let asked = session.seen_elsewhere(None);
        // Two calls ask at the same time. Between their answers, a third one reads from the server.
        session.settle(&asked[0], &[], at(7, 1, 100));
        session.has_read_primary();
        session.settle(&asked[0], &[], at(7, 1, 100));
        assert_eq!(session.seen_elsewhere(None).len(), 1, "the position does not cover the read");
    }

    #[test]
    fn fork_is_independent() {
        let session = Session::default();
        session.advance(at(7, 1, 100));
        let fork = session.forked();
        fork.advance(at(7, 1, 200));
        assert_eq!(session.wanted().unwrap().position, at(7, 1, 100));
        session.advance(at(7, 1, 150));
        assert_eq!(fork.wanted().unwrap().position, at(7, 1, 200));
    }

    #[test]
    fn offered_position_can_be_declined_until_confirmed() {
        let session = Session::default();
        assert!(!session.decline());
        session.import(at(7, 1, 100));
        assert!(!session.decline(), "it was imported, not offered");
        session.offer(at(8, 1, 100));
        assert!(session.decline());
        assert_eq!(session.wanted(), None);
        session.offer(at(8, 1, 100));
        session.advance(at(8, 1, 110));
        assert!(!session.decline());
        assert_eq!(session.wanted().unwrap().position, at(8, 1, 110));
    }

    #[test]
    fn imported_position_stays_so_until_confirmed() {
        let session = Session::default();
        session.import(at(7, 1, 100));
        assert!(session.is_imported());
        session.advance(at(7, 1, 90));
        assert!(session.is_imported());
        session.advance(at(7, 1, 110));
        assert!(!session.is_imported());
        session.import(at(7, 1, 105));
        assert!(!session.is_imported());
    }
}
