//! [`Cookie`], in which a browser keeps the token.

use std::time::Duration;

use homing::{Error, Result};
use http::header::{HOST, HeaderName};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, request};

use crate::session::token;

/// The cookie with the token.
///
/// It is always `HttpOnly`, `SameSite=Lax` and `Path=/`, and has no `Domain`. The token does not authenticate anyone: it
/// has positions of the database, and its only effect is that reads wait for them.
#[derive(Clone, Debug)]
pub struct Cookie {
    name: String,
    max_age: Duration,
    secure: Secure,
    trusts_forwarded_proto: bool,
}

/// When the cookie is `Secure`, so that a browser sends it over TLS only.
///
/// Closed: a cookie is `Secure` always, never, or depending on the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secure {
    /// Always, except for plain HTTP to this machine.
    ///
    /// A server behind a proxy cannot see whether the browser used TLS, and a client can forge headers. So the cookie is
    /// `Secure`, with two exceptions. One is a request for `localhost`, a name below it, or a loopback address, because
    /// some browsers do not keep a `Secure` cookie from there. The other is a trusted proxy that says `http`
    /// ([`Cookie::with_trusted_forwarded_proto`]).
    #[default]
    UnlessLocal,

    /// Always.
    Always,

    /// Never. For plain HTTP in a private network, because a browser would not keep a `Secure` cookie.
    Never,
}

