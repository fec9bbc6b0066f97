use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use homing::Error;
use serde_json::json;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Homing(Error),
    NoSuchUser,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_not_found() { Self::NoSuchUser } else { Self::Homing(error) }
    }
}

impl IntoResponse for Failure {
    /// Returns an answer that says what became of the request.
    fn into_response(self) -> Response {
        let (status, fate, error) = match &self {
            Self::NoSuchUser => (StatusCode::NOT_FOUND, "rejected", "there is no such user".to_owned()),
            Self::Homing(error) => {
                // The full message may name servers and tables: it is for the log.
                tracing::warn!(error = error as &dyn std::error::Error, "a request failed");
                let (status, fate) = fate(error);
                (status, fate, error.client_message().to_owned())
            }
        };
        (status, Json(json!({ "error": error, "fate": fate }))).into_response()
    }
}

/// Returns the fate of the call; `homing::Error` describes all of them.
fn fate(error: &Error) -> (StatusCode, &'static str) {
    if error.is_committed() {
        (StatusCode::ACCEPTED, "committed")
    } else if error.is_rejected() {
        (StatusCode::UNPROCESSABLE_ENTITY, "rejected")
    } else if error.is_misuse() {
        (StatusCode::BAD_REQUEST, "not sent")
    } else if error.is_not_sent() {
        (StatusCode::SERVICE_UNAVAILABLE, "not sent")
    } else {
        // Also if a named function failed: it may have written before.
        (StatusCode::BAD_GATEWAY, "outcome unknown")
    }
}
