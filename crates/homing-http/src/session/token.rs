//! The tokens of a session: its positions as text.

use homing::{Repo, Result, Token};

/// The default name of the cookie and the header.
pub(crate) const NAME: &str = "homing-token";

/// Returns a handle whose new session has to see the positions of the token and those of `repo`. A token of another
/// cluster may turn out later, and is ignored then.
pub(crate) fn adopt(repo: &Repo, token: &str) -> Result<Repo> {
    repo.with_offered_token(token)
}

/// Returns the positions of the session that are known without a query: its writes, and its reads from the primary.
pub(crate) fn known(repo: &Repo) -> Token {
    repo.token_of_writes()
}

/// Returns the positions of the session with its reads from the local replica, which is asked for its position.
pub(crate) async fn complete(repo: &Repo) -> Result<Token> {
    repo.token().await
}
