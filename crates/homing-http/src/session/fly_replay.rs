//! [`FlyReplay`], which lets Fly.io's proxy send a whole request to the primary region.

use homing::database::Role;
use homing::error::SqlState;
use homing::{Error, Repo};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, request};

/// The requests that [Fly.io's proxy](https://fly.io/docs/networking/dynamic-request-routing/) replays in the primary
/// region as a whole.
///
/// A request with one write is equally fast with and without a replay. A request that makes many calls one after the
/// other, reads between its writes, or holds a transaction open pays a round trip for each call from a replica region.
/// Replayed in the primary region it pays one round trip in all.
///
/// These requests are never replayed. They run on this node, and their writes are forwarded as always:
///
/// - requests on a node whose own database is the primary, or that is in the primary region;
/// - requests that were replayed already (`fly-replay-src`);
/// - requests whose body the proxy would not keep: longer than [1 MB](MAX_REPLAYED_BYTES), or of unknown length.
///
/// Use this only behind Fly.io's proxy with its `http` handler: any other proxy would deliver the empty response to the
/// client.
///
/// Paths are compared by whole segments, without decoding: `/admin` stands for `/admin` and `/admin/users`, but not for
/// `/administrator`. The lists of paths are for speed, not for access control.
#[derive(Clone, Debug)]
pub struct FlyReplay {
    methods: Vec<Method>,
    always: Vec<String>,
    never: Vec<String>,
}

/// A marker in the extensions of a response: the handler did nothing, and wants the request replayed in the primary
/// region. If a replay is not possible, the client gets the response itself.
///
/// A request is not replayed once a write of it is or may be committed, because the replay would write again. The
/// handler itself is responsible for everything else that it did, such as mails sent or files written.
///
/// With axum the marker may stand in front of a response:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use homing_http::ReplayAtPrimary;
/// use http::StatusCode;
///
/// async fn handler() -> (Option<ReplayAtPrimary>, StatusCode) {
///     # let outcome: homing::Result<()> = Ok(());
///     match outcome {
///         Ok(()) => (None, StatusCode::OK),
///         Err(error) => (ReplayAtPrimary::for_error(&error), StatusCode::SERVICE_UNAVAILABLE),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayAtPrimary;

/// Why a request is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Error,
    Method,
    Path,
}

/// The longest body that Fly.io's proxy replays, in bytes: 1 MB.
pub const MAX_REPLAYED_BYTES: u64 = 1_000_000;

impl ReplayAtPrimary {
    /// Returns the marker if the error says that a write came to a database that does not accept writes: SQLSTATE 25006,
    /// or [`is_not_primary`](Error::is_not_primary).
    pub fn for_error(error: &Error) -> Option<Self> {
        let is_read_only = error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
        let nothing_done = !error.is_committed() && !error.is_outcome_unknown();
        (nothing_done && (is_read_only || error.is_not_primary())).then_some(Self)
    }
}

impl FlyReplay {
    /// Replays only requests that a handler marks with [`ReplayAtPrimary`].
    pub fn on_error() -> Self {
        Self { methods: Vec::new(), always: Vec::new(), never: Vec::new() }
    }

    /// Replays every `POST`, `PUT`, `PATCH` and `DELETE` before a handler gets it, and requests that a handler marks with
    /// [`ReplayAtPrimary`].
    pub fn writing_methods() -> Self {
        Self::on_error().with_methods([Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
    }

    /// Replays every request with one of these methods before a handler gets it. Replaces earlier methods.
    #[must_use]
    pub fn with_methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { methods: methods.into_iter().collect(), ..self }
    }

    /// Replays every request to this path and the paths below it, with any method.
    #[must_use]
    pub fn with_always(mut self, path: impl Into<String>) -> Self {
        self.always.push(path.into());
        self
    }

    /// Replays no request to this path and the paths below it. This takes precedence over
    /// [`with_always`](Self::with_always).
    #[must_use]
    pub fn with_never(mut self, path: impl Into<String>) -> Self {
        self.never.push(path.into());
        self
    }

    /// Returns why the request is replayed before a handler gets it, if it is.
    pub(crate) fn by_request(&self, parts: &request::Parts) -> Option<Why> {
        let path = parts.uri.path();
        if self.always.iter().any(|prefix| is_below(path, prefix)) {
            Some(Why::Path)
        } else if self.methods.contains(&parts.method) {
            Some(Why::Method)
        } else {
            None
        }
    }

    /// Returns whether the request can be replayed.
    pub(crate) fn is_possible(&self, parts: &request::Parts, repo: &Repo) -> bool {
        let is_elsewhere = *repo.region() != repo.current_primary_region()
            && repo.database().and_then(|database| database.role()) != Some(Role::Primary);
        is_elsewhere && self.is_replayable(parts)
    }

    fn is_replayable(&self, parts: &request::Parts) -> bool {
        !parts.headers.contains_key(REPLAY_SOURCE)
            && has_small_body(parts)
            && !self.never.iter().any(|prefix| is_below(parts.uri.path(), prefix))
    }
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Method => "method",
            Self::Path => "path",
        }
    }
}

