//! [`Source`], where a value is read again.

use std::fmt;
use std::sync::Arc;

use homing_rpc::Reloaded;

use crate::error::{Error, Result};

/// A file, or a part of one, from which a value is read again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Source<T>(Arc<Read<T>>);

type Read<T> = dyn Fn(Look) -> Option<T> + Send + Sync;

/// When a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// If the last look was a second ago.
    IfDue,

    /// In any case.
    Now,
}

impl<T> Source<T> {
    /// Returns a source that is read by `read`, which returns `None` if the file no longer has the value.
    pub(crate) fn new(read: impl Fn(Look) -> Option<T> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the value as the file has it now.
    pub(super) fn read(&self, look: Look) -> Option<T> {
        (self.0)(look)
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// Returns the value of a file.
pub(crate) fn read<T: Clone>(file: &Reloaded<T>, look: Look) -> T {
    if look == Look::Now {
        file.check_now();
    }
    file.current()
}

/// Returns the contents of a file as text, which may not be empty. `what` should be in the file, for people.
pub(crate) fn text_of<'a>(contents: &'a [u8], what: &str) -> Result<&'a str> {
    match std::str::from_utf8(contents) {
        Ok("") => Err(Error::configuration(format!("the file is empty: write {what} into it"))),
        Ok(text) => Ok(text),
        // The reason is left out: it may tell where in a password the text ends.
        Err(_) => Err(Error::configuration(format!("the file is not text: write {what} into it"))),
    }
}

/// Returns the error for a file that cannot be used.
pub(crate) fn unusable(variable: &str, error: homing_rpc::Error) -> Error {
    Error::configuration(format!("{variable}: {error}")).with_source(error)
}
