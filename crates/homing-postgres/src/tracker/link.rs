//! [`Link`], a tracker's own connection to its server.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Error, Statement};

use super::history::History;
use super::probe::ProbeQuery;
use super::waiters::{Found, Wanted};
use crate::connection::address::Address;
use crate::connection::open::{ConnectError, DriverConnection};
use crate::position::SystemIdentifier;
use crate::position::state::ServerState;

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
    history: History,
}

impl Link {
    /// Connects and prepares the queries, which takes a few round trips.
    pub(super) async fn open(address: &Address) -> Result<Self, LinkError> {
        within(CONNECT_TIMEOUT, Self::connect(address)).await
    }

    async fn connect(address: &Address) -> Result<Self, ConnectError> {
        let (client, mut connection) = address.connect().await?;
        // A replica refuses every statement of a role whose default is serializable.
        let isolation = client.batch_execute("set default_transaction_isolation = 'repeatable read'");
        drive(&mut connection, isolation).await?;
        let row = drive(&mut connection, client.query_one(IDENTIFY, &[])).await?;
        let system: i64 = row.try_get(0)?;
        let may_list = row.try_get(1)?;
        let thorough_query = if may_list { ProbeQuery::ThoroughWithFiles } else { ProbeQuery::Thorough };
        let quick = drive(&mut connection, client.prepare(&ProbeQuery::Quick.sql())).await?;
        let thorough = drive(&mut connection, client.prepare(&thorough_query.sql())).await?;
        let history = History::new(SystemIdentifier::from(system.cast_unsigned()));
        Ok(Self { client, connection, quick, thorough, thorough_query, had_timeline: false, round_trip: None, history })
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
        Ok(Found { state: ServerState { round_trip: self.round_trip, ..state }, visible })
    }

    /// Runs a query. `None` if the answer does not show the timeline.
    async fn run(&mut self, query: ProbeQuery, wanted: &Wanted) -> Result<Option<Found>, Error> {
        let statement = if query == ProbeQuery::Quick { &self.quick } else { &self.thorough };
        let began = Instant::now();
        let row = drive(&mut self.connection, self.client.query_one(statement, &[&wanted.transactions])).await?;
        self.round_trip = Some(began.elapsed());
        let answer = query.read(&row)?;
        self.had_timeline = answer.timeline.is_some();
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
    TimedOut(Duration),
    Unclear,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Database(error) => error.fmt(f),
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
            Self::Unclear => f.write_str("the answer does not show the server's timeline"),
        }
    }
}

impl StdError for LinkError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Database(error) => error.source(),
            Self::Closed | Self::TimedOut(_) | Self::Unclear => None,
        }
    }
}

/// Asks for the cluster, and whether this role may list the files of the write-ahead log.
const IDENTIFY: &str = "select system_identifier, has_function_privilege('pg_catalog.pg_ls_waldir()', 'execute') \
                          from pg_control_system()";

/// How long it may take to connect and to prepare the queries: three round trips after those of TCP and the password.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a probe may take. It needs a round trip and some microseconds, so a server that takes this long counts as
/// lost.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the task waits for the connection to close. Nothing is lost if it does not.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
