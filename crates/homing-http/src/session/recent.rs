//! The tokens that this node has given out, so that responses that cross on their way do not undo each other.

use std::sync::{Mutex, PoisonError};

use homing::{Repo, Token};

use crate::session::token;

/// A handle that has to see everything in the tokens of this node.
///
/// A browser keeps one cookie. Of two requests at the same time, from two tabs, the later response replaces the token of
/// the earlier one, and would hide its write. So each token of a node includes all earlier ones.
///
/// The lock is held while two tokens are joined, which sends no query.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Option<Repo>>);

impl Recent {
    /// Returns the token, joined with the earlier ones.
    pub(crate) fn join(&self, base: &Repo, token: Token) -> Token {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = recent.take().unwrap_or_else(|| base.session());
        // The tokens are of two clusters if the database was replaced, or if a client sent a token of another cluster:
        // start anew.
        let Ok(joined) = token::adopt(&before, token.as_str()) else {
            return token;
        };
        let token = token::known(&joined);
        *recent = Some(joined);
        token
    }
}
