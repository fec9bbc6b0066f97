//! [`StatementDescription`], the types of a statement, and [`DescriptionCache`], which remembers them and whether a
//! statement writes.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use homing_proto::v1 as proto;
use lru::LruCache;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::columns::{Column, Columns};
use super::kind::Writes;
use super::{types, values};
use crate::scope::schema::{Schema, tagged};

/// The types of a statement's parameters and columns.
///
/// OIDs are equal on the primary and its replicas, so a description from one holds on the other as long as both have the
/// same schema. If the primary prepares a statement with other types, it is *stale*: the primary executes nothing, and the
/// caller asks the primary for the types and tries again.
///
/// A type that is altered in place (`alter type … add value`) keeps its OID. So a description keeps the old type until the
/// statement goes stale or the node restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatementDescription {
    pub(crate) parameters: Arc<[Type]>,
    pub(crate) columns: Arc<Columns>,
}

impl StatementDescription {
    pub(crate) fn of(statement: &Statement) -> Self {
        Self { parameters: statement.params().into(), columns: types::columns(statement.columns()) }
    }

    /// Returns whether this is the description of the statement.
    pub(crate) fn describes(&self, statement: &Statement) -> bool {
        let columns = statement.columns().iter().map(|column| (column.name(), column.type_()));
        statement.params() == &*self.parameters
            && self.columns.iter().map(|column| (column.name(), column.type_())).eq(columns)
    }

    /// Reads the description that another node sent. `None` if it holds a type that this build does not know.
    pub(crate) fn from_proto(statement: proto::PreparedStatement) -> Option<Self> {
        Some(Self {
            parameters: statement.parameters.into_iter().map(types::from_proto).collect::<Option<_>>()?,
            columns: Arc::new(statement.columns.into_iter().map(types::column_from_proto).collect::<Option<_>>()?),
        })
    }

    pub(crate) fn to_proto(&self) -> proto::PreparedStatement {
        proto::PreparedStatement {
            parameters: self.parameters.iter().map(types::to_proto).collect(),
            columns: self.columns.iter().map(|column| types::column_to_proto(column.name(), column.type_())).collect(),
        }
    }

    /// The statement as it travels, with its encoded parameters.
    pub(crate) fn statement(&self, sql: &str, parameters: Bytes) -> proto::Statement {
        proto::Statement {
            sql: sql.to_owned(),
            parameter_types: self.parameter_oids(),
            parameters,
            column_types: self.column_oids(),
            column_names: hash_of_names(self.columns.iter().map(Column::name)),
            ..proto::Statement::default()
        }
    }

    /// The statement as it travels, with its encoded parameters. It is rolled back unless it affects or returns this many
    /// rows.
    pub(crate) fn statement_of_rows(&self, sql: &str, parameters: Bytes, rows: u64) -> proto::Statement {
        let mut parameters = BytesMut::from(parameters);
        // A build that does not know expected rows would ignore them. It rejects a value too many.
        values::put(&mut parameters, None);
        proto::Statement { expected_rows: Some(rows), ..self.statement(sql, parameters.freeze()) }
    }

    fn parameter_oids(&self) -> Vec<u32> {
        self.parameters.iter().map(Type::oid).collect()
    }

    pub(crate) fn column_oids(&self) -> Vec<u32> {
        let oid = |column: &Column| column.type_().oid();
        self.columns.iter().map(oid).collect()
    }
}

/// Returns a hash of names, which two nodes compare: FNV-1a. It is never zero.
pub(crate) fn hash_of_names<'a>(names: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = names.flat_map(|name| name.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)).max(1)
}

/// The descriptions of the statements that were used last, and which of them write.
#[derive(Debug)]
pub(crate) struct DescriptionCache {
    known: Arc<Mutex<LruCache<Arc<str>, CachedStatement>>>,
    schema: Option<Schema>,
}

#[derive(Debug, Clone, Default)]
struct CachedStatement {
    description: Option<StatementDescription>,
    writes: Option<Writes>,
    /// Whether a replica has run it, on a read-only connection.
    has_only_read: bool,
}

impl DescriptionCache {
    pub(crate) fn new() -> Self {
        Self { known: Arc::new(Mutex::new(LruCache::new(MAX_DESCRIPTIONS))), schema: None }
    }

