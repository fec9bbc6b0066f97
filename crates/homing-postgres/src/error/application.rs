//! The application's own errors, inside an [`Error`].

use std::any::type_name;
use std::fmt;

use homing_rpc::{Arguments, IntoArguments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, ErrorKind, Failure};

/// # Errors of the application
impl Error {
    /// Returns an error with a value of the application. Like [`failed`](Self::failed) it rolls a transaction back, and a
    /// transactional function too. [`failure`](Self::failure) returns the value, to the function's caller in any region as
    /// well.
    ///
    /// The value's `Display` is the message. A caller with an older build of Homing gets the message only. The same holds
    /// if serde cannot encode the value.
    ///
    /// ```
    /// use homing_postgres::Error;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// enum TransferError {
    ///     NoAccount(i64),
    ///     NotEnough { missing: i64 },
    /// }
    ///
    /// # impl std::fmt::Display for TransferError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    /// #         f.write_str(match self {
    /// #             Self::NoAccount(_) => "there is no such account",
    /// #             Self::NotEnough { .. } => "there is not enough money",
    /// #         })
    /// #     }
    /// # }
    /// #
    /// // For `?`. The text may be shown to clients.
    /// impl From<TransferError> for Error {
    ///     fn from(error: TransferError) -> Self {
    ///         Self::failed_with(&error).with_client_message(error.to_string())
    ///     }
    /// }
    ///
    /// fn check(left: i64) -> homing_postgres::Result<()> {
    ///     if left < 0 {
    ///         Err(TransferError::NotEnough { missing: -left })?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let error = check(-5).unwrap_err();
    /// assert_eq!(error.failure(), Some(TransferError::NotEnough { missing: 5 }));
    /// assert_eq!(error.to_string(), "there is not enough money");
    /// ```
    pub fn failed_with<E: Serialize + fmt::Display>(failure: &E) -> Self {
        let mut error = Self::new(ErrorKind::Function, failure.to_string());
        match failure.into_arguments().map(Arguments::into_encoded) {
            Ok(mut items) => error.0.failure = items.pop().map(|value| Failure { type_name: name_of::<E>(), value }),
            Err(cause) => error.0.source = Some(cause.into()),
        }
        error
    }

    /// Returns the value of the application that the error was [made with](Self::failed_with). `None` if there is none, if
    /// it has a type of another name than `E`, or if it cannot be decoded as an `E`.
    ///
    /// The fate is that of the call: a transactional function that returned the value is
    /// [rejected](Self::is_rejected), any other [failed](Self::is_function_failed).
    pub fn failure<E: DeserializeOwned>(&self) -> Option<E> {
        let Failure { type_name, value } = self.0.failure.as_ref()?;
        if *type_name != name_of::<E>() {
            return None;
        }
        let (failure,) = Arguments::from_encoded(vec![value.clone()]).decode().ok()?;
        Some(failure)
    }
}

/// Returns the name of a type without its modules and parameters: nodes with other builds may have moved it.
fn name_of<E>() -> String {
    let name = type_name::<E>();
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Refused {
        Closed,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Other {
        Closed,
    }

    impl fmt::Display for Refused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the shop is closed")
        }
    }

    struct Unencodable;

    impl Serialize for Unencodable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no way"))
        }
    }

    impl fmt::Display for Unencodable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a message")
        }
    }

    #[test]
    fn failure_has_its_own_type() {
        let error = Error::failed_with(&Refused::Closed);
        assert_eq!(error.failure(), Some(Refused::Closed));
        assert_eq!(error.failure::<Other>(), None);
        assert_eq!(error.failure::<String>(), None);
        assert_eq!(Error::failed("the shop is closed").failure::<Refused>(), None);
    }

    #[test]
    fn unencodable_failure_is_a_message() {
        let error = Error::failed_with(&Unencodable);
        assert!(error.is_function_failed() && error.failure::<String>().is_none());
        assert_eq!(error.to_string(), "a message");
    }
}
