//! A service that is added to the server, as the one for databases is, and requests dispatched to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use homing_proto::v1::database_client::DatabaseClient;
use homing_proto::v1::database_server::{Database, DatabaseServer};
use homing_proto::v1::{
    CopyInRequest, CopyInResponse, ExecuteOnceRequest, ExecuteRequest, ExecuteResponse, PrepareRequest,
    PrepareResponse, QueryPart, QueryRequest, SettleRequest, SettleResponse, Statement, TransactRequest,
    TransactResponse,
};
use homing_rpc::{Caller, Causes, Dispatch, Dispatched, Reason, Retry, Rpc, ServerHandle};
use homing_testbed::wait_until;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::world::{client, region, server, soon};

const LIMIT: Duration = Duration::from_secs(10);

/// Answers always the same.
#[derive(Clone)]
struct Fake {
    answer: fn(&Caller) -> Result<ExecuteResponse, Status>,
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Database for Fake {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.answer)(&Caller::of(&request)?).map(Response::new)
    }

    async fn execute_once(&self, _: Request<ExecuteOnceRequest>) -> Result<Response<ExecuteResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn settle(&self, _: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn prepare(&self, _: Request<PrepareRequest>) -> Result<Response<PrepareResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type TransactStream = futures_util::stream::Empty<Result<TransactResponse, Status>>;

    async fn transact(
        &self,
        _: Request<tonic::Streaming<TransactRequest>>,
    ) -> Result<Response<Self::TransactStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type CopyInStream = futures_util::stream::Empty<Result<CopyInResponse, Status>>;

    async fn copy_in(
        &self,
        _: Request<tonic::Streaming<CopyInRequest>>,
    ) -> Result<Response<Self::CopyInStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type CopyOutStream = futures_util::stream::Empty<Result<QueryPart, Status>>;

    async fn copy_out(&self, _: Request<QueryRequest>) -> Result<Response<Self::CopyOutStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type QueryStream = BoxStream<'static, Result<QueryPart, Status>>;

    /// Without a statement: one part, then nothing and no end. With one: parts of 64 KiB without end, each counted.
    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        if request.get_ref().statement.is_none() {
            return Ok(Response::new(stream::iter([Ok(QueryPart::default())]).chain(stream::pending()).boxed()));
        }
        let asked = Arc::clone(&self.asked);
        let part = move || {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(QueryPart { rows: vec![vec![0; PART_BYTES].into()], ..QueryPart::default() })
        };
        Ok(Response::new(stream::repeat_with(part).boxed()))
    }
}

const PART_BYTES: usize = 64 * 1024;

async fn query(
    rpc: &Rpc,
    statement: Option<Statement>,
    limit: Duration,
) -> homing_rpc::Result<Dispatched<tonic::Streaming<QueryPart>>> {
    let send = |channel| {
        let request = QueryRequest { statement: statement.clone(), ..QueryRequest::default() };
        async move { DatabaseClient::new(channel).query(request).await }
    };
    let dispatch = Dispatch::new(Instant::now() + limit).with_retry(Retry::Always).with_stream();
    soon("query", rpc.dispatch(&region("iad"), dispatch, send)).await
}

async fn fake(answer: fn(&Caller) -> Result<ExecuteResponse, Status>) -> (ServerHandle, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let service = DatabaseServer::new(Fake { answer, asked: Arc::clone(&asked) });
    (server("iad").service(service).start().await.unwrap(), asked)
}

async fn execute(rpc: &Rpc, retry: Retry) -> homing_rpc::Result<Dispatched<ExecuteResponse>> {
    let dispatch = Dispatch::new(Instant::now() + LIMIT).with_retry(retry).with_operation("execute");
    let send = |channel| async move { DatabaseClient::new(channel).execute(ExecuteRequest::default()).await };
    soon("execute", rpc.dispatch(&region("iad"), dispatch, send)).await
}

fn done(_: &Caller) -> Result<ExecuteResponse, Status> {
    Ok(ExecuteResponse { execute_micros: 7, ..ExecuteResponse::default() })
}

#[tokio::test]
async fn service_knows_caller_and_deadline() {
    let (iad, _) = fake(|caller| {
        let left = caller.deadline - Instant::now();
        assert_eq!(caller.region.as_str(), "syd");
        assert!(left > LIMIT / 2 && left < LIMIT, "{left:?}");
        done(caller)
    })
    .await;
    let dispatched = execute(&client(&[iad.local_addr()]), Retry::NotProcessed).await.unwrap();
    assert_eq!((dispatched.response.execute_micros, dispatched.attempts), (7, 1));
}

#[tokio::test]
async fn not_primary_peer_is_passed_over() {
    let (replica, asked) = fake(|_| Err(Reason::NotPrimary.status("it is a replica"))).await;
    let (primary, _) = fake(done).await;
    let rpc = client(&[replica.local_addr(), primary.local_addr()]);
    for _ in 0..50 {
        let dispatched = execute(&rpc, Retry::NotProcessed).await.unwrap();
        assert_eq!(dispatched.peer.address, primary.local_addr());
    }
    // Once in a while it is asked again, since roles change.
    assert!(asked.load(Ordering::SeqCst) <= 2, "{asked:?}");
}

