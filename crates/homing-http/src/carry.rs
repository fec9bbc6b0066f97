//! Tokens on their way: out of a request, and into its response.

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};

use crate::Cookie;

/// How tokens travel.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    pub(crate) cookie: Option<Cookie>,
    pub(crate) header: Option<HeaderName>,
}

/// The tokens of a request, as they are.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// At most [`MOST_TOKENS`], those of the header first.
    pub(crate) tokens: Vec<String>,

    /// Whether the request has the header, with a token in it or not.
    pub(crate) by_header: bool,
}

/// What an answer to a request depends on.
#[derive(Debug)]
pub(crate) struct Asked {
    method: Method,
    by_header: bool,
    /// Whether a cookie may only travel over TLS.
    secure: bool,
}

impl Carrier {
    /// The tokens of a request. Bounded, whatever the request is.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        if let Some(name) = &self.header {
            found.by_header = headers.contains_key(name);
            let values = headers.get_all(name).iter().take(MOST_TOKENS);
            found.tokens.extend(values.filter_map(|value| token(value.to_str().ok()?)));
        }
        if let Some(cookie) = &self.cookie {
            let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let pairs = lines.flat_map(|line| line.split(';')).take(MOST_COOKIES);
            let room = MOST_TOKENS.saturating_sub(found.tokens.len());
            found.tokens.extend(pairs.filter_map(|pair| token(cookie.value_in(pair)?)).take(room));
        }
        found
    }

    pub(crate) fn asked(&self, parts: &request::Parts, by_header: bool) -> Asked {
        let secure = self.cookie.as_ref().is_none_or(|cookie| cookie.is_secure_for(parts));
        Asked { method: parts.method.clone(), by_header, secure }
    }

    /// Puts the token into the answer. Whether it could be put there at all.
    pub(crate) fn put(&self, token: &str, asked: &Asked, headers: &mut HeaderMap) -> bool {
        if is_for_everybody(&asked.method, headers) {
            return false;
        }
        let mut put = false;
        if let Some(name) = &self.header
            && let Ok(value) = HeaderValue::from_str(token)
        {
            headers.insert(name.clone(), value);
            put = true;
        }
        // Who uses the header has no need of a cookie besides.
        if let Some(cookie) = &self.cookie
            && !(asked.by_header && put)
            && let Some(value) = cookie.set(token, asked.secure)
        {
            headers.append(SET_COOKIE, value);
            put = true;
        }
        if put {
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
        }
        put
    }
}

/// Not what is empty or longer than any token.
fn token(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MOST_CHARACTERS).then(|| text.to_owned())
}

/// Whether shared caches are told to keep the answer. They would give one visitor's token to all others, in place of
/// their own. Answers to other methods are not reused by any cache.
/// <https://www.rfc-editor.org/rfc/rfc9111#section-3>
fn is_for_everybody(method: &Method, headers: &HeaderMap) -> bool {
    let directives = || {
        let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        lines.flat_map(|line| line.split(',')).map(|directive| directive.split('=').next().unwrap_or_default().trim())
    };
    let has = |name: &str| directives().any(|directive| directive.eq_ignore_ascii_case(name));
    (method == Method::GET || method == Method::HEAD)
        && (has("public") || has("s-maxage"))
        && !has("private")
        && !has("no-store")
}

/// A browser that was here before under another path or domain may send several cookies of a name; more is no browser.
const MOST_TOKENS: usize = 4;

/// Browsers keep about 180 cookies for a site.
const MOST_COOKIES: usize = 256;

/// Tokens are not longer, so that they fit into a cookie.
const MOST_CHARACTERS: usize = 4096;
