//! The responses of [`Health`](crate::Health) and `Prometheus`.

use std::convert::Infallible;
use std::pin::Pin;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

/// The future of a response, which always succeeds.
pub(crate) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

/// Returns a response that no cache may keep.
pub(crate) fn uncached(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
