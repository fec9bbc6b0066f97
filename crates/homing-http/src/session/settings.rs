//! The settings of a [`SessionLayer`](crate::SessionLayer), and how a request begins with them.

use std::sync::Arc;

use homing::report::Report;
use homing::{Repo, Token};
use http::{HeaderName, request};

use crate::metering;
use crate::session::carrier::{Carrier, Found};
use crate::session::cookie::Cookie;
use crate::session::fly_replay::{self, FlyReplay};
use crate::session::recent::Recent;
use crate::session::refusals::Refusals;
use crate::session::request::{RequestInfo, RequestRepo, TokenState};
use crate::session::token;

/// The part of a session that later requests have to see.
///
/// Closed: a session has only writes and reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carry {
    /// Its writes, and reads that the primary answered in place of the local replica. Every later request sees these, on
    /// any node. Two requests that only read from different replicas may see them out of order. This costs nothing on a node
    /// with a replica. On a node whose own database is the primary, the database is asked for its position once at the end of
    /// each request that wrote.
    ///
    /// There PostgreSQL is asked whether a raw statement wrote, if the statement runs in a transaction block as it does by
    /// itself (`select`, `with`, `insert`, `update`, …). Every other raw statement counts as a write.
    #[default]
    Writes,

    /// Reads from replicas as well, so that no request sees an older state than an earlier one, on any node.
    ///
    /// After each request that read, the node asks the replica for its position, which takes a round trip within the
    /// region. The response gets a token, so shared caches cannot keep it. If the replica does not answer within a
    /// second, the token is that of [`Writes`](Self::Writes).
    Reads,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A handle whose own session stays empty.
    pub(crate) repo: Repo,
    pub(crate) carrier: Carrier,
    pub(crate) carry: Carry,
    pub(crate) fly_replay: Option<FlyReplay>,
    recent: Arc<Recent>,
    refusals: Arc<Refusals>,
}

impl Settings {
    pub(crate) fn new(repo: &Repo) -> Self {
        Self {
            repo: metering::metered(&repo.session()),
            carrier: Carrier { cookie: Some(Cookie::default()), header: Some(HeaderName::from_static(token::NAME)) },
            carry: Carry::default(),
            fly_replay: None,
            recent: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// Begins the session of a request.
    pub(crate) fn begin(&self, parts: &request::Parts, found: &Found) -> (RequestRepo, RequestInfo) {
        let (repo, state) = self.adopt(&found.tokens);
        metering::request(state.as_str());
        let info = RequestInfo::new(&repo, state, fly_replay::source(&parts.headers));
        let record = info.clone();
        let repo = repo.with_added_observer(move |report: &Report| record.record(report));
        (RequestRepo(repo), info)
    }

    /// Returns the token for a response, from the token of its session.
    pub(crate) fn token_for(&self, session: Token) -> Token {
        self.recent.join(&self.repo, session)
    }

    /// Begins a session that sees what each of the tokens asks for.
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
