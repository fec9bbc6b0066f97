//! [`Engine`], which the calls of a handle run on.

pub(crate) mod ahead;
pub(crate) mod answered;
pub(crate) mod describe;
pub(crate) mod execute;
mod history;
pub(crate) mod operation;

use std::sync::Arc;

use homing_proto::v1 as proto;
use homing_rpc::{Rpc, fingerprint_of};
use tokio::time::Instant;

use crate::call::options::{Delivery, Options, Wait};
use crate::call::report::Observer;
use crate::call::tally::Tally;
use crate::error::{Error, Result};
use crate::executor::within::can_be_protected;
use crate::outcome::key::IdempotencyKey;
use crate::outcome::once::{ANY_FENCE, Once, TransactionKey};
use crate::position::Position;
use crate::primary::Primary;
use crate::replicas::{Member, ReplicaRequest, Replicas};
use crate::scope::schema::Schema;
use crate::scope::{LocalSettings, Scope};
use crate::session::Session;
use crate::statement::description::DescriptionCache;
use crate::statement::kind::{Ask, Writes};

/// The parts that the calls of one handle share: a database with local settings, the handle's session and its options. It is
/// cheap to clone.
///
/// Reads ([`Reader`](crate::reading::reader::Reader)), writes ([`Writer`](crate::writing::writer::Writer)) and the calls of
/// interactive transactions ([`statements`](crate::transaction::statements)) use it; none of them knows
/// [`Repo`](crate::repo::Repo).
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) scoped: Arc<ScopedDatabase>,
    pub(crate) session: Session,
    pub(crate) options: Options,
    /// The application's own key for the write of the handle.
    pub(crate) key: Option<IdempotencyKey>,
    /// The name of the only replica to read from, if the handle has one.
    pub(crate) replica: Option<Arc<str>>,
    pub(crate) observer: Observer,
    /// When the named function that uses the handle has to end, if one does.
    pub(crate) until: Option<Instant>,
    /// Counts the calls of that function.
    pub(crate) tally: Option<Arc<Tally>>,
}

/// One database with the local settings of one handle.
#[derive(Debug)]
pub(crate) struct ScopedDatabase {
    pub(crate) primary: Primary,
    pub(crate) descriptions: DescriptionCache,
}

impl Engine {
    pub(crate) fn primary(&self) -> &Primary {
        &self.scoped.primary
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        self.primary().rpc()
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        self.primary().replicas()
    }

    pub(crate) fn descriptions(&self) -> &DescriptionCache {
        &self.scoped.descriptions
    }

    pub(crate) fn database_name(&self) -> &str {
        self.primary().scope().database.as_str()
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.primary().schema().map(Schema::name)
    }

    /// Returns the deadline for the execution of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        let deadline = self.options.call_deadline();
        self.until.map_or(deadline, |until| deadline.min(until))
    }

    /// Returns what to ask a local primary besides a statement. It is asked for the position of a write only if the write
    /// waits for a replica: otherwise nobody may ever need it, and the session can ask later.
    pub(crate) fn ask_locally(&self, writes: Writes) -> Ask {
        let waits = self.options.wait == Wait::Now && self.replicas().local_primary().is_some();
        let reads_elsewhere = || self.choose(None, &[]).ok().flatten().is_some_and(|member| !member.is_local_primary());
        match writes {
            Writes::Maybe | Writes::Yes if waits && reads_elsewhere() => Ask::Position,
            Writes::Maybe => Ask::Transaction,
            Writes::No | Writes::Yes => Ask::Nothing,
        }
    }

    /// Returns the key of statements that are sent to the primary: the application's own, or a new one. `None` if they only read,
    /// if they cannot be protected, or if the options say so.
    ///
    /// # Errors
    ///
    /// Misuse if the application has a key for statements that cannot be protected.
    pub(crate) fn key_of(&self, statements: &[proto::Statement], writes: Writes) -> Result<Option<IdempotencyKey>> {
        match (self.key, can_be_protected(statements)) {
            _ if writes == Writes::No => Ok(None),
            (Some(_), false) => Err(Error::misuse(
                "a key protects what can be one transaction: not a script, and not a statement such as VACUUM, CALL or CREATE",
            )),
            (None, true) if self.options.delivery == Delivery::ExactlyOnce => Ok(Some(IdempotencyKey::generate())),
            (key, _) => Ok(key),
        }
    }

    /// Returns the key of an interactive transaction, as [`key_of`](Self::key_of) does for statements.
    pub(crate) fn transaction_key(&self) -> Option<TransactionKey> {
        let generates = self.options.delivery == Delivery::ExactlyOnce && self.primary().protection.is_expected();
        let key = self.key.or_else(|| generates.then(IdempotencyKey::generate))?;
        let fingerprint = fingerprint_of([TRANSACTION, self.database_name().as_bytes()].into_iter());
        let once = Once { key, again: key.is_own(), keeps_result: true, fence: ANY_FENCE };
        Some(TransactionKey { once, fingerprint })
    }

    /// Returns an engine whose writes leave waiting to the next read.
    pub(crate) fn without_waiting(&self) -> Self {
        let wait = match self.options.wait {
            Wait::Now => Wait::AtNextRead,
            wait => wait,
        };
        Self { options: Options { wait, ..self.options }, ..self.clone() }
    }

    pub(crate) fn with_local(&self, local: &LocalSettings) -> Self {
        Self { scoped: self.scoped.with_local(local), ..self.clone() }
    }

    /// Chooses the server for a read, without waiting for it, among those whose ids are not in `except`. Returns `None`
    /// if the primary has to answer the read.
    pub(crate) fn choose(&self, position: Option<Position>, except: &[u64]) -> Result<Option<Arc<Member>>> {
        self.choose_for(position, self.session.behind().is_some(), except)
    }

    /// Chooses a server that is known to have reached `position`.
    pub(crate) fn choose_reached(&self, position: Position) -> Result<Option<Arc<Member>>> {
        let member = self.choose_for(Some(position), true, &[])?;
        Ok(member.filter(|member| member.is_known_to_have_reached(position)))
    }

    fn choose_for(&self, position: Option<Position>, is_behind: bool, except: &[u64]) -> Result<Option<Arc<Member>>> {
        let (choose, name) = (self.options.choose, self.replica.as_deref());
        self.replicas().choose(&ReplicaRequest { choose, name, position, is_behind, except })
    }
}

/// What stands for the statements of an interactive transaction in its fingerprint: they are not known at its beginning.
const TRANSACTION: &[u8] = b"interactive transaction";

impl ScopedDatabase {
    pub(crate) fn new(primary: Primary) -> Self {
        Self { primary, descriptions: DescriptionCache::new() }
    }

    /// Returns the database with these local settings, and no others.
    pub(crate) fn with_local(self: &Arc<Self>, local: &LocalSettings) -> Arc<Self> {
        if self.primary.local() == local {
            return Arc::clone(self);
        }
        let scope = Scope { local: local.clone(), ..self.primary.scope().clone() };
        let descriptions = self.descriptions.in_schema(local.schema.as_ref());
        Arc::new(Self { primary: self.primary.clone().in_scope(scope), descriptions })
    }
}
