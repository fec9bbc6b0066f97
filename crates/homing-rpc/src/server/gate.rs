//! Checks a request before a service gets it.
//!
//! The checks, in this order: the protocol version, the application, admission. The body is not read before. The connection
//! has proved already that it is a peer's.
//!
//! hyper runs [`Gate::handle`] in a detached task for each request. The task owns the request and one place of the
//! [`Admission`]. It ends with the answer, when the stream is reset or the connection ends, or, for `homing.v1`
//! services, [`ANSWER_TIMEOUT`] after the caller's deadline. If it panics, the stream is reset, and the caller gets
//! *outcome unknown*.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{self, Instant};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{Instrument, debug, debug_span};

use crate::error::reason::Reason;
use crate::handshake::refusal::Refusal;
use crate::metadata::caller::Caller;
use crate::server::admission::{Admission, Permit, RequestKind};
use crate::server::limited_body::LimitedBody;
use crate::server::refusals::Refusals;

/// The services of a server behind their gate. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<GateInner>);

#[derive(Debug)]
struct GateInner {
    routes: Routes,
    /// The name of the application, if it has one.
    app: Option<String>,
    admission: Arc<Admission>,
    max_message_bytes: usize,
    refusals: Refusals,
}

impl Gate {
    pub(crate) fn new(
        routes: Routes,
        app: Option<String>,
        admission: Arc<Admission>,
        max_message_bytes: usize,
        refusals: Refusals,
    ) -> Self {
        Self(Arc::new(GateInner { routes: routes.prepare(), app, admission, max_message_bytes, refusals }))
    }

    /// Answers a request from a peer at this address.
    pub(crate) async fn handle(&self, request: Request<Body>, address: SocketAddr) -> Response<Body> {
        match self.admit(&request) {
            Ok((permit, caller)) => self.serve(request, permit, caller).await,
            Err(status) => {
                debug!(path = request.uri().path(), status = status.message(), "request is refused");
                match Reason::of(&status) {
                    Some(Reason::ProtocolVersion) => self.0.refusals.note(address, Refusal::Protocol, None),
                    Some(Reason::OtherApplication) => {
                        self.0.refusals.note(address, Refusal::Application, Some(status.message()));
                    }
                    _ => {}
                }
                status.into_http()
            }
        }
    }

    fn admit(&self, request: &Request<Body>) -> Result<(Permit, Option<Caller>), Status> {
        let (headers, path) = (request.headers(), request.uri().path());
        let caller = match path.starts_with(HOMING_SERVICES) {
            true => Some(Caller::of_headers(headers, self.0.app.as_deref(), Instant::now())?),
            false => None,
        };
        let permit = self.0.admission.enter(kind(path))?;
        Ok((permit, caller))
    }

    async fn serve(&self, mut request: Request<Body>, permit: Permit, caller: Option<Caller>) -> Response<Body> {
        let span = span(request.uri().path(), caller.as_ref());
        let last = caller.as_ref().map(|caller| caller.deadline + ANSWER_TIMEOUT);
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let request = request.map(|body| Body::new(LimitedBody::new(body, self.0.max_message_bytes)));
        let answer = self.0.routes.clone().oneshot(request).instrument(span);
        let response = match last {
            Some(last) => match time::timeout_at(last, answer).await {
                Ok(response) => response,
                Err(_) => return Status::deadline_exceeded("the service did not answer in time").into_http(),
            },
            None => answer.await,
        };
        let Ok(response) = response;
        response.map(|inner| Body::new(HeldBody { inner, _permit: permit }))
    }
}

/// Returns the kind of a request by its path.
fn kind(path: &str) -> RequestKind {
    if path.starts_with(GRPC_SERVICES) || path == DESCRIBE { RequestKind::Other } else { RequestKind::Call }
}

fn span(path: &str, caller: Option<&Caller>) -> tracing::Span {
    let span = debug_span!("homing.serve", path, caller = tracing::field::Empty, trace_id = tracing::field::Empty);
    if let Some(caller) = caller {
        span.record("caller", caller.region.as_str()).record("trace_id", caller.trace.trace_id());
    }
    span
}

/// The body of an answer. The request counts as in flight until its answer has been sent.
#[derive(Debug)]
struct HeldBody {
    inner: Body,
    _permit: Permit,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Homing's services. `rpc.proto` in `homing-proto` says which metadata their requests carry.
const HOMING_SERVICES: &str = "/homing.v1.";

/// gRPC's own services: health and reflection.
const GRPC_SERVICES: &str = "/grpc.";

/// Peers call this to watch each other.
const DESCRIBE: &str = "/homing.v1.Rpc/Describe";

/// A service should stop at the deadline and then answer. If it does not, it is dropped after this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observing_requests_are_not_calls() {
        let table = [
            ("/homing.v1.Rpc/Call", RequestKind::Call),
            ("/homing.v1.Database/Execute", RequestKind::Call),
            ("/example.Service/Method", RequestKind::Call),
            ("/homing.v1.Rpc/Describe", RequestKind::Other),
            ("/grpc.health.v1.Health/Watch", RequestKind::Other),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", RequestKind::Other),
        ];
        for (path, expected) in table {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