#[tokio::test]
async fn without_primary_each_peer_is_asked_once() {
    let (one, asked_one) = fake(|_| Err(Reason::NotPrimary.status("it is a replica"))).await;
    let (two, asked_two) = fake(|_| Err(Reason::NotPrimary.status("it is a replica"))).await;
    let rpc = client(&[one.local_addr(), two.local_addr()]);
    let error = execute(&rpc, Retry::NotProcessed).await.unwrap_err();
    assert!(error.is_not_primary() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().starts_with("execute: iad/"), "{error}");
    assert_eq!((asked_one.load(Ordering::SeqCst), asked_two.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn status_without_reason_is_not_retried() {
    let (iad, asked) = fake(|_| Err(Status::unavailable("something went wrong after the commit"))).await;
    let rpc = client(&[iad.local_addr()]);
    let error = execute(&rpc, Retry::NotProcessed).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(error.to_string().contains("after the commit"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn unknown_outcome_survives_later_attempts() {
    let (one, _) = fake(|_| Err(Status::unavailable("something went wrong after the commit"))).await;
    let (two, _) = fake(|_| Err(Reason::Overloaded.status("no room"))).await;
    let rpc = client(&[one.local_addr(), two.local_addr()]);
    // Either may be asked first.
    for _ in 0..20 {
        let error = execute(&rpc, Retry::Always).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error:?}");
    }
}

#[tokio::test]
async fn past_deadline_sends_nothing() {
    let (iad, asked) = fake(done).await;
    let rpc = client(&[iad.local_addr()]);
    execute(&rpc, Retry::NotProcessed).await.unwrap();
    let send = |channel| async move { DatabaseClient::new(channel).execute(ExecuteRequest::default()).await };
    let error = rpc.dispatch(&region("iad"), Dispatch::new(Instant::now()), send).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    let error = rpc.call::<i64>(&region("syd"), "add", (1, 2), Duration::ZERO).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn hopeless_request_is_not_repeated() {
    let (one, _) = fake(|_| Err(Reason::StaleStatement.status("other types"))).await;
    let (two, _) = fake(|_| Err(Reason::StaleStatement.status("other types"))).await;
    let error = execute(&client(&[one.local_addr(), two.local_addr()]), Retry::Always).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::StaleStatement));
}

#[tokio::test]
async fn unsent_request_is_not_unknown() {
    let (iad, asked) = fake(done).await;
    let rpc = client(&[iad.local_addr()]);
    execute(&rpc, Retry::NotProcessed).await.unwrap();
    let dispatch = Dispatch::new(Instant::now() + Duration::from_millis(50));
    let send = |_channel| std::future::pending::<Result<Response<()>, Status>>();
    let error = soon("error", rpc.dispatch(&region("iad"), dispatch, send)).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn stream_is_in_flight_past_deadline() {
    let service = DatabaseServer::new(Fake { answer: done, asked: Arc::default() });
    let iad = server("iad").service(service).max_in_flight(1).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    let limit = Duration::from_millis(500);
    let mut parts = query(&rpc, None, limit).await.unwrap().response;
    assert!(soon("part", parts.message()).await.unwrap().is_some());

    // Past the deadline of the call, and the time that the server adds to it.
    let next = tokio::time::timeout(limit + Duration::from_secs(3), parts.message()).await;
    assert!(next.is_err(), "nothing comes, and it does not end: {next:?}");
    let dispatch = Dispatch::new(Instant::now() + limit);
    let send = |channel| async move { DatabaseClient::new(channel).execute(ExecuteRequest::default()).await };
    let error = soon("error", rpc.dispatch(&region("iad"), dispatch, send)).await.unwrap_err();
    assert!(error.is_overloaded(), "{error:?}");

    drop(parts);
    wait_until("the dropped stream has left", async || execute(&rpc, Retry::NotProcessed).await.is_ok()).await;
}

#[tokio::test]
async fn refusing_peer_leaves_the_rotation() {
    static BROKEN: AtomicBool = AtomicBool::new(true);
    let (bad, refused) = fake(|_| match BROKEN.load(Ordering::SeqCst) {
        true => Err(Reason::DatabaseUnavailable.status("its database is down")),
        false => Ok(ExecuteResponse::default()),
    })
    .await;
    let good = [(); 3].map(|()| fake(|_| Ok(ExecuteResponse::default())));
    let good = futures_util::future::join_all(good).await;
    let addresses: Vec<_> = good.iter().map(|(server, _)| server.local_addr()).chain([bad.local_addr()]).collect();
    let rpc = client(&addresses);
    // At the same time, because a peer that refuses quickly looks idle beside busy ones.
    let calls = stream::iter(0..200).map(|_| execute(&rpc, Retry::NotProcessed)).buffer_unordered(8);
    calls.for_each(|call| async { drop(call.unwrap()) }).await;
    // Some failures, and then single calls that try it, one in a second or less often.
    let refused = refused.load(Ordering::SeqCst);
    assert!(refused <= 20, "{refused}");
    BROKEN.store(false, Ordering::SeqCst);
    wait_until("the peer gets calls again", async || {
        execute(&rpc, Retry::NotProcessed).await.unwrap().peer.address == bad.local_addr()
    })
    .await;
}

#[tokio::test]
async fn unread_streams_leave_room_for_calls() {
    const STREAMS: usize = 20;
    let (iad, parts) = fake(done).await;
    let rpc = client(&[iad.local_addr()]);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(query(&rpc, Some(Statement::default()), LIMIT).await.unwrap());
    }
    // Three quarters of each stream's window of 4 MiB.
    let full = STREAMS * 3 * 1024 * 1024 / PART_BYTES;
    wait_until("the streams have filled their windows", async || parts.load(Ordering::SeqCst) >= full).await;
    execute(&rpc, Retry::NotProcessed).await.unwrap();
}

#[tokio::test]
async fn too_many_streams_wait_for_a_place() {
    let (iad, _) = fake(done).await;
    let rpc = client(&[iad.local_addr()]);
    let mut streams = Vec::new();
    let error = loop {
        match query(&rpc, None, LIMIT / 20).await {
            Ok(stream) => streams.push(stream),
            Err(error) => break error,
        }
        assert!(streams.len() < 1000, "no limit");
    };
    assert!(error.is_overloaded() && error.is_not_sent(), "{error:?}");
    execute(&rpc, Retry::NotProcessed).await.unwrap();
    streams.pop();
    query(&rpc, None, LIMIT).await.unwrap();
}

#[tokio::test]
async fn overload_is_not_multiplied() {
    let full = [(); 4].map(|()| fake(|_| Err(Reason::Overloaded.status_retry_after("full", LIMIT))));
    let full = futures_util::future::join_all(full).await;
    let addresses: Vec<_> = full.iter().map(|(server, _)| server.local_addr()).collect();
    let rpc = client(&addresses);
    let calls = (0..100).map(|_| async {
        let dispatch = Dispatch::new(Instant::now() + LIMIT / 10);
        let send = |channel| async move { DatabaseClient::new(channel).execute(ExecuteRequest::default()).await };
        rpc.dispatch(&region("iad"), dispatch, send).await
    });
    for called in soon("calls", futures_util::future::join_all(calls)).await {
        assert!(called.unwrap_err().is_overloaded());
    }
    let asked: usize = full.iter().map(|(_, asked)| asked.load(Ordering::SeqCst)).sum();
    assert!((100..250).contains(&asked), "{asked}");
}

#[tokio::test]
async fn silence_after_refusal_names_both() {
    let (iad, _) = fake(done).await;
    let rpc = client(&[iad.local_addr()]);
    let attempts = AtomicUsize::new(0);
    let send = |channel| {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        async move {
            if attempt == 0 {
                return Err(Reason::Overloaded.status_retry_after("no place was free", Duration::ZERO));
            }
            let mut parts = DatabaseClient::new(channel).query(QueryRequest::default()).await?.into_inner();
            // After the first part, nothing comes any more.
            while parts.message().await?.is_some() {}
            Ok(Response::new(()))
        }
    };
    let dispatch = Dispatch::new(Instant::now() + LIMIT / 10);
    let error = soon("error", rpc.dispatch(&region("iad"), dispatch, send)).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(Causes(&error).to_string().contains("no place was free"), "{error:?}");
}

#[tokio::test]
async fn calls_wait_for_restarting_database() {
    static BROKEN: AtomicBool = AtomicBool::new(true);
    let (iad, asked) = fake(|_| match BROKEN.load(Ordering::SeqCst) {
        true => Err(Reason::DatabaseUnavailable.status("its database restarts")),
        false => Ok(ExecuteResponse::default()),
    })
    .await;
    let rpc = client(&[iad.local_addr()]);
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { execute(&rpc, Retry::NotProcessed).await }
    });
    wait_until("it was refused more than once", async || asked.load(Ordering::SeqCst) >= 3).await;
    BROKEN.store(false, Ordering::SeqCst);
    assert!(soon("call", call).await.unwrap().unwrap().attempts > 3);
}

#[tokio::test]
async fn long_outage_of_database_fails_early() {
    let (iad, asked) = fake(|_| Err(Reason::DatabaseUnavailable.status("its database is down"))).await;
    let rpc = client(&[iad.local_addr()]);
    let execute = async |limit| {
        let dispatch = Dispatch::new(Instant::now() + limit);
        let send = |channel| async move { DatabaseClient::new(channel).execute(ExecuteRequest::default()).await };
        let error = soon("error", rpc.dispatch(&region("iad"), dispatch, send)).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::DatabaseUnavailable), "{error:?}");
        asked.load(Ordering::SeqCst)
    };
    let first = execute(LIMIT / 20).await;
    assert!(first > 1, "{first}");
    assert_eq!(execute(LIMIT / 40).await, first + 1);
}
