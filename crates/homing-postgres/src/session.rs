//! What a handle has written and read, and so what its reads have to see.

pub(crate) mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::database::Database;
use crate::database::WeakDatabase;
use crate::position::Position;
use crate::scope::DatabaseName;

/// What every read has to see. Shared by the clones of a handle, with a floor for each database; this is a view on the
/// floor of one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    floors: Arc<Mutex<Vec<Floor>>>,
    database: DatabaseName,
}

/// What the reads of one database have to see.
#[derive(Debug, Clone, Default)]
struct Floor {
    database: DatabaseName,
    position: Option<Position>,
    behind: bool,
    imported: bool,
    offered: bool,
    seen: Vec<Seen>,
}

/// What a read has to see, and whether a wait for it has failed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequiredPosition {
    pub(crate) position: Position,
    pub(crate) behind: bool,
}

/// A server that reads were answered by, perhaps gone by now, and how many. How far it was is asked once it matters, when
/// the next read goes to another server or the session to another node: to ask it at each read would cost a round trip.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    server: WeakDatabase,
    reads: u64,
    /// How far it was after the last of them, if it said so with the answer.
    position: Option<Position>,
}

impl Session {
    /// The same session, seen from another database.
    pub(crate) fn of(&self, database: &DatabaseName) -> Self {
        Self { floors: Arc::clone(&self.floors), database: database.clone() }
    }

    /// A session of its own that has to see nothing yet.
    pub(crate) fn renewed(&self) -> Self {
        Self { floors: Arc::default(), database: self.database.clone() }
    }

    /// A session of its own that has to see what this one has.
    pub(crate) fn forked(&self) -> Self {
        let floors = self.lock().clone();
        Self { floors: Arc::new(Mutex::new(floors)), database: self.database.clone() }
    }

    /// From now on, reads have to see this position too.
    pub(crate) fn advance(&self, position: Position) {
        self.change(|floor| {
            if floor.position.is_none_or(|known| is_after(position, known)) {
                floor.position = Some(position);
                floor.imported = false;
            }
        });
    }

    /// As [`advance`](Self::advance), with a position of another node: whether there is such a database has to be seen.
    pub(crate) fn import(&self, position: Position) {
        self.change(|floor| {
            if floor.position.is_none_or(|known| is_after(position, known)) {
                floor.position = Some(position);
                floor.imported = true;
            }
        });
    }

    /// As [`import`](Self::import), and if there is no such database after all, it is as if it had never come.
    pub(crate) fn offer(&self, position: Position) {
        self.import(position);
        self.change(|floor| floor.offered |= floor.imported);
    }

    /// The imported position turned out to be of another cluster: whether it can be left out, and then it is.
    pub(crate) fn decline(&self) -> bool {
        let mut declined = false;
        self.change(|floor| {
            declined = floor.imported && floor.offered;
            if declined {
                *floor = Floor {
                    database: floor.database.clone(),
                    seen: std::mem::take(&mut floor.seen),
                    ..Floor::default()
                };
            }
        });
        declined
    }

    pub(crate) fn wanted(&self) -> Option<RequiredPosition> {
        self.read(|floor| floor.position.map(|position| RequiredPosition { position, behind: floor.behind }))
    }

    /// Whether the position came from another node and nothing was read or written by it since.
    pub(crate) fn is_imported(&self) -> bool {
        self.read(|floor| Some(floor.imported)).unwrap_or_default()
    }

    /// Whether a wait has failed and nothing has been heard of the replica since.
    pub(crate) fn is_behind(&self) -> bool {
        self.read(|floor| Some(floor.behind)).unwrap_or_default()
    }

    /// A wait for the position took too long: do not wait again at each read.
    pub(crate) fn fell_behind(&self) {
        self.change(|floor| floor.behind = true);
    }

    /// The replica has reached `position`.
    pub(crate) fn caught_up(&self, position: Position) {
        self.change(|floor| {
            if floor.position == Some(position) {
                floor.behind = false;
            }
        });
    }

    /// A read was answered by this server, which was this far afterwards, if it said so. `before` is what the session had
    /// seen when the read began: of reads that ended in between the position says nothing.
    pub(crate) fn has_read(&self, server: &Database, position: Option<Position>, before: &[Seen]) {
        let before = before.iter().find(|seen| seen.server.is(server)).map_or(0, |seen| seen.reads);
        self.change(|floor| match floor.seen.iter_mut().find(|seen| seen.server.is(server)) {
            Some(seen) => {
                seen.position = position.filter(|_| seen.reads == before);
                seen.reads += 1;
            }
            None => {
                let position = position.filter(|_| before == 0);
                floor.seen.push(Seen { server: server.downgrade(), reads: before + 1, position });
            }
        });
    }

