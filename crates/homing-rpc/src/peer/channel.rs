//! A gRPC channel to one peer, for the generated clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderValue;
use http::{Request, Response, Uri};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::metadata::identity::Identity;
use crate::metadata::trace::TraceContext;
use crate::metadata::{GRPC_TIMEOUT, TRACEPARENT, TRACESTATE, timeout};
use crate::peer::connection::Requests;
use crate::peer::fate::TransportError;
use crate::peer::load::Load;
use crate::peer::name::PeerName;
use crate::task::BoxFuture;

/// A gRPC channel to one peer: what the generated clients send a request through.
///
/// It adds to each request who we are (`authorization`, `homing-protocol`, `homing-region`), what is left of the
/// caller's time (`grpc-timeout`, less what the answer needs to come home) and the trace (`traceparent`, `tracestate`).
///
/// It belongs to one attempt of one dispatch and to one connection: it does not reconnect, wait or retry; that is what
/// [`Rpc::dispatch`](crate::Rpc::dispatch) does. Dropping a response future resets its stream, which the peer sees as
/// the caller having gone away.
#[derive(Clone, Debug)]
pub struct PeerChannel {
    link: Arc<Link>,
    call: Arc<Call>,
}

impl PeerChannel {
    /// The peer at the other end.
    pub fn peer(&self) -> &PeerName {
        &self.link.name
    }

    /// When the caller gives up.
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// How long the peer may take if its answer is to be here at that time: for the messages of a stream, whose limits
    /// do not travel as `grpc-timeout`.
    pub fn server_time(&self, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        timeout::server_time(left, self.link.load.round_trip())
    }

    pub(crate) fn new(link: Arc<Link>, deadline: Option<Instant>, trace: Option<TraceContext>) -> Self {
        Self { link, call: Arc::new(Call { deadline, trace, sent: AtomicBool::new(false) }) }
    }

    /// Whether a request has left through this channel or a clone of it.
    pub(crate) fn has_sent(&self) -> bool {
        self.call.sent.load(Ordering::Acquire)
    }

    fn address(&self, path: &Uri) -> Uri {
        let path = path.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder()
            .scheme("http")
            .authority(authority(self.link.name.address))
            .path_and_query(path)
            .build()
            .expect("an IP address and a port are an authority")
    }

    fn prepare(&self, request: &mut Request<Body>) {
        *request.uri_mut() = self.address(request.uri());
        *request.version_mut() = http::Version::HTTP_2;
        let headers = request.headers_mut();
        self.link.identity.add_to(headers);
        if let Some(deadline) = self.call.deadline {
            headers.insert(GRPC_TIMEOUT, timeout::encode(self.server_time(deadline)));
        }
        if let Some(trace) = &self.call.trace {
            let parent = HeaderValue::try_from(trace.to_string()).expect("hexadecimal digits and hyphens");
            headers.insert(TRACEPARENT, parent);
            if let Some(state) = trace.state().and_then(|state| HeaderValue::from_str(state).ok()) {
                headers.insert(TRACESTATE, state);
            }
        }
    }
}

impl Service<Request<Body>> for PeerChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    /// Always ready: a closed connection shows in the answer, where its meaning is known.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.prepare(&mut request);
        self.call.sent.store(true, Ordering::Release);
        let name = self.link.name.clone();
        let answer = self.link.requests.clone().try_send_request(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => Ok(response.map(Body::new)),
                Err(error) => Err(TransportError::new(name, error).into_status()),
            }
        })
    }
}

/// One connection to one peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: PeerName,
    pub(crate) requests: Requests,
    pub(crate) identity: Arc<Identity>,
    pub(crate) load: Arc<Load>,
}

impl Link {
    /// Whether the connection has ended; what is sent now would come back.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

/// Without the zone of an IPv6 address, which has no place in a URI.
fn authority(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

#[derive(Debug)]
struct Call {
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
    sent: AtomicBool,
}
