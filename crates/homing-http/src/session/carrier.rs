//! [`Carrier`], which reads tokens from a request and puts the new token into the response.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};

use crate::session::cookie::Cookie;

/// The cookie and the header in which tokens travel.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    pub(crate) cookie: Option<Cookie>,
    pub(crate) header: Option<HeaderName>,
}

/// The tokens of a request, not verified yet.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// At most [`MAX_TOKENS`], those of the header first.
    pub(crate) tokens: Vec<String>,

    /// Whether the request has the header, with or without a token.
    pub(crate) by_header: bool,
}

/// The facts about a request that decide how its response carries a token.
#[derive(Debug)]
pub(crate) struct Asked {
    method: Method,
    by_header: bool,
    /// Whether the cookie is `Secure`.
    secure: bool,
}

impl Carrier {
    /// Returns the tokens of a request. Their number and length are bounded.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        if let Some(name) = &self.header {
            found.by_header = headers.contains_key(name);
            // A proxy may join several lines of a header into one.
            let values = lines(headers, name).take(MAX_TOKENS);
            found.tokens.extend(values.flat_map(|line| words(&line, ',', token)).take(MAX_TOKENS));
        }
        if let Some(cookie) = &self.cookie {
            let room = MAX_TOKENS - found.tokens.len();
            let pairs = |line: Cow<'_, str>| words(&line, ';', |pair| token(cookie.value_in(pair)?));
            found.tokens.extend(lines(headers, &COOKIE).take(MAX_LINES).flat_map(pairs).take(room));
        }
        found
    }

    pub(crate) fn asked(&self, parts: &request::Parts, by_header: bool) -> Asked {
        let secure = self.cookie.as_ref().is_none_or(|cookie| cookie.is_secure_for(parts));
        Asked { method: parts.method.clone(), by_header, secure }
    }

    /// Puts the token into the response, and returns whether the response can carry it.
    pub(crate) fn put(&self, token: &str, asked: &Asked, headers: &mut HeaderMap) -> bool {
        if is_shared(&asked.method, headers) {
            return false;
        }
        let mut put = false;
        if let Some(name) = &self.header
            && let Ok(value) = HeaderValue::from_str(token)
        {
            headers.insert(name.clone(), value);
            put = true;
        }
        // A client that uses the header needs no cookie.
        if let Some(cookie) = &self.cookie
            && !(asked.by_header && put)
            && let Some(value) = cookie.set(token, asked.secure)
        {
            headers.append(SET_COOKIE, value);
            put = true;
        }
        // Shared caches may keep a response with a lifetime, even if it is not `public`.
        if put && !has_directive(headers, &["private", "no-store"]) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        put
    }
}

/// Returns the lines of a header as text. Other cookies may have any bytes, and must not hide ours.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Cow<'a, str>> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// Applies `read` to the parts of a line, and returns the first values that it finds.
fn words(line: &str, separator: char, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    line.split(separator).take(MAX_COOKIES).filter_map(read).take(MAX_TOKENS).collect()
}

/// Returns the text, unless it is empty or too long for a token.
fn token(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_CHARACTERS).then(|| text.to_owned())
}

/// Returns whether the response allows shared caches to keep it. A cache would give one visitor's token to all others.
/// No cache reuses the responses to other methods. <https://www.rfc-editor.org/rfc/rfc9111#section-3>
fn is_shared(method: &Method, headers: &HeaderMap) -> bool {
    let is_for_networks = FOR_NETWORKS.iter().any(|name| headers.contains_key(*name));
    let is_public =
        has_directive(headers, &["public", "s-maxage"]) && !has_directive(headers, &["private", "no-store"]);
    (method == Method::GET || method == Method::HEAD) && (is_public || is_for_networks)
}

/// Returns whether `Cache-Control` has one of these directives.
fn has_directive(headers: &HeaderMap, names: &[&str]) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(|one| one.split('=').next().unwrap_or_default().trim());
    directives.into_iter().any(|directive| names.iter().any(|name| directive.eq_ignore_ascii_case(name)))
}

/// A browser may send several cookies of the name, set under other paths or domains, but not more than four.
const MAX_TOKENS: usize = 4;

/// HTTP/2 may have a line for each cookie; see [`MAX_COOKIES`].
const MAX_LINES: usize = 256;

/// The headers that content delivery networks read in place of `Cache-Control`.
/// <https://www.rfc-editor.org/rfc/rfc9213>
const FOR_NETWORKS: [&str; 2] = ["cdn-cache-control", "surrogate-control"];

/// The parts of a line that are read. Browsers keep about 180 cookies for a site.
const MAX_COOKIES: usize = 256;

/// No token is longer, so that each fits into a cookie.
const MAX_CHARACTERS: usize = 4096;

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
    fn at_most_four_tokens_are_read() {
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
        let long = "x".repeat(MAX_CHARACTERS + 1);
        assert!(carrier().find(&headers(&[("homing-token", long.as_bytes())])).tokens.is_empty());
        assert!(carrier().find(&headers(&[("homing-token", b"")])).by_header);
        let late = "a=b; ".repeat(MAX_COOKIES) + "homing-token=x";
        assert!(carrier().find(&headers(&[("cookie", late.as_bytes())])).tokens.is_empty());
    }

    #[test]
    fn headers_say_what_is_shared() {
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
            assert_eq!(is_shared(&Method::GET, &headers), shared, "{lines:?}");
            assert_eq!(is_shared(&Method::HEAD, &headers), shared, "{lines:?}");
            assert!(!is_shared(&Method::POST, &headers));
        }
    }
}
