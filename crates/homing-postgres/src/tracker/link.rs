//! [`Link`], a tracker's own connection to its server.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};
use tracing::warn;

use super::history::History;
use super::probe::ProbeQuery;
use super::waiters::{Found, Wanted};
use crate::connection::abilities::Abilities;
use crate::connection::address::Address;
use crate::connection::identity::{Fault, SessionMark, Sighting};
use crate::connection::known::{KnownServer, Noted};
use crate::connection::open::{ConnectError, DriverConnection};
use crate::position::SystemIdentifier;
use crate::position::kind::PositionKind;
use crate::position::state::{ServerId, ServerState};

/// A connection to the server, and the history that was learned on it.
///
/// A link has no task of its own. It is driven by each query while that runs, and by [`Link::lost`] in between.
pub(super) struct Link {
    client: Client,
    connection: DriverConnection,
    quick: Statement,
    thorough: Statement,
    thorough_query: ProbeQuery,
    /// Whether the last answer held the timeline, so that the quick query is enough.
    had_timeline: bool,
    /// How long the last query took.
    round_trip: Option<Duration>,
    server: ServerId,
    history: History,
}

impl Link {
    /// Connects and prepares the queries, which takes a few round trips. Notes in `known` which server it leads to.
    pub(super) async fn open(address: &Address, known: &KnownServer) -> Result<Self, LinkError> {
        if let Some(fault) = known.fault() {
            return Err(LinkError::Unusable(fault));
        }
        let link = within(address.opening_timeout(), Self::connect(address, known)).await?;
        known.fault().map_or(Ok(link), |fault| Err(LinkError::Unusable(fault)))
    }

    async fn connect(address: &Address, known: &KnownServer) -> Result<Self, ConnectError> {
        let (client, mut connection) = address.connect().await?;
        // A replica refuses every statement of a role whose default is serializable.
        let isolation = client.batch_execute("set default_transaction_isolation = 'repeatable read'");
        drive(&mut connection, isolation).await?;
        let (row, abilities) = drive(&mut connection, identify(&client, known)).await?;
        let sighting = Sighting::read(&row)?;
        let answers = async { drive(&mut connection, client.simple_query("")).await.map(drop) };
        if let Noted::Fault(fault) = known.meet(&sighting, None, abilities.positions, answers).await? {
            warn!(server = %address, %fault, "the address of the database cannot be used");
        }
        let may_list = row.try_get(Sighting::WIDTH)?;
        let thorough_query = match abilities.positions {
            PositionKind::Lsn if may_list => ProbeQuery::ThoroughWithFiles,
            PositionKind::Lsn => ProbeQuery::Thorough,
            PositionKind::Transaction => ProbeQuery::Transactions(abilities),
        };
        let thorough = drive(&mut connection, client.prepare(&thorough_query.sql())).await?;
        let quick = match abilities.positions {
            PositionKind::Lsn => drive(&mut connection, client.prepare(&ProbeQuery::Quick.sql())).await?,
            PositionKind::Transaction => thorough.clone(),
        };
        let server = sighting.id;
        let history = History::new(server.system_identifier);
        let (had_timeline, round_trip) = (false, None);
        Ok(Self { client, connection, quick, thorough, thorough_query, had_timeline, round_trip, server, history })
    }

    pub(super) fn server(&self) -> ServerId {
        self.server
    }

    pub(super) fn system(&self) -> SystemIdentifier {
        self.history.system()
    }

    /// Asks the server for its state.
    pub(super) async fn probe(&mut self, wanted: &Wanted) -> Result<Found, LinkError> {
        let Found { state, visible } = within(PROBE_TIMEOUT, async {
            if self.had_timeline
                && let Some(found) = self.run(ProbeQuery::Quick, wanted).await?
            {
                return Ok(Some(found));
            }
            self.run(self.thorough_query, wanted).await
        })
        .await?
        .ok_or(LinkError::Unclear)?;
        let (round_trip, server) = (self.round_trip, Some(self.server));
        Ok(Found { state: ServerState { round_trip, server, ..state }, visible })
    }

