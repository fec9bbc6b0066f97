//! [`Identity`], the server that the connections to one address lead to. Pure: the time is an argument.
//!
//! A position is reached on one server, so the pool and the tracker of an address have to be connected to the same one. A
//! restart or a failover behind the address replaces the server; a load balancer leads to several at the same time. And the
//! state of a session has to stay with its connection, which it does not behind a transaction pooler.
//!
//! The evidence comes with the first answer of each connection, without a question of its own ([`Sighting`]):
//!
//! - **Another server.** Each server knows when it was started. A connection to a server that had been replaced, and which
//!   still answers, proves that there are two servers.
//! - **A shared session.** Each connection leaves a random mark in its session. PostgreSQL begins each session without one, and
//!   a pooler in session mode resets it. A new connection that finds a mark, or an old one that does not find its own, proves
//!   that the session is not its own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Error, Row};

use super::abilities::Abilities;
use crate::position::SystemIdentifier;
use crate::position::state::ServerId;

/// The mark that a connection leaves in its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionMark(String);

/// The server and the session that a connection has found.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) id: ServerId,
    /// The address at which the server accepted the connection, which is not that of a load balancer. `None` for a Unix
    /// socket.
    accepted_at: Option<SocketAddr>,
    /// The mark that was in the session.
    mark: SessionMark,
}

/// The server that the connections to one address lead to, and those that they led to before.
#[derive(Debug, Default)]
pub(super) struct Identity {
    current: Option<(ServerId, Option<SocketAddr>)>,
    /// The servers that were replaced, and when; the last one at the end. At most [`MAX_FORMER`].
    former: Vec<(ServerId, Instant)>,
    fault: Option<(Fault, Instant)>,
}

/// The meaning of a sighting.
///
/// Closed: the caller has to handle each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It is the server that is known, or the first one.
    Same,

    /// It is another server, or the server was started again: nothing that is known of the server before holds.
    Replaced(Replacement),

    /// It is a server that had been replaced. If it answers, there are two at the same time.
    Returned,
}

/// How a server was replaced.
///
/// Closed: it has no third way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// By a server of the same address, as far as the server knows it: it was started again.
    Restart,

    /// By a server of another address.
    Move,
}

/// Why an address cannot be used.
///
/// Closed: each has its own advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two connections lead to different servers.
    SeveralServers,

    /// A session changes its connection.
    SharedSession,
}

impl SessionMark {
    /// Returns a mark that no other connection has.
    pub(crate) fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Sighting {
    /// Returns the columns of a query that tell what a connection has found. `$1` is the [`SessionMark`] that it leaves.
    ///
    /// PostgreSQL evaluates them in their order, so the mark is read before it is set. Every role may call the functions of
    /// [`COLUMNS`](Self::COLUMNS).
    pub(crate) fn columns(abilities: Abilities) -> String {
        let cluster = if abilities.cluster { CLUSTER } else { CLUSTER_OF_DATABASE };
        format!("{cluster}, {}", Self::COLUMNS)
    }

    const COLUMNS: &str = "\
        (extract(epoch from pg_postmaster_start_time()) * 1000000)::int8, \
        inet_server_addr(), inet_server_port(), \
        coalesce(current_setting('homing.connection', true), ''), \
        set_config('homing.connection', $1, false)";

    /// How many columns these are.
    pub(crate) const WIDTH: usize = 6;

    /// Reads the columns of a row that begins with them.
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        let system_identifier = SystemIdentifier::from(row.try_get::<_, i64>(0)?.cast_unsigned());
        let id = ServerId { system_identifier, started_at: row.try_get(1)? };
        let (ip, port) = (row.try_get::<_, Option<IpAddr>>(2)?, row.try_get::<_, Option<i32>>(3)?);
        let accepted_at = ip.zip(port.and_then(|port| u16::try_from(port).ok())).map(SocketAddr::from);
        Ok(Self { id, accepted_at, mark: SessionMark(row.try_get(4)?) })
    }

    /// Returns whether the session is one that other connections use too. `mark` is the one that this connection has left
    /// before; `None` if it is new.
    pub(super) fn is_shared(&self, mark: Option<&SessionMark>) -> bool {
        self.mark.as_str() != mark.map_or("", SessionMark::as_str)
    }
}

impl Identity {
    /// Notes that a connection has found this server.
    pub(super) fn meet(&mut self, sighting: &Sighting, now: Instant) -> Meeting {
        self.former.retain(|(_, replaced_at)| now < *replaced_at + FORMER_MEMORY);
        let Some((known, accepted_at)) = self.current else {
            self.current = Some((sighting.id, sighting.accepted_at));
            return Meeting::Same;
        };
        if known == sighting.id {
            return Meeting::Same;
        }
        if self.former.iter().any(|(former, _)| *former == sighting.id) {
            return Meeting::Returned;
        }
        if self.former.len() == MAX_FORMER {
            self.former.remove(0);
        }
        self.former.push((known, now));
        self.current = Some((sighting.id, sighting.accepted_at));
        let is_same_place = accepted_at == sighting.accepted_at;
        Meeting::Replaced(if is_same_place { Replacement::Restart } else { Replacement::Move })
    }

