//! What every request goes through.

use axum::extract::Request;
use axum::http::header::{CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Refuses what another site's page sends in its visitor's name, and tells the browser to load nothing from elsewhere.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.method().is_safe() || is_same_site(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this form was sent by another site").into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Browsers say where a form comes from; who says nothing is no browser, and acts in nobody else's name.
fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    text(ORIGIN.as_str()).is_none_or(|origin| origin.split_once("://").map(|(_, host)| host) == text(HOST.as_str()))
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
