//! [`SessionLayer`], which gives each request its own session.

use std::sync::Arc;

use homing::Repo;
use http::HeaderName;
use tower_layer::Layer;

use crate::metering;
use crate::session::cookie::Cookie;
use crate::session::fly_replay::FlyReplay;
use crate::session::service::SessionService;
use crate::session::settings::{Carry, Settings};

/// A tower layer that gives each request its own session, which continues the session of the visitor's last request.
///
/// The layer reads the token of the request and puts a [`RequestRepo`](crate::RequestRepo) and a
/// [`RequestInfo`](crate::RequestInfo) into the extensions of the request. If the session has moved, it puts a new token
/// into the response. It does not read the bodies. With [`Carry::Writes`], the default, it sends no query of its own.
///
/// | setting | default |
/// |---|---|
/// | [`with_cookie`](Self::with_cookie), [`without_cookie`](Self::without_cookie) | [`Cookie::default`]: `homing-token`, 5 minutes |
/// | [`with_header`](Self::with_header), [`without_header`](Self::without_header) | `homing-token` |
/// | [`with_carry`](Self::with_carry) | [`Carry::Writes`] |
/// | [`with_fly_replay`](Self::with_fly_replay) | nothing is replayed |
///
/// # Tokens of a request
///
/// A request may have tokens in the header, in the cookie, or in both. The session sees everything that any of its
/// tokens asks for. The layer reads at most four tokens of at most 4096 characters each, among the first 256 cookies.
/// It ignores a token that is forged, cut off or from another deployment, logs it at `debug` and at most once a minute
/// at `warn`, and handles the request without it.
///
/// # Tokens of a response
///
/// - A token travels in the header and in a `Set-Cookie`. If the request has the header, even an empty one, the token
///   travels in the header only. A cookie whose name and token have more than 4096 bytes together is left out, because
///   no browser would keep it.
/// - If the session has not moved, the response has no token, so pages that only read stay cacheable.
/// - A response with a token gets `Cache-Control: private`, unless it is `private` or `no-store` already.
/// - The response to a `GET` or `HEAD` gets no token if it allows shared caches to keep it (`public`, `s-maxage`,
///   `CDN-Cache-Control`, `Surrogate-Control`): a cache would give one visitor's token to all others.
/// - An error response gets a token like any other, because writes before the error stay committed.
///
/// A token has nothing that happens after the handler has returned the head of its response: in the body of a streamed
/// response, in server-sent events, on a connection that was upgraded to a WebSocket, in spawned tasks. All of these
/// pass through unchanged.
#[derive(Clone, Debug)]
pub struct SessionLayer(Arc<Settings>);

impl SessionLayer {
    /// Creates a layer with the defaults above. The sessions have the options of `repo`, but see nothing of its session.
    /// Their calls are [metered](crate::metered).
    pub fn new(repo: &Repo) -> Self {
        metering::describe();
        Self(Arc::new(Settings::new(repo)))
    }

    /// Uses this cookie.
    #[must_use]
    pub fn with_cookie(self, cookie: Cookie) -> Self {
        self.change(|settings| settings.carrier.cookie = Some(cookie))
    }

    /// Uses no cookie, for an API whose clients send the header.
    #[must_use]
    pub fn without_cookie(self) -> Self {
        self.change(|settings| settings.carrier.cookie = None)
    }

    /// Uses this header, in requests and responses.
    #[must_use]
    pub fn with_header(self, name: HeaderName) -> Self {
        self.change(|settings| settings.carrier.header = Some(name))
    }

    /// Uses no header.
    #[must_use]
    pub fn without_header(self) -> Self {
        self.change(|settings| settings.carrier.header = None)
    }

    /// Sets which part of a session later requests have to see.
    #[must_use]
    pub fn with_carry(self, carry: Carry) -> Self {
        self.change(|settings| settings.carry = carry)
    }

    /// Lets Fly.io's proxy replay requests in the primary region.
    #[must_use]
    pub fn with_fly_replay(self, fly_replay: FlyReplay) -> Self {
        self.change(|settings| settings.fly_replay = Some(fly_replay))
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::new(inner, Arc::clone(&self.0))
    }
}
