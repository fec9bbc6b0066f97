use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use homing::error::{DatabaseError, SqlState};
use homing::{Error, Fate};
use homing_http::status_of;

use crate::functions::Interrupted;

/// Why a request failed, and what became of it.
#[derive(Debug, Template)]
#[template(path = "failure.html")]
pub(crate) struct Failure {
    status: StatusCode,
    fate: Fate,
    error: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The full message may name servers and tables: it is for the log. The table's checks are named for visitors.
        tracing::warn!(error = &error as &dyn std::error::Error, "a request failed");
        let check = error.db().filter(|db| db.code() == &SqlState::CHECK_VIOLATION).and_then(DatabaseError::constraint);
        let shown = check.unwrap_or(error.client_message()).to_owned();
        Self { status: status_of(&error), fate: error.fate(), error: shown }
    }
}

impl From<Interrupted> for Failure {
    fn from(Interrupted { signed, error }: Interrupted) -> Self {
        let failure = Self::from(error);
        Self { error: format!("{} ({signed} were signed before, and stay)", failure.error), ..failure }
    }
}

/// Answers a request that was not even tried.
pub(crate) fn refused(status: StatusCode, error: &str) -> Failure {
    Failure { status, fate: Fate::NotSent, error: error.to_owned() }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Html(self.to_string())).into_response()
    }
}
