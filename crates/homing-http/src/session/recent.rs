//! What this node has put into tokens, so that responses which cross on their way do not undo each other.

use std::sync::{Mutex, PoisonError};

use homing::{Repo, Token};

use crate::session::token;

/// A handle that has to see all that was put into tokens here.
///
/// A browser keeps one cookie. Of two requests at the same time, from two tabs, the later response replaces the token
/// of the earlier one, and would take its write out of sight. So each token of a node says what those before it said.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Option<Repo>>);

impl Recent {
    /// The token, with what those before it said.
    pub(crate) fn join(&self, base: &Repo, token: Token) -> Token {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = recent.take().unwrap_or_else(|| base.session());
        // Where they are not of the same cluster, it was replaced, or somebody brought a token of another one: start
        // anew.
        let Ok(joined) = token::adopt(&before, token.as_str()) else {
            return token;
        };
        let token = token::known(&joined);
        *recent = Some(joined);
        token
    }
}
