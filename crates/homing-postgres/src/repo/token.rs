//! The session of a handle, on its way to another node and from there.

use tokio::time::timeout;

use super::Repo;
use super::read::CHECK_TIMEOUT;
use crate::home::Effect;
use crate::scope::DatabaseName;
use crate::session::{Seen, Session};
use crate::token::{foreign, key};
use crate::{Database, Error, Position, Result, SystemIdentifier, Token};

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
        for database in self.session.databases() {
            let repo = self.with_database(database.as_str())?.without_schema();
            repo.settle_reads(None).await?;
            positions.extend(repo.session.wanted().map(|wanted| (database, wanted.position)));
        }
        Ok(Token::seal(&positions, &key(self.rpc_client())))
    }

    /// As [`token`](Self::token), without asking anybody: what this session wrote, and what it was told by the primary.
    /// What it has only read from a replica is left out.
    pub fn token_of_writes(&self) -> Token {
        let known = |database: DatabaseName| {
            let wanted = self.session.of(&database).wanted()?;
            Some((database, wanted.position))
        };
        let positions: Vec<_> = self.session.databases().into_iter().filter_map(known).collect();
        Token::seal(&positions, &key(self.rpc_client()))
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
        let repo = Self { session: self.session.forked(), ..self.clone() };
        for (database, position) in positions {
            adopt(&repo.session.of(&database), position);
        }
        Ok(repo)
    }

    /// Asks how far those servers were that this session has read from, other than `here`, so that nothing older is read
    /// afterwards. Nothing is asked where there are none.
    pub(super) async fn settle_reads(&self, here: Option<&Database>) -> Result<()> {
        for seen in self.session.seen_elsewhere(here) {
            let position = match ask(&seen).await {
                Some(position) => position,
                // Nothing that anybody has read anywhere is newer than this.
                None => self.ask_primary().await?,
            };
            self.session.settle(&seen, position);
        }
        Ok(())
    }

    /// Refuses what a read has seen elsewhere, if it is not of the cluster that a token asked for.
    pub(super) fn check_cluster(&self, position: Position) -> Result<()> {
        let wanted = self.session.wanted().filter(|_| self.session.is_imported());
        if wanted.is_some_and(|wanted| wanted.position.system_identifier != position.system_identifier)
            && !self.session.decline()
        {
            return Err(foreign(self.database_name()));
        }
        Ok(())
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
        let here = self.home().database().and_then(|database| database.pool().server());
        let here = here.map(|server| server.system_identifier);
        here.or_else(|| Some(self.session.wanted()?.position.system_identifier))
    }

    async fn ask_primary(&self) -> Result<Position> {
        let anywhere = self.without_schema();
        let (executed, _) = anywhere.execute_on_primary(&[("select 1", &[])], Effect::Reads).await?;
        executed.position.ok_or_else(|| Error::not_sent("the primary did not say how far it is"))
    }
}

async fn ask(seen: &Seen) -> Option<Position> {
    let server = seen.server()?;
    let state = timeout(CHECK_TIMEOUT, server.tracker().look()).await.ok()?.ok()?;
    Some(state.position)
}
