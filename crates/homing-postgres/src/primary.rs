//! [`Primary`], the way to the primary in this region or another one.

pub(crate) mod attempts;
mod cluster;
pub(crate) mod copy;
pub(crate) mod execute;
pub(crate) mod outcome;
pub(crate) mod pauses;
mod prepare;
pub(crate) mod query;
mod region;
pub(crate) mod rejection;
mod search;
mod step_limit;
pub(crate) mod stream;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use homing_proto::v1::database_client::DatabaseClient;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, PeerName, Region, Retry, Rpc};
use tokio::time::Instant;
use tonic::{Response, Status};
use tracing::{Instrument, debug_span};

use self::region::PrimaryRegion;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::outcome::protection::Protection;
use crate::position::role::Role;
use crate::replicas::{Member, Replicas};
use crate::scope::schema::Schema;
use crate::scope::{LocalSettings, Scope};

/// The way to the primary of one database, with the local settings of one handle.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    rpc: Rpc,
    replicas: Replicas,
    scope: Scope,
    region: Arc<PrimaryRegion>,
    pub(crate) protection: Arc<Protection>,
}

/// Where the primary was found.
enum Found {
    Here(Arc<Member>),
    Region,
}

/// A request to the primary, which may be local or behind a peer.
pub(crate) trait PrimaryRequest: Sync {
    type Answer: Send;

    /// Returns the deadline of the answer.
    fn answer_by(&self) -> Instant;

    /// Asks a local database.
    fn run_locally(&self, primary: &Primary, member: &Arc<Member>)
    -> impl Future<Output = Result<Self::Answer>> + Send;

    /// Asks a peer in the primary region.
    fn forward(&self, primary: &Primary) -> impl Future<Output = Result<Self::Answer>> + Send;
}

impl Primary {
    pub(crate) fn new(rpc: Rpc, replicas: Replicas, scope: Scope) -> Self {
        Self { rpc, replicas, scope, region: Arc::default(), protection: Arc::default() }
    }

