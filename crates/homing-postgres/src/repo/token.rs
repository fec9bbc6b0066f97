//! The session of a handle, on its way to another node and from there.

use super::Repo;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::position::{Position, SystemIdentifier};
use crate::reading::floor::{ask_primary, settle_reads};
use crate::scope::DatabaseName;
use crate::session::Session;
use crate::session::token::{Token, foreign, key};

/// # Tokens
///
/// A session lives in one process. A token takes it to another: the next request of the same user may be served by
/// another node and sees what this one wrote and read all the same.
impl Repo {
    /// What this session has to see, in all databases. A session that has done nothing gives a token that asks for
    /// nothing.
    ///
    /// Where the session has read from a replica since the last token, the replica is asked once how far it is; writes
    /// need no question.
    ///
    /// # Errors
    ///
    /// Not sent: neither that replica nor the primary could be asked how far the session has read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn token(&self) -> Result<Token> {
        let mut positions = Vec::new();
        for database in self.engine.session.databases() {
            let repo = self.with_database(database.as_str())?.without_schema();
            settle_reads(&repo.engine, None).await?;
            positions.extend(repo.engine.session.wanted().map(|wanted| (database, wanted.position)));
        }
        Ok(Token::seal(&positions, &key(self.rpc_client())))
    }

    /// As [`token`](Self::token), without asking anybody: what this session wrote, and what it was told by the primary.
    /// What it has only read next door is left out, and so is a write of which nobody could tell the position:
    /// [`knows_its_writes`](Self::knows_its_writes).
    pub fn token_of_writes(&self) -> Token {
        let known = |database: DatabaseName| {
            let wanted = self.engine.session.of(&database).wanted()?;
            Some((database, wanted.position))
        };
        let positions: Vec<_> = self.engine.session.databases().into_iter().filter_map(known).collect();
        Token::seal(&positions, &key(self.rpc_client()))
    }

    /// Whether the session knows the positions of all that was written through it. Not where the primary was lost between a
    /// commit and the question for its position; [`token`](Self::token) asks anew.
    pub fn knows_its_writes(&self) -> bool {
        self.engine.session.databases().iter().all(|database| !self.engine.session.of(database).has_lost_track())
    }

    /// How far the primary is, asked of it: a question to it, and in another region a round trip. Whoever waits for this
    /// position sees all that was committed before the call.
    ///
    /// # Errors
    ///
    /// Not sent: no primary could be asked within [`call_timeout`](crate::Options::call_timeout).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn primary_position(&self) -> Result<Position> {
        ask_primary(&self.engine).await
    }

    /// A handle with a session of its own, which has to see what the token says and what this handle has to see by now.
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
    /// A position that was lost in a failover cannot be waited for: reads are answered by the primary until the session
    /// has moved on, or refused, as [`OnLag`](crate::OnLag) says.
    ///
    /// # Errors
    ///
    /// [`is_token_refused`](Error::is_token_refused): it was changed, cut off, made with another secret or by a build
    /// with other tokens, or it is of a database or a cluster that this node does not have. Where the cluster here is
    /// not known yet, the first read says so.
    pub fn with_token(&self, token: impl AsRef<str>) -> Result<Self> {
        self.adopt(token.as_ref(), Session::import)
    }

    /// As [`with_token`](Self::with_token), for a token that comes from a stranger, who cannot do anything about it:
    /// where the first read finds that it is of another cluster, it is as if there had been none.
    ///
    /// # Errors
    ///
    /// As [`with_token`](Self::with_token), but never later than this.
    pub fn with_offered_token(&self, token: impl AsRef<str>) -> Result<Self> {
        self.adopt(token.as_ref(), Session::offer)
    }

    fn adopt(&self, token: &str, adopt: fn(&Session, Position)) -> Result<Self> {
        let rpc = self.rpc_client();
        let positions = Token::open(token, &key(rpc), rpc.secret().is_some())?;
        for (database, position) in &positions {
            self.check_known(database, *position)?;
        }
        let engine = Engine { session: self.engine.session.forked(), ..self.engine.clone() };
        let repo = Self { engine, ..self.clone() };
        for (database, position) in positions {
            adopt(&repo.engine.session.of(&database), position);
        }
        Ok(repo)
    }

    fn check_known(&self, database: &DatabaseName, position: Position) -> Result<()> {
        let Ok(repo) = self.with_database(database.as_str()) else {
            return Err(Error::token_refused(format!(
                "the token is of the database {:?}, which this node does not have: see HOMING_DATABASES",
                database.as_str()
            )));
        };
        match repo.known_cluster() {
            Some(known) if known != position.system_identifier => Err(foreign(database.as_str())),
            _ => Ok(()),
        }
    }

    /// The cluster, as far as anybody here has heard of it.
    fn known_cluster(&self) -> Option<SystemIdentifier> {
        let here = self.engine.primary().database().and_then(|database| database.pool().server());
        let here = here.map(|server| server.system_identifier);
        here.or_else(|| Some(self.engine.session.wanted()?.position.system_identifier))
    }
}