impl Cookie {
    /// Creates a cookie with a name. The name of [`Cookie::default`] is `homing-token`.
    ///
    /// If the name begins with `__Host-`, browsers refuse the cookie from other subdomains and over plain HTTP. A cookie
    /// whose name begins with `__Host-` or `__Secure-` is always `Secure`.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if the name is not a valid name of a cookie.
    pub fn named(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(Error::configuration(format!(
                "invalid name {name:?} of a cookie: use letters, digits, - and _"
            )));
        }
        Ok(Self { name, ..Self::default() })
    }

    /// Sets how long the browser keeps the cookie after the last write, in whole seconds, at least one. Default: 5
    /// minutes.
    ///
    /// It has to be longer than any replica lags: afterwards, a browser that comes to a node with a replica further
    /// behind reads stale rows. Let [`Health`](crate::Health) take such a node out earlier.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        // At zero the browser would delete the cookie.
        Self { max_age: max_age.max(Duration::from_secs(1)), ..self }
    }

    /// Sets when the cookie is `Secure`. Default: [`Secure::UnlessLocal`]. A name with the prefix `__Host-` or
    /// `__Secure-` makes it `Secure` in any case.
    #[must_use]
    pub fn with_secure(self, secure: Secure) -> Self {
        Self { secure, ..self }
    }

    /// Trusts the header `X-Forwarded-Proto`. Default: not trusted.
    ///
    /// Only for a server behind a proxy that overwrites this header. Without such a proxy any client can set it.
    #[must_use]
    pub fn with_trusted_forwarded_proto(self) -> Self {
        Self { trusts_forwarded_proto: true, ..self }
    }

    /// Returns the value of a pair of the `Cookie` header, if the pair has this cookie's name.
    pub(crate) fn value_in<'a>(&self, pair: &'a str) -> Option<&'a str> {
        let (name, value) = pair.split_once('=')?;
        (name.trim() == self.name).then(|| value.trim())
    }

    pub(crate) fn is_secure_for(&self, parts: &request::Parts) -> bool {
        match self.secure {
            _ if self.is_prefixed() => true,
            Secure::Always => true,
            Secure::Never => false,
            Secure::UnlessLocal if parts.uri.scheme() == Some(&Scheme::HTTPS) => true,
            Secure::UnlessLocal => match self.forwarded_proto(&parts.headers) {
                Some(proto) => proto != Proto::Http,
                None => !is_local(parts),
            },
        }
    }

    /// Returns the value of `Set-Cookie`, or `None` if no browser would keep the cookie.
    pub(crate) fn set(&self, token: &str, secure: bool) -> Option<HeaderValue> {
        if self.name.len() + token.len() > MAX_BYTES {
            return None;
        }
        let (name, max_age) = (&self.name, self.max_age.as_secs());
        let secure = if secure { "; Secure" } else { "" };
        let text = format!("{name}={token}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&text).ok()
    }

    fn is_prefixed(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        name.starts_with("__host-") || name.starts_with("__secure-")
    }

    /// Returns the protocol from a trusted proxy. Several proxies may each have added a word: the protocol is `http` only
    /// if all of them say so.
    fn forwarded_proto(&self, headers: &HeaderMap) -> Option<Proto> {
        if !self.trusts_forwarded_proto || !headers.contains_key(FORWARDED_PROTO) {
            return None;
        }
        let mut lines = headers.get_all(FORWARDED_PROTO).iter();
        let is_http = lines.all(|line| {
            line.to_str().is_ok_and(|line| line.split(',').all(|word| word.trim().eq_ignore_ascii_case("http")))
        });
        Some(if is_http { Proto::Http } else { Proto::Other })
    }
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: token::NAME.to_owned(),
            max_age: DEFAULT_MAX_AGE,
            secure: Secure::default(),
            trusts_forwarded_proto: false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proto {
    Http,
    Other,
}

/// Returns whether the request's host is a name of this machine only.
fn is_local(parts: &request::Parts) -> bool {
    let from_header = || parts.headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let Some(authority) = parts.uri.authority().cloned().or_else(from_header) else {
        return false;
    };
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Far longer than a healthy replica lags, and short enough not to matter when a database is replaced.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(300);

/// Browsers keep a cookie whose name and value have at most 4096 bytes together.
const MAX_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn cookie_is_secure_unless_local() {
        let cookie = Cookie::default();
        for (host, secure) in [
            ("guestbook.example", true),
            ("localhost", false),
            ("localhost:8080", false),
            ("LOCALHOST.:1", false),
            ("syd.localhost:8083", false),
            ("127.0.0.1:8080", false),
            ("127.9.9.9", false),
            ("[::1]:8080", false),
            ("192.168.0.7:8080", true),
            ("localhost.evil.example", true),
            ("notlocalhost", true),
            ("127.0.0.1.evil.example", true),
            ("", true),
            ("a b", true),
        ] {
            assert_eq!(cookie.is_secure_for(&parts("/", &[("host", host)])), secure, "{host:?}");
        }
        assert!(cookie.is_secure_for(&parts("/", &[])));
        assert!(!cookie.is_secure_for(&parts("http://localhost:8080/", &[])), "HTTP/2 has the host in the target");
        assert!(cookie.is_secure_for(&parts("https://localhost/", &[])));
    }

    #[test]
    fn only_trusted_proxy_is_believed() {
        let says = |host, proto| parts("/", &[("host", host), ("x-forwarded-proto", proto)]);
        let trusting = Cookie::default().with_trusted_forwarded_proto();
        for (host, proto, secure, secure_if_trusted) in [
            ("guestbook.example", "http", true, false),
            ("guestbook.example", "HTTP", true, false),
            ("guestbook.example", "https", true, true),
            ("guestbook.example", "http, https", true, true),
            ("guestbook.example", "https,http", true, true),
            ("guestbook.example", "", true, true),
            ("localhost", "https", false, true),
            ("localhost", "http", false, false),
        ] {
            assert_eq!(Cookie::default().is_secure_for(&says(host, proto)), secure, "{host} {proto}");
            assert_eq!(trusting.is_secure_for(&says(host, proto)), secure_if_trusted, "{host} {proto}");
        }
    }

    #[test]
    fn setting_overrides_the_request() {
        let (near, far) = (parts("/", &[("host", "localhost")]), parts("/", &[("host", "guestbook.example")]));
        let secure = |cookie: &Cookie| (cookie.is_secure_for(&near), cookie.is_secure_for(&far));
        assert_eq!(secure(&Cookie::default().with_secure(Secure::Always)), (true, true));
        assert_eq!(secure(&Cookie::default().with_secure(Secure::Never)), (false, false));
        let prefixed = Cookie::named("__Secure-seen").unwrap().with_secure(Secure::Never);
        assert_eq!(secure(&prefixed), (true, true), "a browser would not keep it otherwise");
    }

    #[test]
    fn invalid_names_are_refused() {
        for name in ["", "a b", "a=b", "a;b", "ä", "a\r\nb"] {
            assert!(Cookie::named(name).unwrap_err().is_configuration(), "{name:?}");
        }
        assert!(Cookie::named("Seen_2").is_ok());
    }

    #[test]
    fn attributes_are_valid_for_browsers() {
        let cookie = Cookie::default().with_max_age(Duration::from_millis(61_900));
        let text = |secure| cookie.set("abc", secure).unwrap();
        assert_eq!(text(true), "homing-token=abc; Path=/; Max-Age=61; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(text(false), "homing-token=abc; Path=/; Max-Age=61; HttpOnly; SameSite=Lax");
        assert!(cookie.set(&"a".repeat(4_084), true).is_some());
        assert!(cookie.set(&"a".repeat(4_085), true).is_none(), "no browser keeps it");
        assert!(cookie.set("a\r\nb", true).is_none());
    }

    #[test]
    fn whole_name_of_pair_is_compared() {
        let cookie = Cookie::default();
        for (pair, value) in [
            ("homing-token=abc", Some("abc")),
            (" homing-token = abc ", Some("abc")),
            ("homing-token=", Some("")),
            ("homing-token=a=b", Some("a=b")),
            ("homing-token", None),
            ("Homing-Token=abc", None),
            ("xhoming-token=abc", None),
            ("", None),
        ] {
            assert_eq!(cookie.value_in(pair), value, "{pair:?}");
        }
    }
}
