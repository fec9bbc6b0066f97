//! [`CopyStream`], the data of a `COPY … FROM STDIN` on its way to the primary.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use homing_proto::v1 as proto;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, Reason, Retry, explain_unimplemented};
use proto::copy_in_request::Part;
use proto::copy_in_response::Outcome;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::{Response, Status, Streaming};

use super::execute::{Executed, Trip, to_wire};
use super::rejection::{failed, not_begun};
use super::step_limit::{CANCELLATION, timeout_millis};
use super::{Primary, PrimaryRequest, local_place, peer_place};
use crate::call::report::AnsweredBy;
use crate::error::{Error, Result};
use crate::executor::{CopyResponses, Failure};
use crate::position::Position;
use crate::replicas::Member;

/// The beginning of a copy.
#[derive(Debug)]
struct CopyOpening<'a> {
    sql: &'a str,

    /// The positions that the primary has to have in its history.
    session: &'a [Position],

    /// The deadline of the first response.
    begin_by: Instant,
}

/// A copy to which PostgreSQL takes data. Dropping it rolls the copy back.
#[derive(Debug)]
pub(crate) struct CopyStream {
    requests: mpsc::Sender<proto::CopyInRequest>,
    responses: Incoming,
    /// The name of the server in messages.
    place: String,
    answered_by: AnsweredBy,
    attempts: u32,
    /// The channel to the peer, which estimates the time on the way.
    channel: Option<PeerChannel>,
}

#[derive(Debug)]
enum Incoming {
    Local(CopyResponses),
    Forwarded(Box<Streaming<proto::CopyInResponse>>),
}

/// Why there is no response.
enum NoResponse {
    /// Nothing remains of the copy.
    RolledBack(Error),

    /// The stream has ended, for this reason.
    Lost(String),
}

impl Primary {
    /// Begins a copy on the primary.
    ///
    /// # Errors
    ///
    /// Not sent or rejected: nothing was committed.
    pub(crate) async fn copy_in(&self, sql: &str, session: &[Position], begin_by: Instant) -> Result<CopyStream> {
        self.send(&CopyOpening { sql, session, begin_by }).await
    }
}

impl CopyOpening<'_> {
    fn first(&self, primary: &Primary) -> proto::CopyInRequest {
        let (database, session) = (primary.scope.to_wire(), to_wire(self.session));
        let begin = proto::BeginCopyIn { database, sql: self.sql.to_owned(), session };
        proto::CopyInRequest { part: Some(Part::Begin(begin)), timeout_millis: 0 }
    }
}

impl PrimaryRequest for CopyOpening<'_> {
    type Answer = CopyStream;

    fn answer_by(&self) -> Instant {
        self.begin_by
    }

    async fn run_locally(&self, primary: &Primary, member: &Arc<Member>) -> Result<CopyStream> {
        let place = local_place(member.database());
        let (requests, mut receiver) = mpsc::channel(MAX_REQUESTS);
        let first = proto::CopyInRequest { timeout_millis: timeout_millis(None, self.begin_by), ..self.first(primary) };
        let receiver = stream::poll_fn(move |context| receiver.poll_recv(context).map(|request| request.map(Ok)));
        let deadline = Instant::now() + MAX_COPY_TIME;
        let responses = member.database().executor().copy_in(first, receiver, deadline).await;
        let responses = Incoming::Local(responses.map_err(|failure| failed(failure, &place))?);
        let answered_by = AnsweredBy::Local;
        let mut copy = CopyStream { requests, responses, place, answered_by, attempts: 0, channel: None };
        let first = copy.responses.next(&copy.place).await;
        copy.begun(first)
    }

    async fn forward(&self, primary: &Primary) -> Result<CopyStream> {
        let first = self.first(primary);
        primary.rpc.check_size(&first)?;
        let send = |channel: PeerChannel| {
            let timeout_millis = timeout_millis(Some(&channel), self.begin_by);
            let first = proto::CopyInRequest { timeout_millis, ..first.clone() };
            let mut client = primary.client(channel.clone());
            async move {
                let (requests, mut receiver) = mpsc::channel(MAX_REQUESTS);
                requests.try_send(first).expect("there is room for the first request");
                let stream = stream::poll_fn(move |context| receiver.poll_recv(context));
                let mut responses = client.copy_in(stream).await.map_err(explain_unimplemented)?.into_inner();
                let first = responses.message().await?.ok_or_else(|| Status::unknown("a copy without a response"))?;
                Ok(Response::new((requests, first, responses, channel)))
            }
        };
        // A copy that is never finished may be sent again.
        let dispatch = Dispatch::new(self.begin_by)
            .with_retry(Retry::Always)
            .with_operation("copy_in")
            .with_stream_deadline(Instant::now() + MAX_COPY_TIME);
        let dispatched = primary.dispatch_to(&primary.region(), dispatch, send).await;
        let Dispatched { response, peer, attempts, .. } = dispatched.map_err(|error| not_begun("copy", error))?;
        let (requests, first, responses, channel) = response;
        let copy = CopyStream {
            requests,
            responses: Incoming::Forwarded(Box::new(responses)),
            place: peer_place(&peer),
            answered_by: AnsweredBy::Peer(peer),
            attempts,
            channel: Some(channel),
        };
        copy.begun(Ok(first))
    }
}

impl CopyStream {
    fn begun(self, first: Result<proto::CopyInResponse, NoResponse>) -> Result<Self> {
        match first {
            Ok(proto::CopyInResponse { outcome: Some(Outcome::Started(_)) }) => Ok(self),
            first => Err(self.ended_early(first)),
        }
    }

