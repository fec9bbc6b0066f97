//! [`Causes`], which prints an error with its causes.

use std::error::Error as StdError;
use std::{fmt, iter};

use tonic::Status;

/// Prints an error with its causes: in one line with `{}`, and in a line each with `{:#}`.
///
/// A cause is left out if the error before it says the same: some types repeat their source.
pub struct Causes<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if formatter.alternate() { "\ncaused by: " } else { ": " };
        let mut before = message(self.0);
        formatter.write_str(&before)?;
        for cause in iter::successors(self.0.source(), |&cause| cause.source()) {
            let cause = message(cause);
            if !before.contains(&cause) {
                write!(formatter, "{separator}{cause}")?;
                before = cause;
            }
        }
        Ok(())
    }
}

/// Returns the message of one error. A status prints its source too, as a nest of structs.
fn message(error: &(dyn StdError + 'static)) -> String {
    error.downcast_ref().map_or_else(|| error.to_string(), |status: &Status| status.message().to_owned())
}

impl fmt::Debug for Causes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn nested() -> Error {
        let refused = std::io::Error::other("connection refused");
        let repeating = Error::not_sent("cannot connect: connection refused").with_source(refused);
        Error::not_sent("no peer in region syd").with_source(repeating)
    }

    #[test]
    fn causes_follow_in_one_line() {
        assert_eq!(Causes(&nested()).to_string(), "no peer in region syd: cannot connect: connection refused");
    }

    #[test]
    fn repeated_status_is_left_out() {
        let refused = std::io::Error::other("connection refused");
        let error = Error::not_sent("it did not take the call: no way").with_source(Status::unavailable("no way"));
        assert_eq!(Causes(&error).to_string(), "it did not take the call: no way");
        let error = Error::not_sent("it did not take the call").with_source(Status::from_error(refused.into()));
        assert_eq!(Causes(&error).to_string(), "it did not take the call: connection refused");
    }

    #[test]
    fn main_prints_a_line_for_each_cause() {
        let expected = "no peer in region syd\ncaused by: cannot connect: connection refused";
        assert_eq!(format!("{:?}", nested()), expected);
    }
}
