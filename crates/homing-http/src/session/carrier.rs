//! Tokens on their way: out of a request, and into its response.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};

use crate::session::cookie::Cookie;

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
            // Several lines of a header may arrive as one.
            let values = lines(headers, name).take(MOST_TOKENS);
            found.tokens.extend(values.flat_map(|line| words(&line, ',', token)).take(MOST_TOKENS));
        }
        if let Some(cookie) = &self.cookie {
            let room = MOST_TOKENS - found.tokens.len();
            let pairs = |line: Cow<'_, str>| words(&line, ';', |pair| token(cookie.value_in(pair)?));
            found.tokens.extend(lines(headers, &COOKIE).take(MOST_LINES).flat_map(pairs).take(room));
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
        // Shared caches may keep what has a lifetime, whether it is called public or not.
        if put && !has_directive(headers, &["private", "no-store"]) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        put
    }
}

/// As text: other cookies may hold anything, and must not hide ours.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Cow<'a, str>> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// What `read` finds in the parts of a line: the first of them.
fn words(line: &str, separator: char, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    line.split(separator).take(MOST_COOKIES).filter_map(read).take(MOST_TOKENS).collect()
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
    let is_for_networks = FOR_NETWORKS.iter().any(|name| headers.contains_key(*name));
    let is_shared =
        has_directive(headers, &["public", "s-maxage"]) && !has_directive(headers, &["private", "no-store"]);
    (method == Method::GET || method == Method::HEAD) && (is_shared || is_for_networks)
}

/// Whether `Cache-Control` has one of these directives.
fn has_directive(headers: &HeaderMap, names: &[&str]) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(|one| one.split('=').next().unwrap_or_default().trim());
    directives.into_iter().any(|directive| names.iter().any(|name| directive.eq_ignore_ascii_case(name)))
}

/// A browser that was here before under another path or domain may send several cookies of a name; more is no browser.
const MOST_TOKENS: usize = 4;

/// HTTP/2 may have a line for each cookie.
const MOST_LINES: usize = 256;

/// What delivery networks go by, in place of `Cache-Control`. <https://www.rfc-editor.org/rfc/rfc9213>
const FOR_NETWORKS: [&str; 2] = ["cdn-cache-control", "surrogate-control"];

/// Browsers keep about 180 cookies for a site.
const MOST_COOKIES: usize = 256;

/// Tokens are not longer, so that they fit into a cookie.
const MOST_CHARACTERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::token;

    type Lines<'a> = &'a [(&'a str, &'a [u8])];

    fn carrier() -> Carrier {
        Carrier { cookie: Some(Cookie::default()), header: Some(HeaderName::from_static(token::NAME)) }
    }

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn tokens_are_found_wherever_they_are_and_no_more_than_four() {
        let many = b"homing-token=1; homing-token=2; homing-token=3; homing-token=4; homing-token=5";
        let cases: [(Lines<'_>, &[&str]); 8] = [
            (&[], &[]),
            (&[("cookie", b"a=b; homing-token=x; c=d")], &["x"]),
            (&[("cookie", b"a=b"), ("cookie", b"homing-token=x")], &["x"]),
            (&[("cookie", b"name=\xe4\xff; homing-token=x")], &["x"]),
            (&[("cookie", b"homing-token=; homing-token=x")], &["x"]),
            (&[("homing-token", b"x, y"), ("cookie", b"homing-token=z")], &["x", "y", "z"]),
            (&[("homing-token", b"1,2,3,4,5"), ("cookie", b"homing-token=z")], &["1", "2", "3", "4"]),
            (&[("cookie", many)], &["1", "2", "3", "4"]),
        ];
        for (lines, tokens) in cases {
            assert_eq!(carrier().find(&headers(lines)).tokens, tokens, "{lines:?}");
        }
        let long = "x".repeat(MOST_CHARACTERS + 1);
        assert!(carrier().find(&headers(&[("homing-token", long.as_bytes())])).tokens.is_empty());
        assert!(carrier().find(&headers(&[("homing-token", b"")])).by_header);
        let late = "a=b; ".repeat(MOST_COOKIES) + "homing-token=x";
        assert!(carrier().find(&headers(&[("cookie", late.as_bytes())])).tokens.is_empty());
    }

    #[test]
    fn what_is_for_everybody_is_told_by_its_headers() {
        let cases: [(Lines<'_>, bool); 7] = [
            (&[], false),
            (&[("cache-control", b"max-age=60")], false),
            (&[("cache-control", b"max-age=60, PUBLIC")], true),
            (&[("cache-control", b"s-maxage=5")], true),
            (&[("cache-control", b"s-maxage = 5"), ("cache-control", b"private")], false),
            (&[("cache-control", b"no-store, public")], false),
            (&[("cdn-cache-control", b"max-age=60")], true),
        ];
        for (lines, shared) in cases {
            let headers = headers(lines);
            assert_eq!(is_for_everybody(&Method::GET, &headers), shared, "{lines:?}");
            assert_eq!(is_for_everybody(&Method::HEAD, &headers), shared, "{lines:?}");
            assert!(!is_for_everybody(&Method::POST, &headers));
        }
    }
}
