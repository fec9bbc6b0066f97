//! [`SessionLayer`], which gives each request its own session.

use std::sync::Arc;

use homing::report::Report;
use homing::{Repo, Token};
use http::{HeaderName, request};
use tower_layer::Layer;

use crate::metering;
use crate::session::carrier::{Carrier, Found};
use crate::session::cookie::Cookie;
use crate::session::fly_replay::{self, FlyReplay};
use crate::session::recent::Recent;
use crate::session::refusals::Refusals;
use crate::session::request::{RequestInfo, RequestRepo, TokenState};
use crate::session::service::SessionService;
use crate::session::token;

/// Gives each request a session of its own, which goes on where the last request of the same visitor ended.
///
/// The layer takes the token out of the request, puts a [`RequestRepo`] and a [`RequestInfo`] into its extensions, and
/// puts a new token into the response where the session has moved. It reads neither body, and asks no database by
/// itself with [`Carry::Writes`], the default.
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
/// Header and cookie do not compete: a session sees what any of its tokens asks for. At most four are looked at. One
/// that is forged, cut off, or of another deployment is ignored, with a line at `debug` and at most one a minute at
/// `warn`; the request goes on without it.
///
/// # Tokens of a response
///
/// Both the header and a `Set-Cookie`; a client that sent the header (it may be empty) has the header only. Nothing is
/// added to a response whose request moved nothing, so pages that only read stay cacheable. A response with a token is
/// `private`, unless its `Cache-Control` says so or `no-store` already. A `GET` or `HEAD` whose response says that shared
/// caches may keep it (`public`, `s-maxage`, `CDN-Cache-Control`) gets no token: a cache would hand it to others in place
/// of their own. Error responses get theirs like all others, for what was committed before the error stays committed.
///
/// What happens after the handler has returned the head of its response can be in no token: the body of a streamed
/// response, server-sent events, a connection that was upgraded to a WebSocket, tasks that were spawned. All of these
/// pass through unchanged.
#[derive(Clone, Debug)]
pub struct SessionLayer(Arc<Settings>);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// With a session that stays empty.
    repo: Repo,
    pub(crate) carrier: Carrier,
    pub(crate) carry: Carry,
    pub(crate) fly_replay: Option<FlyReplay>,
    recent: Arc<Recent>,
    refusals: Arc<Refusals>,
}

/// What of a session later requests have to see.
///
/// Closed: there is nothing else in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carry {
    /// What was written, and what a primary in another region has answered in place of the replica here. Later requests see
    /// that, wherever they are answered. Two that only read, answered by different databases, may be answered out of order.
    /// Costs nothing.
    ///
    /// Of raw SQL next to the primary, PostgreSQL is asked whether it wrote, where it begins like a read (`select`, `with`,
    /// `values`, …); all else counts as a write.
    #[default]
    Writes,

    /// What was read from a replica too: time never goes back, wherever requests are answered. Each response to a
    /// request that read asks the replica how far it is, which is a question within the region, and gets a token, so it
    /// is not for shared caches. Where the replica does not answer within a second, it is as with `Writes`.
    Reads,
}

impl SessionLayer {
    /// The layer with the defaults above. The sessions begin where this handle's other options say; what its own
    /// session has seen does not matter. Calls are [metered](crate::metered).
    pub fn new(repo: &Repo) -> Self {
        metering::describe();
        Self(Arc::new(Settings {
            repo: metering::metered(&repo.session()),
            carrier: Carrier { cookie: Some(Cookie::default()), header: Some(HeaderName::from_static(token::NAME)) },
            carry: Carry::default(),
            fly_replay: None,
            recent: Arc::default(),
            refusals: Arc::default(),
        }))
    }

    /// Uses this cookie.
    #[must_use]
    pub fn with_cookie(self, cookie: Cookie) -> Self {
        self.change(|settings| settings.carrier.cookie = Some(cookie))
    }

    /// Uses no cookie: for an API whose clients send the header.
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

    /// Sets what later requests have to see.
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

impl Settings {
    pub(crate) fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The session of a request, and what is known of the request.
    pub(crate) fn begin(&self, parts: &request::Parts, found: &Found) -> (RequestRepo, RequestInfo) {
        let (repo, state) = self.adopt(&found.tokens);
        metering::request(state);
        let info = RequestInfo::new(&repo, state, fly_replay::source(&parts.headers));
        let record = info.clone();
        let repo = repo.with_added_observer(move |report: &Report| record.record(report));
        (RequestRepo(repo), info)
    }

    /// The token for a response whose session says this.
    pub(crate) fn token_for(&self, session: Token) -> Token {
        self.recent.join(&self.repo, session)
    }

    /// A session that sees what each of the tokens asks for.
    fn adopt(&self, tokens: &[String]) -> (Repo, TokenState) {
        let mut repo = self.repo.session();
        let mut state = TokenState::Absent;
        for text in tokens {
            match token::adopt(&repo, text) {
                Ok(adopted) => {
                    repo = adopted;
                    state = TokenState::Taken;
                }
                Err(error) => {
                    self.refusals.ignore(&error);
                    if state == TokenState::Absent {
                        state = TokenState::Refused;
                    }
                }
            }
        }
        (repo, state)
    }
}
