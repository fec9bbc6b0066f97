//! The positions of a session, as text.

use homing::{Repo, Result, Token};

/// What cookie and header are called, unless the application says otherwise.
pub(crate) const NAME: &str = "homing-token";

/// A handle with a session of its own that has to see what the token says, and what `repo` has to see. A token of
/// another cluster is no error later either.
pub(crate) fn adopt(repo: &Repo, token: &str) -> Result<Repo> {
    repo.with_offered_token(token)
}

/// What the session has to see, as far as it is known without asking anybody: its writes, and what it was told by the
/// primary.
pub(crate) fn known(repo: &Repo) -> Token {
    repo.token_of_writes()
}

/// What the session has to see, its reads from the replica here included: that is asked how far it is.
pub(crate) async fn complete(repo: &Repo) -> Result<Token> {
    repo.token().await
}
