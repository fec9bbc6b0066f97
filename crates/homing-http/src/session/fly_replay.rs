//! [`FlyReplay`], answers that ask Fly.io's proxy to send the whole request to the primary region.

use homing::database::Role;
use homing::error::SqlState;
use homing::{Error, Repo};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, request};

/// Which requests are better handled in the primary region as a whole.
///
/// A request that writes once is as fast either way. One that makes many calls one after the other, reads between its
/// writes, or holds a transaction open pays a round trip for each of them from a replica region, and one in all when
/// [Fly.io's proxy](https://fly.io/docs/networking/dynamic-request-routing/) replays it in the primary region. Nothing
/// is replayed on a node whose own database is the primary, nor a request that was replayed already
/// (`fly-replay-src`), nor one with a body that the proxy would not hold: above [1 MB](LARGEST_BODY), or of unknown
/// length. These run here, and their writes are forwarded as always.
///
/// Only behind Fly.io's proxy, with its `http` handler: anybody else would deliver the empty answer to the client.
///
/// Paths are compared by whole segments, as they came: `/admin` stands for `/admin` and `/admin/users`, not for
/// `/administrator`. The lists are about speed, never about access.
#[derive(Clone, Debug)]
pub struct FlyReplay {
    methods: Vec<Method>,
    always: Vec<String>,
    never: Vec<String>,
}

/// Put by a handler into the extensions of its response: this request was not handled, replay it in the primary region
/// if that is possible. Where it is not, the response goes out as it is.
///
/// Nothing is replayed once a write of the request has been committed or may have been, since the replay would do that
/// again. The handler has to know the same of whatever else it did: mails that it sent, files that it wrote.
///
/// With axum it may stand in front of a response:
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

/// The largest body that Fly.io's proxy replays, in bytes: 1 MB.
pub const LARGEST_BODY: u64 = 1_000_000;

impl ReplayAtPrimary {
    /// The marker, where the error says that a write came to a database that takes none: SQLSTATE 25006, or
    /// [`is_not_primary`](Error::is_not_primary). `None` for anything else.
    pub fn for_error(error: &Error) -> Option<Self> {
        let is_read_only = error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
        let nothing_done = !error.is_committed() && !error.is_outcome_unknown();
        (nothing_done && (is_read_only || error.is_not_primary())).then_some(Self)
    }
}

impl FlyReplay {
    /// Replays what a handler marks with [`ReplayAtPrimary`], and nothing else yet.
    pub fn on_error() -> Self {
        Self { methods: Vec::new(), always: Vec::new(), never: Vec::new() }
    }

    /// As [`on_error`](Self::on_error), and every `POST`, `PUT`, `PATCH` and `DELETE` before it comes to a handler.
    pub fn writing_methods() -> Self {
        Self::on_error().with_methods([Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
    }

    /// Replays these methods.
    #[must_use]
    pub fn with_methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { methods: methods.into_iter().collect(), ..self }
    }

    /// Replays every request to this path and those below it, whatever its method.
    #[must_use]
    pub fn with_always(mut self, path: impl Into<String>) -> Self {
        self.always.push(path.into());
        self
    }

    /// Replays no request to this path and those below it, even if it is below one that
    /// [always](Self::with_always) is.
    #[must_use]
    pub fn with_never(mut self, path: impl Into<String>) -> Self {
        self.never.push(path.into());
        self
    }

    /// Whether the request is replayed before it is handled.
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

    /// Whether a replay of the request is possible at all.
    pub(crate) fn is_possible(&self, parts: &request::Parts, repo: &Repo) -> bool {
        let is_elsewhere = repo.region() != repo.primary_region()
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

/// `fly-replay-src`, which the proxy adds to what it replays.
pub(crate) fn source(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REPLAY_SOURCE)?.to_str().ok()?;
    Some(text.chars().take(LONGEST_SOURCE).collect())
}

/// The answer that the proxy takes for itself. Whoever else gets to see it sees an error.
pub(crate) fn answer<B: Default>(repo: &Repo) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::CONFLICT;
    let value = HeaderValue::from_str(&format!("region={}", repo.primary_region()));
    response.headers_mut().insert(REPLAY, value.expect("regions are letters, digits and -"));
    response
}

/// Whether the body is known to be one that the proxy can send again.
fn has_small_body(parts: &request::Parts) -> bool {
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        return false;
    }
    match parts.headers.get(CONTENT_LENGTH) {
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
            length.is_some_and(|length| length <= LARGEST_BODY)
        }
        // In HTTP/1 that means no body; in HTTP/2 a body may come without saying how long it is.
        None => parts.version < Version::HTTP_2 || matches!(parts.method, Method::GET | Method::HEAD),
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

const REPLAY: &str = "fly-replay";
const REPLAY_SOURCE: &str = "fly-replay-src";

/// It comes with the request, so it may be of any length.
const LONGEST_SOURCE: usize = 256;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_path_is_below_another_by_whole_segments() {
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
    fn a_body_of_unknown_length_is_not_replayed() {
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
    fn a_source_is_cut_to_what_is_shown() {
        let mut headers = HeaderMap::new();
        assert_eq!(source(&headers), None);
        headers.insert(REPLAY_SOURCE, HeaderValue::from_str(&"x".repeat(10_000)).unwrap());
        assert_eq!(source(&headers).unwrap().len(), LONGEST_SOURCE);
    }
}
