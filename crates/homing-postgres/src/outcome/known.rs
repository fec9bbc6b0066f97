//! [`Known`], what the table of outcomes says of a key.

/// What the table says of a key. `R` is the result that is kept with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known<R = Vec<u8>> {
    /// Nothing.
    Nothing,

    /// It is not committed, and was asked for that many times.
    Settled(i32),

    /// It is committed, with this result if it was kept.
    Committed(Option<R>),

    /// Another request has used it.
    Reused,
}

/// What an attempt does with its key before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start<R = Vec<u8>> {
    /// It runs, and claims the key if it was settled that many times.
    Run(i32),

    /// It answers with the result of an earlier attempt.
    Committed(Option<R>),

    /// It does not run, since its caller was not told that the key was settled that many times.
    Settled(i32),

    /// It is refused.
    Reused,
}

impl<R> Known<R> {
    /// Reads a row of the table. `is_same` tells whether the request that is committed is the one that is asked for.
    pub(crate) fn of_row(fence: Option<i32>, is_same: bool, result: Option<R>) -> Self {
        match fence {
            Some(fence) => Self::Settled(fence),
            None if is_same => Self::Committed(result),
            None => Self::Reused,
        }
    }

    /// Returns what an attempt does that knows this of its key. One that does not look for it knows nothing. Its caller was told
    /// that the key was settled `told` times when it sent the attempt.
    pub(crate) fn start(self, told: i32) -> Start<R> {
        match self {
            Self::Nothing => Start::Run(0),
            Self::Settled(fence) if fence > told => Start::Settled(fence),
            Self::Settled(fence) => Start::Run(fence),
            Self::Committed(result) => Start::Committed(result),
            Self::Reused => Start::Reused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_tells_what_to_do() {
        let table = [
            (Known::of_row(Some(2), false, None), Known::Settled(2), Start::Run(2)),
            (Known::of_row(Some(2), true, None), Known::Settled(2), Start::Run(2)),
            (Known::of_row(None, true, Some(7)), Known::Committed(Some(7)), Start::Committed(Some(7))),
            (Known::of_row(None, true, None), Known::Committed(None), Start::Committed(None)),
            (Known::of_row(None, false, None), Known::Reused, Start::Reused),
        ];
        for (known, expected, start) in table {
            assert_eq!((known, known.start(2)), (expected, start));
        }
        // After a failover, the table may know of fewer settlements than the caller.
        assert_eq!(Known::<u8>::Nothing.start(0), Start::Run(0));
        assert_eq!(Known::<u8>::Nothing.start(2), Start::Run(0));
        assert_eq!(Known::<u8>::Settled(2).start(3), Start::Run(2));
        assert_eq!(Known::<u8>::Settled(2).start(1), Start::Settled(2));
    }
}
