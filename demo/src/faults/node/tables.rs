//! The tables of the application.

use homing::{Entity, Insert};

/// What a write stores.
#[derive(Debug, Entity)]
#[entity(table = "entries")]
pub(super) struct Entry {
    #[entity(key)]
    pub(super) id: i64,
    pub(super) register: String,
    pub(super) caller: String,
    pub(super) number: i64,
    /// A place in the log of the primary before the commit.
    #[entity(read_only)]
    pub(super) place: i64,
}

#[derive(Debug, Insert)]
#[insert(into = Entry)]
pub(super) struct NewEntry {
    pub(super) register: String,
    pub(super) caller: String,
    pub(super) number: i64,
}

#[derive(Debug, Entity)]
#[entity(table = "accounts")]
pub(super) struct Account {
    #[entity(key)]
    pub(super) id: i32,
    pub(super) balance: i64,
}

/// Nothing makes entries unique: a write that is applied twice is stored twice.
pub(crate) const SCHEMA: &str = "
    create table entries (
        id bigint generated always as identity primary key,
        register text not null,
        caller text not null,
        number bigint not null,
        source integer,
        target integer,
        amount bigint,
        place bigint not null default (pg_current_wal_insert_lsn() - '0/0')::bigint
    );
    create index on entries (register);
    create table accounts (id integer primary key, balance bigint not null);
    insert into accounts select id, 1000 from generate_series(0, 63) id";

/// The accounts have the ids 0 to 63.
pub(crate) const ACCOUNTS: i32 = 64;

/// The balance of each account at the beginning.
pub(crate) const BALANCE: i64 = 1000;