    /// Sends data. It waits until there is room: the primary takes data no faster than PostgreSQL.
    ///
    /// # Errors
    ///
    /// Nothing remains of the copy.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the data was not sent.
    pub(crate) async fn send(&mut self, data: Bytes, deadline: Instant) -> Result<()> {
        let request = proto::CopyInRequest { part: Some(Part::Data(data)), timeout_millis: 0 };
        self.push(request, deadline).await
    }

    /// Finishes the copy and waits for the commit. `started` is when it began.
    pub(crate) async fn finish(mut self, started: Instant, deadline: Instant) -> Result<Executed> {
        let timeout_millis = timeout_millis(self.channel.as_ref(), deadline);
        let part = Some(Part::Finish(proto::FinishCopyIn {}));
        self.push(proto::CopyInRequest { part, timeout_millis }, deadline).await?;
        let answer_by = if self.channel.is_some() { deadline } else { deadline + CANCELLATION };
        let unknown = |why: &str| {
            Error::outcome_unknown(format!(
                "{} {why}; COMMIT may have been under way, so the copy may be committed: check before you run it again",
                self.place
            ))
        };
        match timeout_at(answer_by, self.responses.next(&self.place)).await {
            Ok(Ok(proto::CopyInResponse { outcome: Some(Outcome::Ended(response)) })) => {
                let execute = Duration::from_micros(response.execute_micros).min(started.elapsed());
                let forward = match self.answered_by {
                    AnsweredBy::Local => Duration::ZERO,
                    AnsweredBy::Peer(_) | AnsweredBy::Unknown => started.elapsed() - execute,
                };
                let Self { answered_by, attempts, place, .. } = self;
                Executed::of(response, Trip { answered_by, attempts, forward, execute }, &place)
            }
            Ok(Ok(_)) => Err(unknown("sent a response that this build cannot read")),
            Ok(Err(NoResponse::RolledBack(error))) => Err(error),
            Ok(Err(NoResponse::Lost(why))) => Err(unknown(&format!("was lost: {why}"))),
            Err(_) => Err(unknown("did not answer in time")),
        }
    }

    async fn push(&mut self, request: proto::CopyInRequest, deadline: Instant) -> Result<()> {
        let Self { requests, responses, place, .. } = self;
        let pushed = tokio::select! {
            biased;
            response = responses.next(place) => Err(Some(response)),
            permit = timeout_at(deadline, requests.reserve()) => match permit {
                Ok(Ok(permit)) => {
                    permit.send(request);
                    Ok(())
                }
                // The response says why.
                Ok(Err(_)) => Err(timeout_at(deadline, responses.next(place)).await.ok()),
                Err(_) => Err(None),
            },
        };
        pushed.map_err(|response| match response {
            Some(response) => self.ended_early(response),
            None => Error::timed_out(format!(
                "{} did not take the data in time, and the copy is rolled back: find out what it waits for, or raise \
                 call_timeout",
                self.place
            )),
        })
    }

    /// Makes the error of a copy that has ended before it was finished.
    fn ended_early(&self, response: Result<proto::CopyInResponse, NoResponse>) -> Error {
        let place = &self.place;
        let lost = |why: &str| Error::not_sent(format!("the copy was not committed and is rolled back: {place} {why}"));
        match response {
            Ok(proto::CopyInResponse { outcome: Some(Outcome::Ended(response)) }) => {
                let (answered_by, attempts) = (self.answered_by.clone(), self.attempts);
                let trip = Trip { answered_by, attempts, forward: Duration::ZERO, execute: Duration::ZERO };
                match Executed::of(response, trip, place) {
                    Ok(_) => Error::decode(format!("{place} committed a copy that was not finished: update this node")),
                    Err(error) => error,
                }
            }
            Ok(_) => lost("sent a response that this build cannot read"),
            Err(NoResponse::RolledBack(error)) => error,
            Err(NoResponse::Lost(why)) => lost(&format!("was lost: {why}")),
        }
    }
}

impl Incoming {
    /// Receives the next response. `place` names the server.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no response is lost.
    async fn next(&mut self, place: &str) -> Result<proto::CopyInResponse, NoResponse> {
        let ended = || NoResponse::Lost("the stream has ended".into());
        match self {
            Self::Local(responses) => match responses.recv().await {
                Some(Ok(response)) => Ok(response),
                Some(Err(Failure::Unknown(why))) => Err(NoResponse::Lost(why)),
                Some(Err(failure)) => Err(NoResponse::RolledBack(failed(failure, place))),
                None => Err(ended()),
            },
            Self::Forwarded(responses) => match responses.message().await {
                Ok(Some(response)) => Ok(response),
                Ok(None) => Err(ended()),
                // With a reason, a status says that nothing was executed.
                Err(status) => Err(match Reason::of(&status) {
                    Some(reason) => {
                        let failure = Failure::NotExecuted(reason, status.message().to_owned());
                        NoResponse::RolledBack(failed(failure, place))
                    }
                    None => NoResponse::Lost(status.message().to_owned()),
                }),
            },
        }
    }
}

/// Requests that wait for room: while the transport takes one, the next is ready.
const MAX_REQUESTS: usize = 1;

/// Far longer than a useful copy takes. Each request and the idle time have limits of their own.
const MAX_COPY_TIME: Duration = Duration::from_secs(24 * 60 * 60);
