//! The status that tells a client what became of a call.

use homing::error::SqlState;
use homing::{Error, Fate};
use http::StatusCode;

/// The status of a response to a request one of whose calls failed, for an application that has no better idea.
///
/// | the call | status |
/// |---|---|
/// | was [committed](Fate::Committed), and its result cannot be given as asked | 202 Accepted |
/// | found no such row | 404 Not Found |
/// | was rejected: another row is in the way (unique, exclusion and foreign keys), or another transaction | 409 Conflict |
/// | was rejected for another value (SQLSTATE classes 22, 23) or by a trigger of the application (`P0001`) | 422 Unprocessable Content |
/// | ended with an [unknown outcome](Fate::OutcomeUnknown) | 502 Bad Gateway |
/// | was not sent, or [timed out](Error::is_timed_out), or the server had no resources left | 503 Service Unavailable |
/// | is wrong in itself, and anything else | 500 Internal Server Error |
///
/// A function that failed is told by PostgreSQL's error where it failed with one. Of the others the application knows
/// more.
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
        Fate::Rejected if error.is_timed_out() => StatusCode::SERVICE_UNAVAILABLE,
        Fate::Rejected | Fate::FunctionFailed => error.code().map_or(StatusCode::INTERNAL_SERVER_ERROR, of_sqlstate),
    }
}

/// By [PostgreSQL's classes](https://www.postgresql.org/docs/current/errcodes-appendix.html).
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
    fn each_class_of_sqlstates_has_a_status() {
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
