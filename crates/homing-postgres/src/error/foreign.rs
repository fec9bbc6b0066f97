//! Errors of the application and of other crates, for `?` in named functions and transactions.

use std::{error, io};

use super::Error;
use super::function::with_causes;

/// An error of the operating system is one of the application's own: see [`Error::failed`].
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::failed(with_causes(&error))
    }
}

/// Any error is one of the application's own, with its causes in the message: see [`Error::failed`]. An [`Error`] of
/// Homing's stays what it is.
impl From<Box<dyn error::Error + Send + Sync>> for Error {
    fn from(error: Box<dyn error::Error + Send + Sync>) -> Self {
        match error.downcast() {
            Ok(own) => *own,
            Err(error) => Self::failed(with_causes(&*error)),
        }
    }
}

/// Any error is one of the application's own, with its contexts and causes in the message: see [`Error::failed`]. An [`Error`]
/// of Homing's keeps its fate, and gets the contexts in front of its message.
#[cfg(feature = "anyhow")]
impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        let contexts = error.chain().take_while(|cause| !cause.is::<Self>());
        let contexts: String = contexts.map(|context| format!("{context}: ")).collect();
        match error.downcast::<Self>() {
            Ok(mut own) => {
                own.0.message.insert_str(0, &contexts);
                own
            }
            Err(error) => Self::failed(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_error_keeps_its_causes() {
        let failed = |error: Error| (error.is_function_failed(), error.to_string());
        let io = || io::Error::other("disk full");
        assert_eq!(failed(io().into()), (true, "disk full".to_owned()));
        let boxed: Box<dyn error::Error + Send + Sync> = Box::new(Error::not_sent("no peer").with_source(io()));
        let error = Error::from(boxed);
        assert!(error.is_not_sent() && error.to_string() == "no peer", "{error:?}");
        assert_eq!(
            failed(Error::from(Box::<dyn error::Error + Send + Sync>::from("told to"))),
            (true, "told to".into())
        );
    }

    #[cfg(feature = "anyhow")]
    #[test]
    fn context_leaves_fate_alone() {
        use anyhow::Context;

        let foreign = Err::<(), _>(io::Error::other("disk full")).context("reading the list").context("importing");
        let error = Error::from(foreign.unwrap_err());
        assert!(error.is_function_failed(), "{error:?}");
        assert_eq!(error.to_string(), "importing: reading the list: disk full");

        let own = Err::<(), _>(Error::outcome_unknown("no answer")).context("importing");
        let error = Error::from(own.unwrap_err());
        assert!(error.is_outcome_unknown(), "{error:?}");
        assert_eq!(error.to_string(), "importing: no answer");
        assert!(Error::from(anyhow::Error::new(Error::not_sent("no peer"))).is_not_sent());
    }
}