    /// Runs a query. `None` if the answer does not show the timeline.
    async fn run(&mut self, query: ProbeQuery, wanted: &Wanted) -> Result<Option<Found>, Error> {
        let statement = if query == ProbeQuery::Quick { &self.quick } else { &self.thorough };
        let began = Instant::now();
        let row = drive(&mut self.connection, self.client.query_one(statement, &[&wanted.transactions])).await?;
        self.round_trip = Some(began.elapsed());
        let answer = query.read(&row)?;
        // There is no quicker question about transactions.
        self.had_timeline = answer.timeline.is_some() && answer.positions == PositionKind::Lsn;
        let visible = ProbeQuery::read_visible(&row)?;
        let state = self.history.read(&answer, wanted.newest_timeline, Instant::now());
        Ok(state.map(|state| Found { state, visible }))
    }

    /// Returns when the server has closed the connection.
    ///
    /// Cancel safe.
    pub(super) async fn lost(&mut self) -> LinkError {
        match (&mut self.connection).await {
            Ok(()) => LinkError::Closed,
            Err(error) => LinkError::Database(error.into()),
        }
    }

    /// Tells the server that the connection ends.
    pub(super) async fn close(self) {
        drop(self.client);
        // Nothing depends on the result.
        let _ = timeout(CLOSE_TIMEOUT, self.connection).await;
    }
}

/// Asks which server it is, with the functions that it lets this role call.
async fn identify(client: &Client, known: &KnownServer) -> Result<(Row, Abilities), Error> {
    let mark = SessionMark::random();
    let mark = mark.as_str();
    let ask = |abilities: Abilities| async move {
        let may_list = if abilities.positions == PositionKind::Lsn { MAY_LIST_FILES } else { "false" };
        let sql = format!("select {}, {may_list}", Sighting::columns(abilities));
        client.query_typed_one(&sql, &[(&mark as &(dyn ToSql + Sync), Type::TEXT)]).await
    };
    Abilities::ask_with(known.abilities(), known.explore(client), ask).await
}

/// Drives the connection until `work`, which uses it, is done.
async fn drive<T>(connection: &mut DriverConnection, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased; // an answer that has arrived counts, even if the connection has ended after it
        result = &mut work => result,
        end = connection => match end {
            Ok(()) => work.await, // which now knows that the connection is closed
            Err(error) => Err(error),
        },
    }
}

async fn within<T, E: Into<ConnectError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, LinkError> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(|error| LinkError::Database(error.into())),
        Err(_) => Err(LinkError::TimedOut(limit)),
    }
}

/// Why a connection could not be made or was lost.
#[derive(Debug)]
pub(super) enum LinkError {
    Closed,
    Database(ConnectError),
    /// Other connections of the same address lead to another server.
    Replaced,
    TimedOut(Duration),
    Unclear,
    Unusable(Fault),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Database(error) => error.fmt(f),
            Self::Replaced => f.write_str("the address leads to another server now"),
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
            Self::Unclear => f.write_str("the answer does not show the server's timeline"),
            Self::Unusable(fault) => write!(f, "the address cannot be used: {fault}"),
        }
    }
}

impl StdError for LinkError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Database(error) => error.source(),
            Self::Closed | Self::Replaced | Self::TimedOut(_) | Self::Unclear | Self::Unusable(_) => None,
        }
    }
}

/// Whether this role may list the files of the write-ahead log.
const MAY_LIST_FILES: &str = "has_function_privilege('pg_catalog.pg_ls_waldir()', 'execute')";

/// How long a probe may take. It needs a round trip and some microseconds, so a server that takes this long counts as
/// lost.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the task waits for the connection to close. Nothing is lost if it does not.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