    /// Returns the way to the same database, in another schema or with other local settings.
    pub(crate) fn in_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the schema in which statements run, on replicas and on the primary.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.scope.local.schema.as_ref()
    }

    /// Returns the schema and the settings with which each transaction begins, on replicas and on the primary.
    pub(crate) fn local(&self) -> &LocalSettings {
        &self.scope.local
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// Returns the region in which the primary is, as far as this node knows.
    pub(crate) fn region(&self) -> Region {
        let topology = self.rpc.topology();
        match self.replicas.local_primary() {
            Some(member) if member.answers() => topology.region().clone(),
            _ => self.region.found().unwrap_or_else(|| topology.primary_region().clone()),
        }
    }

    /// Returns the database that reads go to by default.
    pub(crate) fn database(&self) -> Option<Database> {
        self.replicas.nearest().map(|member| member.database().clone())
    }

    /// Asks the local database if it is the primary, and otherwise a peer in the primary region. If neither is the primary
    /// any longer, looks for the server that is, next to this node and in all regions.
    ///
    /// The future is boxed, since the compiler limits how deep futures may be nested, and applications nest further.
    pub(crate) fn send<'a, R: PrimaryRequest>(&'a self, request: &'a R) -> BoxFuture<'a, Result<R::Answer>> {
        self.send_unboxed(request).boxed()
    }

    async fn send_unboxed<R: PrimaryRequest>(&self, request: &R) -> Result<R::Answer> {
        // A server that does not answer is asked again, unless the primary was found elsewhere.
        let local = self.replicas.local_primary();
        let lost = match local.filter(|member| member.answers() || self.region.found().is_none()) {
            Some(member) => match request.run_locally(self, &member).await {
                Err(error) if error.is_out_of_reach() => Some(error),
                outcome => return outcome,
            },
            None => None,
        };
        let error = match lost {
            // The peers of this region use the same servers.
            Some(error) if !error.is_not_primary() => error,
            lost => {
                if self.is_region_gone() {
                    self.find_region(patience(request)).boxed().await;
                }
                match request.forward(self).instrument(debug_span!("forward")).await {
                    // If no peer takes it, the cause is what the local server said.
                    Err(error) if error.is_out_of_reach() && !error.is_not_primary() => lost.unwrap_or(error),
                    Err(error) if error.is_out_of_reach() => error,
                    outcome => return outcome,
                }
            }
        };
        match self.find(patience(request)).await {
            Some(Found::Here(member)) => request.run_locally(self, &member).await,
            Some(Found::Region) => request.forward(self).instrument(debug_span!("forward")).await,
            None => Err(self.nowhere(error)),
        }
    }

    /// Looks for the primary next to this node and in all regions. The first that is found counts.
    async fn find(&self, until: Instant) -> Option<Found> {
        // Boxed for the same reason as the request.
        let here = async { self.replicas.find_primary(until).await.map(Found::Here) }.boxed();
        let elsewhere = async { self.find_region(until).await.then_some(Found::Region) }.boxed();
        match select(here, elsewhere).await {
            Either::Left((None, other)) => other.await,
            Either::Right((None, other)) => other.await,
            Either::Left((found, _)) | Either::Right((found, _)) => found,
        }
    }

    /// Returns whether the region of the primary has been out of reach for so long that the primary may be elsewhere.
    pub(crate) fn is_region_gone(&self) -> bool {
        let region = self.region();
        let since = self.rpc.unreachable_since(&region).filter(|_| region != *self.rpc.topology().region());
        since.is_some_and(|since| since.elapsed() > GONE_AFTER)
    }

    /// Returns the error for a request that found no primary.
    fn nowhere(&self, error: Error) -> Error {
        let Some(missing) = self.replicas.missing_primary() else { return error };
        let is_replica = self.database().is_some_and(|database| database.role() == Some(Role::Replica));
        let nowhere = if is_replica || error.is_not_primary() { Error::not_primary } else { Error::not_sent };
        nowhere(missing).with_source(error)
    }

    /// Sends a request to a peer in the primary region, and to the next peer as long as it may be repeated.
    async fn dispatch<Q, A, F>(
        &self,
        operation: &'static str,
        retry: Retry,
        deadline: Instant,
        call: impl Fn(DatabaseClient<PeerChannel>, Q) -> F + Sync,
        request: Q,
    ) -> Result<Dispatched<A>>
    where
        Q: Clone + Sync,
        A: Send,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let send = |channel: PeerChannel| call(self.client(channel), request.clone());
        let dispatch = Dispatch::new(deadline).with_retry(retry).with_operation(operation);
        Ok(self.dispatch_to(&self.region(), dispatch, send).await?)
    }

    fn client(&self, channel: PeerChannel) -> DatabaseClient<PeerChannel> {
        let max_bytes = self.rpc.max_message_bytes();
        DatabaseClient::new(channel).max_decoding_message_size(max_bytes).max_encoding_message_size(max_bytes)
    }
}

/// Names the local primary in messages.
fn local_place(database: &Database) -> String {
    format!("the local primary at {}", database.pool().address())
}

/// Names a local database in messages, whatever its role.
pub(crate) fn local_database(database: &Database) -> String {
    format!("the local database at {}", database.pool().address())
}

/// Names the primary behind a peer in messages.
pub(crate) fn peer_place(peer: &PeerName) -> String {
    format!("the primary through peer {peer}")
}

/// Returns until when a request waits for the primary.
fn patience(request: &impl PrimaryRequest) -> Instant {
    let now = Instant::now();
    now + request.answer_by().saturating_duration_since(now).mul_f64(PATIENCE)
}

/// The part of the time that is left for which a request waits for the primary. The rest is for running it there.
const PATIENCE: f64 = 0.8;

/// After this time without a peer, or without a peer that reaches its database, the primary is looked for elsewhere. Peers
/// that restart are back before.
const GONE_AFTER: Duration = Duration::from_secs(1);
