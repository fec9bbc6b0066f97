//! [`Choose`], the rule by which a read chooses its replica.

use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;

use super::member::{Member, Origin};
use super::status::Health;
use crate::connection::session_attrs::Admission;
use crate::position::Position;

/// How a read chooses among the replicas that are up and not too far behind.
///
/// A replica that has already reached the session's position is preferred to one for which the read would have to wait.
/// With [`Nearest`](Self::Nearest), that holds only if the replica is about as near as the nearest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Choose {
    /// The replica with the shortest measured round trip, or any of several that are about as near. In the primary
    /// region, reads go to the primary itself, which is never behind.
    #[default]
    Nearest,

    /// Any replica, so that the reads are spread over all of them. Reads go to the primary only without a replica.
    ///
    /// When a session changes from one replica to another, the read asks the one before how far it was. With this rule,
    /// that is often.
    Random,

    /// The replica that is the least behind, as far as this node knows. Reads go to the primary only without a replica.
    ///
    /// Sessions may change replicas often, with the same cost as for [`Random`](Self::Random).
    LeastLag,
}

/// The facts about one member by which a choice is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) kind: MemberKind,
    pub(super) health: Health,
    pub(super) round_trip: Option<Duration>,
    pub(super) lag: Option<Duration>,
    pub(super) admission: Admission,
    /// Whether it is known to have reached the session's position.
    pub(super) has_reached: bool,
}