    /// Something may have been written of which nobody knows the position: the primary has to be asked for one.
    pub(crate) fn lost_track(&self) {
        let nobody = WeakDatabase::default();
        self.change(|floor| match floor.seen.iter_mut().find(|seen| seen.server.is_same(&nobody)) {
            Some(seen) => seen.reads += 1,
            None => floor.seen.push(Seen { server: nobody, reads: 1, position: None }),
        });
    }

    /// Whether [`lost_track`](Self::lost_track) holds.
    pub(crate) fn has_lost_track(&self) -> bool {
        let nobody = WeakDatabase::default();
        self.read(|floor| Some(floor.seen.iter().any(|seen| seen.server.is_same(&nobody)))).unwrap_or_default()
    }

    /// The servers that reads were answered by, of which nobody has asked how far they were; without `here`.
    pub(crate) fn seen_elsewhere(&self, here: Option<&Database>) -> Vec<Seen> {
        self.read(|floor| {
            let elsewhere = floor.seen.iter().filter(|seen| here.is_none_or(|here| !seen.server.is(here)));
            Some(elsewhere.cloned().collect())
        })
        .unwrap_or_default()
    }

    /// What was read by then is not after `position`. Reads that came in between have to be asked for again.
    pub(crate) fn settle(&self, asked: &Seen, position: Position) {
        self.change(|floor| {
            floor.seen.retain(|seen| !(seen.server.is_same(&asked.server) && seen.reads == asked.reads));
            let of_this_cluster = |known: Position| known.system_identifier == position.system_identifier;
            if floor.position.is_none_or(|known| of_this_cluster(known) && is_after(position, known)) {
                floor.position = Some(position);
            }
        });
    }

    /// The databases of which there is something to see.
    pub(crate) fn databases(&self) -> Vec<DatabaseName> {
        self.lock().iter().map(|floor| floor.database.clone()).collect()
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
        // Nothing that runs under the lock panics in the middle of a change.
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// How far the server was, if it said so.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// The server, if it is still there.
    pub(crate) fn server(&self) -> Option<Database> {
        self.server.upgrade()
    }
}

/// Positions of another cluster or a later timeline replace what was known: they are newer writes, and no number of the
/// old history says anything about them.
fn is_after(position: Position, known: Position) -> bool {
    if position.system_identifier != known.system_identifier {
        return true;
    }
    (position.timeline, position.lsn) > (known.timeline, known.lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(system: u64, timeline: u32, lsn: u64) -> Position {
        Position { system_identifier: system.into(), timeline: timeline.into(), lsn: lsn.into() }
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
    fn being_behind_ends_with_the_position_that_was_waited_for() {
        let session = Session::default();
        session.advance(at(7, 1, 100));
        session.fell_behind();
        session.advance(at(7, 1, 200));
        session.caught_up(at(7, 1, 100));
        assert!(session.wanted().unwrap().behind);
        session.caught_up(at(7, 1, 200));
        assert!(!session.wanted().unwrap().behind);
    }

    #[test]
    fn each_database_has_a_floor_of_its_own() {
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
    fn what_nobody_knows_is_asked_once() {
        let session = Session::default();
        assert!(session.seen_elsewhere(None).is_empty());
        assert!(!session.has_lost_track());
        session.lost_track();
        assert!(session.has_lost_track());
        let [seen] = &session.seen_elsewhere(None)[..] else { panic!("somebody has to be asked") };
        assert!(seen.server().is_none());
        session.settle(seen, at(7, 1, 100));
        assert!(session.seen_elsewhere(None).is_empty() && !session.has_lost_track());
        assert_eq!(session.wanted().unwrap().position, at(7, 1, 100));
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let session = Session::default();
        session.advance(at(7, 1, 100));
        let fork = session.forked();
        fork.advance(at(7, 1, 200));
        assert_eq!(session.wanted().unwrap().position, at(7, 1, 100));
        session.advance(at(7, 1, 150));
        assert_eq!(fork.wanted().unwrap().position, at(7, 1, 200));
    }

    #[test]
    fn what_was_offered_can_be_declined_until_this_node_knows_better() {
        let session = Session::default();
        assert!(!session.decline());
        session.import(at(7, 1, 100));
        assert!(!session.decline(), "it was asked for");
        session.offer(at(8, 1, 100));
        assert!(session.decline());
        assert_eq!(session.wanted(), None);
        session.offer(at(8, 1, 100));
        session.advance(at(8, 1, 110));
        assert!(!session.decline());
        assert_eq!(session.wanted().unwrap().position, at(8, 1, 110));
    }

    #[test]
    fn what_was_imported_is_so_until_this_node_knows_better() {
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
