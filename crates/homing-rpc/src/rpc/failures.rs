//! [`Failures`], the failures of a request's attempts.

use crate::peer::fate::Fate;

/// The failures of the attempts of one request. `E` is the error of an attempt.
#[derive(Debug)]
pub struct Failures<E> {
    /// The last failure of an attempt that was not executed.
    known: Option<E>,
    /// The last failure of an attempt that may have been executed.
    unknown: Option<E>,
}

impl<E> Failures<E> {
    /// Notes the failure of an attempt.
    pub fn note(&mut self, fate: Fate, error: E) {
        let last = match fate {
            Fate::NotExecuted => &mut self.known,
            Fate::Unknown => &mut self.unknown,
        };
        *last = Some(error);
    }

    /// Notes that no attempt before this moment was executed, or will be.
    pub fn settled(&mut self) {
        self.unknown = None;
    }

    /// Returns the error of the whole request, whose last attempt failed with this error. If the fate of any attempt is
    /// unknown, so is that of the request.
    pub fn with(self, error: E) -> E {
        self.unknown.unwrap_or(error)
    }

    /// Returns the error of a request for which no further attempt could be made, because of this error.
    pub fn last_or(mut self, error: E) -> E {
        let last = self.known.take().unwrap_or(error);
        self.with(last)
    }

    pub(crate) fn last_known(&self) -> Option<&E> {
        self.known.as_ref()
    }

    pub(crate) fn take_known_if(&mut self, is_wanted: impl FnOnce(&E) -> bool) -> Option<E> {
        self.known.take_if(|known| is_wanted(known))
    }
}

impl<E> Default for Failures<E> {
    fn default() -> Self {
        Self { known: None, unknown: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fate_outlasts_known_failures() {
        let mut failures = Failures::default();
        failures.note(Fate::Unknown, "lost");
        failures.note(Fate::NotExecuted, "full");
        assert_eq!(failures.last_known(), Some(&"full"));
        assert_eq!(failures.with("refused"), "lost");
    }

    #[test]
    fn settled_request_has_known_fate() {
        let failures = || {
            let mut failures = Failures::default();
            failures.note(Fate::Unknown, "lost");
            failures.settled();
            failures
        };
        assert_eq!(failures().with("rejected"), "rejected");
        assert_eq!(failures().last_or("no peer"), "no peer");
        let mut later = failures();
        later.note(Fate::NotExecuted, "full");
        assert_eq!(later.last_or("no peer"), "full");
    }
}