impl Candidate {
    /// `is_local_primary` tells whether this node writes to it.
    pub(super) fn of(member: &Member, is_local_primary: bool, position: Option<Position>) -> Self {
        let kind = match (member.origin, member.is_primary()) {
            (Origin::OwnPrimary, true) if is_local_primary => MemberKind::OwnPrimary,
            (_, true) => MemberKind::Primary,
            (_, false) => MemberKind::Replica,
        };
        Self {
            kind,
            health: member.status.health,
            round_trip: member.status.round_trip,
            lag: member.status.lag,
            admission: member.admission(),
            has_reached: position.is_some_and(|position| member.is_known_to_have_reached(position)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    /// The primary that was given to this node as its own.
    OwnPrimary,

    /// A replica that was promoted, or another primary in the list.
    Primary,

    Replica,
}

/// The members that a read accepts, and its rule for choosing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// A member that is up and not too far behind.
    Usable(Choose),

    /// A member that is up, after a wait that took too long: one that has reached the position is preferred at any
    /// distance.
    Reached(Choose),

    /// A member that the read asks for by name, even if it is too far behind.
    ByHand(Choose),
}

/// Returns the index of the candidate to use. A pure function.
pub(super) fn choose(candidates: &[Candidate], preference: Preference, rng: &mut impl Rng) -> Option<usize> {
    let (choose, is_enough): (_, fn(Health) -> bool) = match preference {
        Preference::Usable(choose) | Preference::Reached(choose) => (choose, |health| health == Health::Up),
        Preference::ByHand(choose) => (choose, |health| health != Health::Down),
    };
    let usable = || candidates.iter().enumerate().filter(|(_, candidate)| is_enough(candidate.health));
    let has_first = usable().any(|(_, candidate)| candidate.admission == Admission::Yes);
    let usable = || usable().filter(|(_, candidate)| candidate.admission == Admission::Yes || !has_first);
    let own = usable().find(|(_, candidate)| candidate.kind == MemberKind::OwnPrimary);
    if let Some((index, _)) = own
        && choose == Choose::Nearest
    {
        return Some(index);
    }
    // If this node has a primary of its own, another primary is the same server by another name, or a mistake.
    let others = |candidate: &Candidate| match choose {
        Choose::Nearest => true,
        Choose::Random | Choose::LeastLag => candidate.kind == MemberKind::Replica,
    };
    let mut chosen: Vec<_> = usable().filter(|(_, candidate)| others(candidate)).collect();
    if chosen.is_empty() {
        return own.or_else(|| usable().next()).map(|(index, _)| index);
    }
    prefer_reached(&mut chosen, choose, matches!(preference, Preference::Reached(_)));
    match choose {
        Choose::Nearest => keep_nearest(&mut chosen),
        Choose::Random => {}
        Choose::LeastLag => keep_least_lag(&mut chosen),
    }
    chosen.into_iter().map(|(index, _)| index).choose(rng)
}

fn prefer_reached(chosen: &mut Vec<(usize, &Candidate)>, choose: Choose, at_any_distance: bool) {
    let limit = match choose {
        Choose::Nearest if !at_any_distance => shortest(chosen).map(|shortest| shortest + WORTH_A_WAIT),
        _ => None,
    };
    let is_near = |candidate: &Candidate| match (limit, candidate.round_trip) {
        (Some(limit), Some(round_trip)) => round_trip <= limit,
        (Some(_), None) => false,
        (None, _) => true,
    };
    if chosen.iter().any(|(_, candidate)| candidate.has_reached && is_near(candidate)) {
        chosen.retain(|(_, candidate)| candidate.has_reached && is_near(candidate));
    }
}

/// Keeps the candidates that are about as near as the nearest. One without a measurement stays only if all are without.
fn keep_nearest(chosen: &mut Vec<(usize, &Candidate)>) {
    if let Some(shortest) = shortest(chosen) {
        let limit = shortest + shortest / 4 + AS_NEAR;
        chosen.retain(|(_, candidate)| candidate.round_trip.is_some_and(|round_trip| round_trip <= limit));
    }
}

fn shortest(chosen: &[(usize, &Candidate)]) -> Option<Duration> {
    chosen.iter().filter_map(|(_, candidate)| candidate.round_trip).min()
}

fn keep_least_lag(chosen: &mut Vec<(usize, &Candidate)>) {
    let lag = |candidate: &Candidate| candidate.lag.unwrap_or(Duration::MAX);
    let Some(least) = chosen.iter().map(|(_, candidate)| lag(candidate)).min() else { return };
    chosen.retain(|(_, candidate)| lag(candidate) <= least);
}

/// Besides a quarter, the difference between round trips that counts as none: those of one place vary by about as much.
const AS_NEAR: Duration = Duration::from_micros(500);

/// How much farther a replica may be to be preferred for having reached the position. Replay is usually milliseconds
/// behind, so waiting for the nearest replica is quicker than asking one that is farther away than this.
const WORTH_A_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const UP: Candidate = Candidate {
        kind: MemberKind::Replica,
        health: Health::Up,
        round_trip: None,
        lag: Some(Duration::ZERO),
        admission: Admission::Yes,
        has_reached: false,
    };

    fn at(millis: u64) -> Candidate {
        Candidate { round_trip: Some(Duration::from_millis(millis)), ..UP }
    }

    fn behind(millis: u64, candidate: Candidate) -> Candidate {
        Candidate { lag: Some(Duration::from_millis(millis)), ..candidate }
    }

    fn reached(candidate: Candidate) -> Candidate {
        Candidate { has_reached: true, ..candidate }
    }

    fn is(health: Health, candidate: Candidate) -> Candidate {
        Candidate { health, ..candidate }
    }

    fn kind(kind: MemberKind, candidate: Candidate) -> Candidate {
        Candidate { kind, ..candidate }
    }

    /// All that are chosen, given time.
    #[track_caller]
    fn check(candidates: &[Candidate], preference: Preference, expected: &[usize]) {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut chosen: Vec<_> = (0..200).filter_map(|_| choose(candidates, preference, &mut rng)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen, expected, "{preference:?} of {candidates:?}");
    }

    #[test]
    fn the_nearest_is_the_one_with_the_shortest_round_trip() {
        let nearest = Preference::Usable(Choose::Nearest);
        check(&[], nearest, &[]);
        check(&[UP], nearest, &[0]);
        check(&[at(90), at(1), at(200)], nearest, &[1]);
        check(&[at(90), UP], nearest, &[0]);
        check(&[UP, UP], nearest, &[0, 1]);
        check(&[at(100), at(110), at(130)], nearest, &[0, 1]);
        check(&[behind(900, at(1)), at(90)], nearest, &[0]);
    }

    #[test]
    fn random_is_any_replica_and_least_lag_the_one_that_is_behind_the_least() {
        let farther = [at(90), behind(5, at(1)), at(200)];
        check(&farther, Preference::Usable(Choose::Random), &[0, 1, 2]);
        check(&farther, Preference::Usable(Choose::LeastLag), &[0, 2]);
        let unknown = Candidate { lag: None, ..UP };
        check(&[unknown, behind(900, UP)], Preference::Usable(Choose::LeastLag), &[1]);
        check(&[unknown], Preference::Usable(Choose::LeastLag), &[0]);
    }

    #[test]
    fn who_is_down_or_too_far_behind_is_left_out() {
        for choose in [Choose::Nearest, Choose::Random, Choose::LeastLag] {
            let candidates = [is(Health::Down, at(1)), is(Health::TooFarBehind, at(2)), at(90)];
            check(&candidates, Preference::Usable(choose), &[2]);
            check(&candidates[..2], Preference::Usable(choose), &[]);
            check(&candidates[..2], Preference::ByHand(choose), &[1]);
            check(&candidates[..1], Preference::ByHand(choose), &[]);
        }
    }

    #[test]
    fn who_has_reached_the_position_comes_first() {
        let candidates = [at(1), reached(at(9)), reached(at(90))];
        check(&candidates, Preference::Usable(Choose::Nearest), &[1]);
        check(&candidates, Preference::Usable(Choose::Random), &[1, 2]);
        check(&candidates, Preference::Usable(Choose::LeastLag), &[1, 2]);
    }

    #[test]
    fn a_short_wait_for_the_nearest_is_better_than_a_long_way() {
        let candidates = [at(1), reached(at(90))];
        check(&candidates, Preference::Usable(Choose::Nearest), &[0]);
        check(&candidates, Preference::Reached(Choose::Nearest), &[1]);
        check(&[at(1), at(90)], Preference::Reached(Choose::Nearest), &[0]);
    }

    #[test]
    fn the_primary_of_its_own_comes_first_unless_reads_are_to_be_spread() {
        let candidates = [kind(MemberKind::OwnPrimary, UP), at(1), kind(MemberKind::Primary, at(1))];
        check(&candidates, Preference::Usable(Choose::Nearest), &[0]);
        check(&candidates, Preference::Usable(Choose::Random), &[1]);
        check(&candidates, Preference::Usable(Choose::LeastLag), &[1]);
        let without = [kind(MemberKind::OwnPrimary, UP), is(Health::Down, at(1))];
        check(&without, Preference::Usable(Choose::Random), &[0]);
    }

    #[test]
    fn a_promoted_replica_is_read_from_by_distance_and_spread_to_last() {
        let candidates = [kind(MemberKind::Primary, at(90)), at(1)];
        check(&candidates, Preference::Usable(Choose::Nearest), &[1]);
        check(&candidates, Preference::Usable(Choose::Random), &[1]);
        check(&candidates[..1], Preference::Usable(Choose::Random), &[0]);
    }
}