    /// Returns a view of this cache for a schema, where the same text may mean other tables with other types.
    pub(crate) fn in_schema(&self, schema: Option<&Schema>) -> Self {
        Self { known: Arc::clone(&self.known), schema: schema.cloned() }
    }

    pub(crate) fn description(&self, sql: &str) -> Option<StatementDescription> {
        self.lock().get(&*self.key(sql)).and_then(|known| known.description.clone())
    }

    pub(crate) fn remember(&self, sql: &str, description: &StatementDescription) {
        self.change(sql, |known| known.description = Some(description.clone()));
    }

    /// Returns whether this statement writes, as far as PostgreSQL or its catalog has said.
    pub(crate) fn writes(&self, sql: &str) -> Writes {
        self.lock().get(&*self.key(sql)).and_then(|known| known.writes).unwrap_or(Writes::Maybe)
    }

    pub(crate) fn remember_writes(&self, sql: &str, writes: Writes) {
        self.change(sql, |known| known.writes = Some(writes));
    }

    /// Returns whether a replica has run this statement, and PostgreSQL has not said since that it writes.
    pub(crate) fn has_only_read(&self, sql: &str) -> bool {
        self.lock().get(&*self.key(sql)).is_some_and(|known| known.has_only_read && known.writes != Some(Writes::Yes))
    }

    pub(crate) fn remember_read(&self, sql: &str) {
        self.change(sql, |known| known.has_only_read = true);
    }

    /// Forgets the types of a statement, because the schema has changed. If it writes, that stays known.
    pub(crate) fn forget(&self, sql: &str) {
        self.change(sql, |known| {
            known.description = None;
            known.has_only_read = false;
            known.writes = known.writes.filter(|writes| *writes == Writes::Yes);
        });
    }

    fn key<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        tagged(self.schema.as_ref(), sql)
    }

    fn change(&self, sql: &str, change: impl FnOnce(&mut CachedStatement)) {
        let key = self.key(sql);
        let mut cache = self.lock();
        if let Some(known) = cache.get_mut(&*key) {
            change(known);
        } else {
            let mut known = CachedStatement::default();
            change(&mut known);
            cache.put(key.into(), known);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Arc<str>, CachedStatement>> {
        // No code panics in the middle of a change, so a poisoned lock can be used.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many statements a `Repo` remembers; the least recently used one goes. More distinct statements than applications
/// have, and few enough that an application that builds SQL from values does not exhaust the memory.
const MAX_DESCRIPTIONS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_tells_names_apart() {
        let hash = |names: &[&str]| hash_of_names(names.iter().copied());
        // The known hash of one zero byte.
        assert_eq!(hash(&[""]), 0xaf63_bd4c_8601_b7df);
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
        assert_ne!(hash(&["a", "b"]), hash(&["ab"]));
    }

    #[test]
    fn forgetting_keeps_whether_it_writes() {
        let cache = DescriptionCache::new();
        let description = StatementDescription { parameters: [Type::INT4].into(), columns: Arc::default() };
        cache.remember("select nextval('s')", &description);
        cache.remember_writes("select nextval('s')", Writes::Yes);
        cache.remember_writes("select 1", Writes::No);
        assert_eq!(cache.writes("select 1"), Writes::No);
        cache.forget("select 1");
        assert_eq!(cache.description("select nextval('s')"), Some(description));
        cache.forget("select nextval('s')");
        assert_eq!(cache.description("select nextval('s')"), None);
        assert_eq!(cache.writes("select nextval('s')"), Writes::Yes);
        assert_eq!(cache.writes("select 1"), Writes::Maybe);
    }

    #[test]
    fn each_schema_has_its_own_descriptions() {
        let cache = DescriptionCache::new();
        let tenant = |name: &str| cache.in_schema(Some(&Schema::new(name).unwrap()));
        let description = StatementDescription { parameters: [Type::INT4].into(), columns: Arc::default() };
        tenant("a").remember("select $1", &description);
        assert_eq!(tenant("a").description("select $1"), Some(description));
        assert_eq!(tenant("b").description("select $1"), None);
        assert_eq!(cache.description("select $1"), None);
    }
}
