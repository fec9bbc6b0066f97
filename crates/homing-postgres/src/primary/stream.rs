//! [`TransactionStream`], the requests and responses of an interactive transaction.

use std::sync::Arc;

use futures_util::stream;
use homing_proto::v1 as proto;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, Retry};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::rejection::{failed, not_begun};
use super::step_limit::{CANCELLATION, timeout_millis};
use super::{Primary, PrimaryRequest, local_database, local_place, peer_place};
use crate::call::report::AnsweredBy;
use crate::database::Database;
use crate::error::Result;
use crate::executor::{Executor, Responses};
use crate::replicas::Member;
use crate::statement::kind::{Ask, RunsOn};

/// The beginning of an interactive transaction.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The first request. Its time limit is set when it is sent.
    pub(crate) request: proto::TransactRequest,

    /// The deadline of the first response.
    pub(crate) step_deadline: Instant,

    /// The deadline of the whole transaction.
    pub(crate) deadline: Instant,

    /// What to ask a local primary at the commit.
    pub(crate) ask_locally: Ask,
}

/// An open transaction. Each request has one response. Dropping the stream rolls the transaction back.
#[derive(Debug)]
pub(crate) struct TransactionStream {
    requests: mpsc::Sender<proto::TransactRequest>,
    responses: Incoming,
    /// The name of the server in messages.
    pub(crate) place: String,
    pub(crate) answered_by: AnsweredBy,
    /// The local server that it runs on, if it does.
    pub(crate) server: Option<Database>,
    pub(crate) attempts: u32,
    /// The channel to the peer, which estimates the time on the way.
    channel: Option<PeerChannel>,
}

#[derive(Debug)]
enum Incoming {
    Local(Responses),
    Forwarded(Box<tonic::Streaming<proto::TransactResponse>>),
}

/// Why no response was received.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The stream has ended.
    Lost(String),

    /// The deadline has passed.
    TimedOut,
}

impl Primary {
    /// Begins an interactive transaction on the primary and sends its first request. The caller receives the response.
    ///
    /// # Errors
    ///
    /// Not sent: nothing was committed.
    pub(crate) async fn transact(&self, opening: &Opening) -> Result<TransactionStream> {
        self.send(opening).await
    }

    /// Begins an interactive transaction on a local database, whose executor it is.
    pub(crate) async fn transact_locally(
        &self,
        database: &Database,
        executor: &Executor,
        opening: &Opening,
        runs_on: RunsOn,
    ) -> Result<TransactionStream> {
        let place = match runs_on {
            RunsOn::Primary => local_place(database),
            RunsOn::Any => local_database(database),
        };
        let (requests, mut receiver) = mpsc::channel(REQUESTS);
        let mut first = opening.request.clone();
        first.step_timeout_millis = timeout_millis(None, opening.step_deadline);
        let receiver = stream::poll_fn(move |context| receiver.poll_recv(context).map(|request| request.map(Ok)));
        let ask = match runs_on {
            RunsOn::Primary => opening.ask_locally,
            RunsOn::Any => Ask::Nothing,
        };
        let responses = executor.transact(first, receiver, opening.deadline, runs_on, ask).await;
        let responses = Incoming::Local(responses.map_err(|failure| failed(failure, &place))?);
        Ok(TransactionStream {
            requests,
            responses,
            place,
            answered_by: AnsweredBy::Local,
            server: Some(database.clone()),
            attempts: 0,
            channel: None,
        })
    }
}

impl PrimaryRequest for Opening {
    type Answer = TransactionStream;

    fn answer_by(&self) -> Instant {
        self.step_deadline
    }

    async fn run_locally(&self, primary: &Primary, member: &Arc<Member>) -> Result<TransactionStream> {
        primary.transact_locally(member.database(), member.database().executor(), self, RunsOn::Primary).await
    }

    async fn forward(&self, primary: &Primary) -> Result<TransactionStream> {
        primary.rpc.check_size(&self.request)?;
        let send = |channel: PeerChannel| {
            let mut first = self.request.clone();
            first.step_timeout_millis = timeout_millis(Some(&channel), self.step_deadline);
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
        let dispatched = primary.dispatch_to(&primary.region(), dispatch, send).await;
        let Dispatched { response, peer, attempts, .. } =
            dispatched.map_err(|error| not_begun("transaction", error))?;
        let (requests, responses, channel) = response;
        Ok(TransactionStream {
            requests,
            responses: Incoming::Forwarded(Box::new(responses)),
            place: peer_place(&peer),
            answered_by: AnsweredBy::Peer(peer),
            server: None,
            attempts,
            channel: Some(channel),
        })
    }
}

impl TransactionStream {
    /// Sends a request that has to be answered by the deadline. Returns `false` if the stream has ended;
    /// [`receive`](Self::receive) may say why.
    pub(crate) fn send(&self, mut request: proto::TransactRequest, deadline: Instant) -> bool {
        request.step_timeout_millis = timeout_millis(self.channel.as_ref(), deadline);
        // The queue has room, since the previous request was taken before its response came.
        self.requests.try_send(request).is_ok()
    }

    /// Receives the next response.
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
        // After the deadline, dropping the stream has the same effect later.
        let _ = timeout_at(deadline, ended).await;
    }

    pub(crate) fn is_local(&self) -> bool {
        self.server.is_some()
    }
}

/// A transaction has one request at a time.
const REQUESTS: usize = 1;
