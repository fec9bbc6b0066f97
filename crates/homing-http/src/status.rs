//! The HTTP status for a failed call.

use homing::error::SqlState;
use homing::{Error, Fate};
use http::StatusCode;

/// Returns a status for the response to a request with a failed call.
///
/// | the call | status |
/// |---|---|
/// | was [committed](Fate::Committed), but its result is not available | 202 Accepted |
/// | did not find the row ([`is_not_found`](Error::is_not_found)) | 404 Not Found |
/// | would have written over the change of another call ([`is_outdated`](Error::is_outdated)) | 409 Conflict |
/// | was rejected because of another row (unique, exclusion and foreign keys) or another transaction (SQLSTATE class 40) | 409 Conflict |
/// | was rejected because of its values (SQLSTATE classes 22, 23), or by the application's own code (`P0001`) | 422 Unprocessable Content |
/// | ended with an [unknown outcome](Fate::OutcomeUnknown) | 502 Bad Gateway |
/// | was not sent, [timed out](Error::is_timed_out), met a [full node](Error::is_overloaded), or could not run at the moment (SQLSTATE classes 53, 55, 57) | 503 Service Unavailable |
/// | is wrong itself ([`is_misuse`](Error::is_misuse), [`is_configuration`](Error::is_configuration)), or failed in any other way | 500 Internal Server Error |
///
/// [`Error::client_message`] returns a text for the response's body. The error's own text is for the log.
///
/// If a named function failed with an error of PostgreSQL, that error decides. An application may know a better status
/// for its functions' own errors, which are a 500 here.
///
/// ```
/// use homing_http::status_of;
///
/// let error = homing::Error::failed("there is not enough money");
/// assert_eq!(status_of(&error), http::StatusCode::INTERNAL_SERVER_ERROR);
/// ```
pub fn status_of(error: &Error) -> StatusCode {
    match error.fate() {
        Fate::Committed => StatusCode::ACCEPTED,
        Fate::OutcomeUnknown => StatusCode::BAD_GATEWAY,
        Fate::NotSent if error.is_misuse() || error.is_configuration() => StatusCode::INTERNAL_SERVER_ERROR,
        Fate::NotSent => StatusCode::SERVICE_UNAVAILABLE,
        Fate::Rejected if error.is_not_found() => StatusCode::NOT_FOUND,
        Fate::Rejected if error.is_outdated() => StatusCode::CONFLICT,
        Fate::Rejected if error.is_timed_out() => StatusCode::SERVICE_UNAVAILABLE,
        Fate::FunctionFailed if error.is_overloaded() => StatusCode::SERVICE_UNAVAILABLE,
        Fate::Rejected | Fate::FunctionFailed => error.code().map_or(StatusCode::INTERNAL_SERVER_ERROR, of_sqlstate),
    }
}

/// Returns the status for a SQLSTATE, by
/// [PostgreSQL's classes](https://www.postgresql.org/docs/current/errcodes-appendix.html).
fn of_sqlstate(code: &SqlState) -> StatusCode {
    let in_the_way = [SqlState::UNIQUE_VIOLATION, SqlState::EXCLUSION_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION];
    if in_the_way.contains(code) {
        return StatusCode::CONFLICT;
    }
    match code.code().get(..2) {
        _ if code == &SqlState::RAISE_EXCEPTION => StatusCode::UNPROCESSABLE_ENTITY,
        Some("22" | "23") => StatusCode::UNPROCESSABLE_ENTITY,
        Some("40") => StatusCode::CONFLICT,
        Some("53" | "55" | "57") => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_class_has_a_status() {
        for (code, status) in [
            ("22001", 422),
            ("22P02", 422),
            ("23502", 422),
            ("23503", 409),
            ("23505", 409),
            ("23514", 422),
            ("23P01", 409),
            ("40001", 409),
            ("40P01", 409),
            ("42703", 500),
            ("42P01", 500),
            ("53300", 503),
            ("55P03", 503),
            ("57014", 503),
            ("P0001", 422),
            ("XX000", 500),
        ] {
            assert_eq!(of_sqlstate(&SqlState::from_code(code)).as_u16(), status, "{code}");
        }
    }
}