    /// Returns whether this is the server that the connections lead to now.
    pub(super) fn is(&self, id: ServerId, now: Instant) -> bool {
        self.fault(now).is_none() && self.current.is_none_or(|(known, _)| known == id)
    }

    /// Returns whether a server is of the cluster to which the connections lead.
    pub(super) fn is_of_cluster(&self, id: ServerId) -> bool {
        self.current.is_none_or(|(known, _)| known.system_identifier == id.system_identifier)
    }

    /// Notes that the address cannot be used. Returns whether that is news.
    pub(super) fn blame(&mut self, fault: Fault, now: Instant) -> bool {
        let is_news = self.last_fault(now) != Some(fault);
        self.fault = Some((fault, now));
        is_news
    }

    /// Returns the last fault, if it was not long ago.
    pub(super) fn last_fault(&self, now: Instant) -> Option<Fault> {
        self.fault.filter(|(_, at)| now < *at + FAULT_MEMORY).map(|(fault, _)| fault)
    }

    /// Returns why the address cannot be used now.
    pub(super) fn fault(&self, now: Instant) -> Option<Fault> {
        self.fault.filter(|(_, at)| now < *at + FAULT_PAUSE).map(|(fault, _)| fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SeveralServers => {
                "two connections to it lead to different servers, as through a load balancer: connect to one PostgreSQL \
                 server directly (port 5432 by default), and list replicas one by one; replicas behind a load balancer can be \
                 used by transaction (HOMING_POSITIONS=transaction)"
            }
            Self::SharedSession => {
                "a session of PostgreSQL changes between connections, as behind pgbouncer in transaction or statement mode: \
                 connect to PostgreSQL directly (port 5432 by default), or to a pooler in session mode (pool_mode = session)"
            }
        })
    }
}

impl std::error::Error for Fault {}

/// The system identifier.
const CLUSTER: &str = "(select system_identifier from pg_control_system())";

/// A number in its place that all servers of the cluster share, since replicas have the OIDs of their primary.
const CLUSTER_OF_DATABASE: &str = "\
    (select ('x' || left(encode(sha256(convert_to('homing ' || oid || ' ' || datname, 'UTF8')), 'hex'), 16))::bit(64)::int8 \
     from pg_database where datname = current_database())";

/// How long a server that was replaced is remembered. A load balancer leads back to it much sooner, if this node has calls
/// that need new connections.
const FORMER_MEMORY: Duration = Duration::from_secs(60);

/// How many such servers are remembered: more than a load balancer usually has.
const MAX_FORMER: usize = 32;

/// How long no connection is opened after a fault: an address that was mended is soon used again, and one that was not
/// costs little.
const FAULT_PAUSE: Duration = Duration::from_secs(10);

/// How long a fault that comes back is not news.
const FAULT_MEMORY: Duration = Duration::from_secs(600);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sighting(started_at: i64, host: u8) -> Sighting {
        let id = ServerId { system_identifier: 7.into(), started_at };
        let accepted_at = Some(SocketAddr::from(([10, 0, 0, host], 5432)));
        Sighting { id, accepted_at, mark: SessionMark(String::new()) }
    }

    #[tokio::test(start_paused = true)]
    async fn returning_server_is_noticed() {
        use Meeting::{Replaced, Returned, Same};
        let (mut identity, start) = (Identity::default(), Instant::now());
        for (seconds, started_at, host, meeting) in [
            (0, 1, 1, Same),
            (1, 1, 1, Same),
            (2, 5, 1, Replaced(Replacement::Restart)),
            (3, 7, 2, Replaced(Replacement::Move)),
            (4, 5, 1, Returned),
            (5, 1, 1, Returned),
            (6, 7, 2, Same),
            // The first one was replaced a minute ago.
            (62, 1, 1, Replaced(Replacement::Move)),
            (62, 5, 1, Returned),
            (122, 7, 2, Replaced(Replacement::Move)),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(identity.meet(&sighting(started_at, host), now), meeting, "after {seconds} s");
        }
        let now = Instant::now();
        assert!(identity.is(sighting(7, 2).id, now) && !identity.is(sighting(1, 1).id, now));
    }

    #[tokio::test(start_paused = true)]
    async fn faulty_address_is_tried_again() {
        let (mut identity, start) = (Identity::default(), Instant::now());
        let (id, fault) = (sighting(1, 1).id, Fault::SharedSession);
        identity.meet(&sighting(1, 1), start);
        assert!(identity.is(id, start));
        assert!(identity.blame(fault, start));
        assert!(!identity.is(id, start));
        let later = start + FAULT_PAUSE;
        assert_eq!([start, later].map(|now| identity.fault(now)), [Some(fault), None]);
        assert!(identity.is(id, later));
        assert!(!identity.blame(fault, later), "it was known");
        assert!(identity.blame(fault, later + FAULT_MEMORY));
    }

    #[test]
    fn mark_of_another_connection_tells() {
        let (own, other) = (SessionMark::random(), SessionMark::random());
        for (found, left, is_shared) in
            [("", None, false), (other.as_str(), None, true), (own.as_str(), Some(&own), false), ("", Some(&own), true)]
        {
            let sighting = Sighting { mark: SessionMark(found.into()), ..sighting(1, 1) };
            assert_eq!(sighting.is_shared(left), is_shared, "{found:?} {left:?}");
        }
    }
}
