//! [`SessionService`], the service that a [`SessionLayer`](crate::SessionLayer) creates.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing::{Repo, Token};
use http::{Request, Response};
use tokio::time::timeout;
use tower_service::Service;
use tracing::debug;

use crate::metering;
use crate::session::carrier::Asked;
use crate::session::fly_replay::{self, ReplayAtPrimary, Why};
use crate::session::request::{RequestInfo, RequestRepo};
use crate::session::settings::{Carry, Settings};
use crate::session::token;

/// A service whose requests have a session. A [`SessionLayer`](crate::SessionLayer) creates it.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    settings: Arc<Settings>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, Q, R> Service<Request<Q>> for SessionService<S>
where
    S: Service<Request<Q>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let settings = Arc::clone(&self.settings);
        let mut may_replay = false;
        if let Some(fly_replay) = &settings.fly_replay {
            may_replay = fly_replay.is_possible(&parts, &settings.repo);
            if may_replay && let Some(why) = fly_replay.by_request(&parts) {
                let answer = replay(&settings.repo, why);
                return Box::pin(async { Ok(answer) });
            }
        }
        let found = settings.carrier.find(&parts.headers);
        let asked = settings.carrier.asked(&parts, found.by_header);
        let (repo, info) = settings.begin(&parts, &found);
        let session = Session { before: token::known(&repo.0), repo: repo.clone(), info: info.clone(), asked };
        parts.extensions.insert(repo);
        parts.extensions.insert(info);
        let response = self.inner.call(Request::from_parts(parts, body));
        Box::pin(async move {
            let mut response = response.await?;
            let asks_for_replay = response.extensions_mut().remove::<ReplayAtPrimary>().is_some();
            if asks_for_replay && may_replay && !session.has_written() {
                return Ok(replay(&session.repo, Why::Error));
            }
            session.end(&settings, &mut response).await;
            Ok(response)
        })
    }
}

/// The session of one request.
struct Session {
    repo: RequestRepo,
    info: RequestInfo,
    asked: Asked,
    before: Token,
}

impl Session {
    /// Puts the token into the response, if the session has moved.
    async fn end<R>(&self, settings: &Settings, response: &mut Response<R>) {
        let after = match settings.carry {
            Carry::Writes if self.repo.knows_its_writes() => token::known(&self.repo),
            Carry::Writes | Carry::Reads => complete(&self.repo).await,
        };
        if after == self.before {
            return;
        }
        let after = settings.token_for(after);
        let put = settings.carrier.put(after.as_str(), &self.asked, response.headers_mut());
        metering::token(put);
        if !put {
            debug!("the session has moved, but its response cannot carry the token");
        }
    }

    /// Returns whether a write is or may be committed, as far as this node knows.
    fn has_written(&self) -> bool {
        self.info.has_written() || token::known(&self.repo) != self.before
    }
}

/// Returns the token of the session, with its reads if the replica answers in time.
async fn complete(repo: &Repo) -> Token {
    match timeout(READS_TIMEOUT, token::complete(repo)).await {
        Ok(Ok(token)) => return token,
        Ok(Err(error)) => debug!(%error, "the replica cannot say how far this request has read"),
        Err(_) => debug!("the replica does not say in time how far this request has read"),
    }
    token::known(repo)
}

fn replay<R: Default>(repo: &Repo, why: Why) -> Response<R> {
    let why = why.as_str();
    metering::replay(why);
    debug!(why, region = %repo.current_primary_region(), "replayed in the primary region");
    fly_replay::answer(repo)
}

/// The visitor waits for this.
const READS_TIMEOUT: Duration = Duration::from_secs(1);
