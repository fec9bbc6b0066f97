//! A gRPC channel to one peer, for generated clients.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::metadata::cluster::Cluster;
use crate::metadata::identity::Identity;
use crate::metadata::trace::TraceContext;
use crate::metadata::{GRPC_TIMEOUT, TRACEPARENT, TRACESTATE, timeout};
use crate::peer::connection::Requests;
use crate::peer::fate::TransportError;
use crate::peer::load::Load;
use crate::peer::name::PeerName;
use crate::task::BoxFuture;

/// A gRPC channel to one peer, for generated clients.
///
/// It adds metadata to each request: the identity of this node (`homing-protocol`, `homing-app`, `homing-region`), the
/// cluster that the request expects (`homing-cluster`), the time that is left (`grpc-timeout`, reduced by the time that the
/// answer needs to travel back) and the trace (`traceparent`, `tracestate`).
///
/// A channel belongs to one attempt of one dispatch and to one connection. It does not reconnect, wait or retry;
/// [`Rpc::dispatch`](crate::Rpc::dispatch) does. If a response future is dropped, its stream is reset, and the peer
/// learns that the caller has gone away.
#[derive(Clone, Debug)]
pub struct PeerChannel {
    link: Arc<Link>,
    call: Arc<Call>,
    cluster: Option<Cluster>,
}

impl PeerChannel {
    /// Returns the peer at the other end.
    pub fn peer(&self) -> &PeerName {
        &self.link.name
    }

    /// Returns the time at which the caller gives up.
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// Returns how long the peer may take so that its answer arrives by `deadline`. For messages within a stream,
    /// because their time limits do not travel as `grpc-timeout`.
    pub fn server_time(&self, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        timeout::server_time(left, self.link.load.round_trip())
    }

    pub(crate) fn new(link: Arc<Link>, deadline: Option<Instant>, trace: Option<TraceContext>) -> Self {
        let call = Call { deadline, trace, sent: AtomicBool::new(false), _place: None };
        Self { link, call: Arc::new(call), cluster: None }
    }

    /// Returns the channel of a request whose answer is a stream. `place` is given back when the stream and the channel
    /// are dropped.
    pub(crate) fn for_stream(
        link: Arc<Link>,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let call = Call { deadline, trace, sent: AtomicBool::new(false), _place: Some(place) };
        Self { link, call: Arc::new(call), cluster: None }
    }

    /// Sets the cluster that the request expects.
    pub(crate) fn expecting(self, cluster: Option<Cluster>) -> Self {
        Self { cluster, ..self }
    }

    /// Returns whether a request was sent through this channel or a clone of it.
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
        if let Some(cluster) = self.cluster {
            cluster.add_to(headers);
        }
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

    /// Returns ready always. If the connection is closed, the answer says so, and its fate is known.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.prepare(&mut request);
        self.call.sent.store(true, Ordering::Release);
        let (name, call) = (self.link.name.clone(), Arc::clone(&self.call));
        let answer = self.link.requests.clone().try_send_request(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => Ok(response.map(|inner| Body::new(AnswerBody { inner, _call: call }))),
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
    /// The places for answers that are streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Set when the peer left calls and a probe without an answer. The connection gets no further calls, and those in
    /// flight are sent again if they may be.
    pub(crate) is_silent: AtomicBool,
}

impl Link {
    /// Returns whether the connection has ended, so that requests would be handed back.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

/// Returns the address without the zone of an IPv6 address, which is not allowed in a URI.
fn authority(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

#[derive(Debug)]
struct Call {
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
    sent: AtomicBool,
    /// The place of a stream on the connection.
    _place: Option<OwnedSemaphorePermit>,
}

/// The body of an answer. It keeps the place of its stream until it is dropped.
#[derive(Debug)]
struct AnswerBody {
    inner: Incoming,
    _call: Arc<Call>,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