/// Returns `fly-replay-src`, which the proxy adds to a replayed request.
pub(crate) fn source(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REPLAY_SOURCE)?.to_str().ok()?;
    Some(text.chars().take(MAX_SOURCE_CHARACTERS).collect())
}

/// Returns the response that the proxy takes for itself. To any other client it is an error.
pub(crate) fn answer<B: Default>(repo: &Repo) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::CONFLICT;
    let value = HeaderValue::from_str(&format!("region={}", repo.current_primary_region()));
    response.headers_mut().insert(REPLAY, value.expect("regions are letters, digits and -"));
    response
}

/// Returns whether the body is known to be short enough for the proxy to send it again.
fn has_small_body(parts: &request::Parts) -> bool {
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        return false;
    }
    match parts.headers.get(CONTENT_LENGTH) {
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
            length.is_some_and(|length| length <= MAX_REPLAYED_BYTES)
        }
        // In HTTP/1 the request has no body. In HTTP/2 it may have a body of unknown length.
        None => parts.version < Version::HTTP_2 || matches!(parts.method, Method::GET | Method::HEAD),
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

const REPLAY: &str = "fly-replay";
const REPLAY_SOURCE: &str = "fly-replay-src";

/// The header comes from the client, so it may have any length.
const MAX_SOURCE_CHARACTERS: usize = 256;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn paths_compare_by_segments() {
        for (path, prefix, below) in [
            ("/admin", "/admin", true),
            ("/admin/", "/admin", true),
            ("/admin/users", "/admin/", true),
            ("/admin", "/admin/", true),
            ("/administrator", "/admin", false),
            ("/a/admin", "/admin", false),
            ("/", "/admin", false),
            ("/anything", "/", true),
            ("/anything", "", true),
        ] {
            assert_eq!(is_below(path, prefix), below, "{path} {prefix}");
        }
    }

    #[test]
    fn body_of_unknown_length_is_not_replayed() {
        let parts = |method: Method, version: Version, length: Option<&str>| {
            let mut request = Request::builder().method(method).version(version);
            if let Some(length) = length {
                request = request.header(CONTENT_LENGTH, length);
            }
            request.body(()).unwrap().into_parts().0
        };
        for (method, version, length, small) in [
            (Method::DELETE, Version::HTTP_11, None, true),
            (Method::POST, Version::HTTP_2, None, false),
            (Method::GET, Version::HTTP_2, None, true),
            (Method::POST, Version::HTTP_2, Some("1000000"), true),
            (Method::POST, Version::HTTP_11, Some("1000001"), false),
            (Method::POST, Version::HTTP_11, Some("-1"), false),
        ] {
            assert_eq!(
                has_small_body(&parts(method.clone(), version, length)),
                small,
                "{method} {version:?} {length:?}"
            );
        }
    }

    #[test]
    fn long_source_is_cut() {
        let mut headers = HeaderMap::new();
        assert_eq!(source(&headers), None);
        headers.insert(REPLAY_SOURCE, HeaderValue::from_str(&"x".repeat(10_000)).unwrap());
        assert_eq!(source(&headers).unwrap().len(), MAX_SOURCE_CHARACTERS);
    }
}
