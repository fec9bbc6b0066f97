use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use homing::Error;

/// Why a request is not answered as it asks, and what became of it.
#[derive(Debug, Template)]
#[template(path = "failure.html")]
pub(crate) struct Failure {
    status: StatusCode,
    fate: &'static str,
    error: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, fate) = fate(&error);
        Self { status, fate, error: error.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Html(self.to_string())).into_response()
    }
}

/// For what was not even tried.
pub(crate) fn refused(status: StatusCode, error: &str) -> Failure {
    Failure { status, fate: "not sent", error: error.to_owned() }
}

/// Every failed call has one of these fates; see `homing::Error`.
pub(crate) fn fate(error: &Error) -> (StatusCode, &'static str) {
    if error.is_committed() {
        (StatusCode::ACCEPTED, "committed")
    } else if error.is_not_found() {
        (StatusCode::NOT_FOUND, "rejected")
    } else if error.is_rejected() {
        (StatusCode::UNPROCESSABLE_ENTITY, "rejected")
    } else if error.is_not_sent() || error.is_misuse() {
        (StatusCode::SERVICE_UNAVAILABLE, "not sent")
    } else {
        // Also where a named function failed: it may have written before.
        (StatusCode::BAD_GATEWAY, "outcome unknown")
    }
}
