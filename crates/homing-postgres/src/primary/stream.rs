//! The stream of an interactive transaction, to the primary here or in another region.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use homing_proto::v1 as proto;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, Retry};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::rejection::failed;
use super::{Primary, PrimaryRequest, local_place, peer_place};
use crate::call::report::AnsweredBy;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::executor::Responses;
use crate::replicas::Member;
use crate::statement::kind::RunsOn;

/// How an interactive transaction begins.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The first request; what it may take is set here.
    pub(crate) request: proto::TransactRequest,

    /// Until when the first request has to be answered.
    pub(crate) step_deadline: Instant,

    /// Until when the transaction has to be over.
    pub(crate) deadline: Instant,
}

/// An open transaction: requests go there, and each has one response. Dropped, the transaction is rolled back.
#[derive(Debug)]
pub(crate) struct TransactionStream {
    requests: mpsc::Sender<proto::TransactRequest>,
    responses: Incoming,
    /// Who runs it, for messages.
    pub(crate) place: String,
    pub(crate) answered_by: AnsweredBy,
    pub(crate) attempts: u32,
    /// The peer's, which knows how long the way is.
    channel: Option<PeerChannel>,
}

#[derive(Debug)]
enum Incoming {
    Local(Responses),
    Forwarded(Box<tonic::Streaming<proto::TransactResponse>>),
}

/// Why no response came.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The stream has ended.
    Lost(String),

    /// The deadline has passed.
    TimedOut,
}

impl Primary {
    /// Begins an interactive transaction on the primary, and sends its first request. The response to that is still to
    /// be received.
    ///
    /// # Errors
    ///
    /// Not sent: nothing can have been committed.
    pub(crate) async fn transact(&self, opening: &Opening) -> Result<TransactionStream> {
        self.send(opening).await
    }

    /// Begins an interactive transaction on a database next to this node.
    pub(crate) async fn transact_locally(
        &self,
        database: &Database,
        opening: &Opening,
        runs_on: RunsOn,
    ) -> Result<TransactionStream> {
        let place = match runs_on {
            RunsOn::Primary => local_place(database),
            RunsOn::Any => format!("the database here, at {},", database.pool().address()),
        };
        let (requests, mut receiver) = mpsc::channel(REQUESTS);
        let mut first = opening.request.clone();
        first.step_timeout_millis = millis_until(opening.step_deadline);
        let receiver = stream::poll_fn(move |context| receiver.poll_recv(context).map(|request| request.map(Ok)));
        let responses = database.executor().transact(first, receiver, opening.deadline, runs_on).await;
        let responses = Incoming::Local(responses.map_err(|failure| failed(failure, &place))?);
        Ok(TransactionStream { requests, responses, place, answered_by: AnsweredBy::Local, attempts: 0, channel: None })
    }
}

impl PrimaryRequest for Opening {
    type Answer = TransactionStream;

    fn answer_by(&self) -> Instant {
        self.step_deadline
    }

    async fn run_locally(&self, primary: &Primary, member: &Arc<Member>) -> Result<TransactionStream> {
        primary.transact_locally(member.database(), self, RunsOn::Primary).await
    }

    async fn forward(&self, primary: &Primary) -> Result<TransactionStream> {
        primary.rpc.check_size(&self.request)?;
        let send = |channel: PeerChannel| {
            let mut first = self.request.clone();
            first.step_timeout_millis = millis(channel.server_time(self.step_deadline));
            let mut client = primary.client(channel.clone());
            async move {
                let (requests, mut receiver) = mpsc::channel(REQUESTS);
                requests.try_send(first).expect("there is room for the first request");
                let stream = stream::poll_fn(move |context| receiver.poll_recv(context));
                let response = client.transact(stream).await?;
                Ok(response.map(|responses| (requests, responses, channel)))
            }
        };
        // A transaction that is never committed may be sent again.
        let dispatch = Dispatch::new(self.step_deadline)
            .with_retry(Retry::Always)
            .with_operation("transaction")
            .with_stream_deadline(self.deadline);
        let dispatched = primary.rpc.dispatch(primary.rpc.topology().primary_region(), dispatch, send).await;
        let Dispatched { response, peer, attempts, .. } = dispatched.map_err(|error| not_begun(error.into()))?;
        let (requests, responses, channel) = response;
        Ok(TransactionStream {
            requests,
            responses: Incoming::Forwarded(Box::new(responses)),
            place: peer_place(&peer),
            answered_by: AnsweredBy::Peer(peer),
            attempts,
            channel: Some(channel),
        })
    }
}

fn not_begun(error: Error) -> Error {
    if !error.is_outcome_unknown() {
        return error;
    }
    Error::not_sent(format!("{error}: it was to begin a transaction, which was not committed and is rolled back"))
}

impl TransactionStream {
    /// Sends a request that has to be answered by the deadline. Whether it left; if not, the stream has ended, and
    /// [`receive`](Self::receive) may say why.
    pub(crate) fn send(&self, mut request: proto::TransactRequest, deadline: Instant) -> bool {
        request.step_timeout_millis = match &self.channel {
            Some(channel) => millis(channel.server_time(deadline)),
            None => millis_until(deadline),
        };
        // The one before was taken before it was answered.
        self.requests.try_send(request).is_ok()
    }

    /// The next response.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no response is lost.
    pub(crate) async fn receive(&mut self, deadline: Instant) -> Result<proto::TransactResponse, ReceiveError> {
        let received = match &mut self.responses {
            Incoming::Local(responses) => {
                let deadline = deadline + CANCELLATION;
                timeout_at(deadline, async { Ok(responses.recv().await) }).await
            }
            Incoming::Forwarded(responses) => timeout_at(deadline, responses.message()).await,
        };
        match received {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Ok(None)) => Err(ReceiveError::Lost("the stream has ended".into())),
            Ok(Err(status)) => Err(ReceiveError::Lost(status.message().into())),
            Err(_) => Err(ReceiveError::TimedOut),
        }
    }

    /// Ends the transaction without a commit, and waits until it is rolled back.
    pub(crate) async fn roll_back(self, deadline: Instant) {
        let Self { requests, responses, .. } = self;
        drop(requests);
        let ended = async {
            match responses {
                Incoming::Local(mut responses) => while responses.recv().await.is_some() {},
                Incoming::Forwarded(mut responses) => while let Ok(Some(_)) = responses.message().await {},
            }
        };
        // Past it, dropping the stream has the same effect later.
        let _ = timeout_at(deadline, ended).await;
    }

    pub(crate) fn is_local(&self) -> bool {
        self.channel.is_none()
    }
}

fn millis_until(deadline: Instant) -> u64 {
    millis(deadline.saturating_duration_since(Instant::now()))
}

/// At least one: zero is no limit.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// There is one at a time.
const REQUESTS: usize = 1;

/// The executor here answers at the deadline, or as long after it as the database takes to cancel a statement.
const CANCELLATION: Duration = Duration::from_secs(4);
