//! Extractors for axum.

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::session::fly_replay::ReplayAtPrimary;
use crate::session::request::{RequestInfo, RequestRepo};

/// The rejection of a request that did not pass a [`SessionLayer`](crate::SessionLayer): its route needs the layer.
///
/// The response is 500 Internal Server Error, and the log has an error.
#[derive(Debug)]
#[non_exhaustive]
pub struct MissingLayer;

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        tracing::error!("a handler wants its session, but its route has no homing_http::SessionLayer; add the layer");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestRepo {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        extension(&parts.extensions)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestInfo {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        extension(&parts.extensions)
    }
}

impl IntoResponseParts for ReplayAtPrimary {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        response.extensions_mut().insert(self);
        Ok(response)
    }
}

fn extension<T: Clone + Send + Sync + 'static>(extensions: &Extensions) -> Result<T, MissingLayer> {
    extensions.get().cloned().ok_or(MissingLayer)
}
