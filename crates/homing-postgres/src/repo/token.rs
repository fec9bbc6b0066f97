//! Takes the session of a handle to another node and back.

use homing_rpc::Secret;

use super::Repo;
use crate::error::{Error, Result};
use crate::position::{Position, SystemIdentifier};
use crate::reading::floor::{ask_primary, settle_reads};
use crate::scope::DatabaseName;
use crate::session::Session;
use crate::session::token::{Token, TokenKey, foreign};

/// # Tokens
///
/// A session lives in one process. A token takes it to another process: if another node serves the next request of the
/// same user, that request still sees the writes and reads of this one.
impl Repo {
    /// Returns a token with the positions that this session's reads have to see, in all databases. The token of a new
    /// session has no positions.
    ///
    /// If the session has read from a replica since the last token, or has written next to the primary, that server is asked
    /// for its position once.
    ///
    /// # Errors
    ///
    /// [`is_not_sent`](Error::is_not_sent) if neither that replica nor the primary answered with its position.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call has no effect.
    pub async fn token(&self) -> Result<Token> {
        let mut positions = Vec::new();
        for database in self.engine.session.databases() {
            let repo = self.with_database(database.as_str())?;
            settle_reads(&repo.engine, None).await?;
            positions.extend(repo.engine.session.positions().into_iter().map(|position| (database.clone(), position)));
        }
        Ok(Token::seal(&positions, &self.token_key()))
    }

    /// Returns a token like [`token`](Self::token), without asking a server: it has the positions of this session's
    /// writes and of its reads from the primary.
    ///
    /// Reads from a local server are left out. So is a write whose position is unknown; see
    /// [`knows_its_writes`](Self::knows_its_writes). Reads from the primary are left out if it tells positions
    /// [by transaction](crate::PositionKind::Transaction).
    pub fn token_of_writes(&self) -> Token {
        let known = |database: DatabaseName| {
            let positions = self.engine.session.of(&database).positions();
            positions.into_iter().map(move |position| (database.clone(), position))
        };
        let positions: Vec<_> = self.engine.session.databases().into_iter().flat_map(known).collect();
        Token::seal(&positions, &self.token_key())
    }

    /// Returns whether the session knows the positions of all its writes.
    ///
    /// It does not after a write next to the primary, which is not asked for its position before it is needed; and if the
    /// primary was lost between a commit and the question for its position. [`token`](Self::token) asks.
    pub fn knows_its_writes(&self) -> bool {
        self.engine.session.databases().iter().all(|database| !self.engine.session.of(database).has_unknown_writes())
    }

    /// Asks the primary for its current position. From another region this is one round trip.
    ///
    /// A replica that has reached this position has everything that was committed before the call. If the primary tells positions
    /// [by transaction](crate::PositionKind::Transaction), it commits an empty transaction for it.
    ///
    /// # Errors
    ///
    /// [`is_not_sent`](Error::is_not_sent) if the primary did not answer within
    /// [`call_timeout`](crate::Options::call_timeout), or [`is_rejected`](Error::is_rejected) if it refused. No data was
    /// changed in any case.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call has no effect.
    pub async fn primary_position(&self) -> Result<Position> {
        ask_primary(&self.engine).await
    }

    /// Returns a handle with a session of its own. Its reads see the positions of the token, and what this handle's
    /// session has to see now.
    ///
    /// ```no_run
    /// # fn example(repo: homing_postgres::Repo, cookie: Option<String>) -> homing_postgres::Result<()> {
    /// let repo = match cookie {
    ///     Some(token) => match repo.with_token(token) {
    ///         Err(error) if error.is_token_refused() => repo.session(), // from a former deployment, or forged
    ///         repo => repo?,
    ///     },
    ///     None => repo.session(),
    /// };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If the position was lost in a failover, the first call fails and [`is_history_lost`](Error::is_history_lost) holds.
    /// The session then goes on with what the primary has.
    ///
    /// # Errors
    ///
    /// [`is_token_refused`](Error::is_token_refused) if the token was changed or cut off, was made with another key
    /// or by a build with another version of tokens, or belongs to a database or a cluster that this node does not
    /// have. If this node does not know its cluster yet, the first read fails with this error.
    pub fn with_token(&self, token: impl AsRef<str>) -> Result<Self> {
        self.adopt(token.as_ref(), Session::import)
    }

    /// Returns a handle like [`with_token`](Self::with_token), for a token from a client that cannot correct it: if the
    /// first read finds that the token belongs to another cluster, it ignores the token.
    ///
    /// # Errors
    ///
    /// Those of [`with_token`](Self::with_token). Later reads do not fail because of the token.
    pub fn with_offered_token(&self, token: impl AsRef<str>) -> Result<Self> {
        self.adopt(token.as_ref(), Session::offer)
    }

    /// Returns a handle whose tokens are sealed with a key of their own, in place of one that is derived from the
    /// [`Secret`] of the node. All nodes of the application need the same one. If it has several texts, the first one seals,
    /// and all open.
    ///
    /// Then a program that has the key of tokens cannot call the node, and one that has the secret cannot read tokens.
    #[must_use]
    pub fn with_token_key(&self, key: Secret) -> Self {
        Self { token_key: Some(key), ..self.clone() }
    }

    fn token_key(&self) -> TokenKey {
        TokenKey::of(self.token_key.as_ref(), self.rpc_client())
    }

    fn adopt(&self, token: &str, adopt: fn(&Session, Position)) -> Result<Self> {
        let positions = Token::open(token, &self.token_key())?;
        for (database, position) in &positions {
            self.check_known(database, *position)?;
        }
        let repo = self.with(|engine| engine.session = engine.session.forked());
        for (database, position) in positions {
            adopt(&repo.engine.session.of(&database), position);
        }
        Ok(repo)
    }

    fn check_known(&self, database: &DatabaseName, position: Position) -> Result<()> {
        let Ok(repo) = self.with_database(database.as_str()) else {
            return Err(Error::token_refused(format!(
                "the token belongs to the database {:?}, which this node does not have: see HOMING_DATABASES",
                database.as_str()
            )));
        };
        match repo.known_cluster() {
            Some(known) if known != position.system_identifier => Err(foreign(database.as_str())),
            _ => Ok(()),
        }
    }

    /// Returns the cluster, if the local database or the session knows it.
    fn known_cluster(&self) -> Option<SystemIdentifier> {
        let server = self.engine.primary().database().and_then(|database| database.pool().server());
        let local = server.map(|server| server.system_identifier);
        local.or_else(|| Some(self.engine.session.wanted()?.position.system_identifier))
    }
}
