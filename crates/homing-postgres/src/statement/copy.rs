//! COPY from and to the client, told by its words.

use super::words::{SqlToken, Words};
use crate::error::{Error, Result};

/// Refuses COPY from or to the client. It needs messages that other calls do not send, and the connection would wait for
/// them.
///
/// # Errors
///
/// `is_misuse` if one of the statements is such a COPY.
pub(crate) fn check_copy(script: &str) -> Result<()> {
    let (direction, call) = match copy_direction(script) {
        None => return Ok(()),
        Some(CopyDirection::In) => ("FROM STDIN", "copy_in"),
        Some(CopyDirection::Out) => ("TO STDOUT", "copy_out"),
    };
    Err(Error::misuse(format!("COPY {direction} is a stream of data, which this call does not have: use {call}")))
}

/// Which way the data of a COPY goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyDirection {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// Returns which way data goes in the first COPY of a script from or to the client.
pub(crate) fn copy_direction(script: &str) -> Option<CopyDirection> {
    let mut words = Words::of(script);
    let (mut is_first, mut is_copy, mut depth, mut last) = (true, false, 0_u32, String::new());
    while let Some(token) = words.token() {
        match token {
            SqlToken::Semicolon => (is_first, is_copy) = (true, false),
            SqlToken::Mark('(') => depth += 1,
            SqlToken::Mark(')') => depth = depth.saturating_sub(1),
            SqlToken::Mark(_) | SqlToken::Quoted(_) => last.clear(),
            SqlToken::Word(word) => {
                is_copy = if is_first { word == "copy" } else { is_copy };
                is_first = false;
                match (&*last, &*word) {
                    // Not those of the query that is copied.
                    _ if !is_copy || depth > 0 => {}
                    ("from", "stdin") => return Some(CopyDirection::In),
                    ("to", "stdout") => return Some(CopyDirection::Out),
                    _ => {}
                }
                last = word;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_by_the_server_is_allowed() {
        for sql in [
            "copy t from '/tmp/t'",
            "copy (select 1 from stdin) to program 'cat'",
            "select 1 from stdin",
            "select a from copy",
        ] {
            assert!(check_copy(sql).is_ok(), "{sql}");
        }
        assert!(check_copy("create table t (a int);\ncopy t from stdin;").unwrap_err().is_misuse());
    }
}
