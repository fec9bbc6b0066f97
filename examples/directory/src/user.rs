use homing::{Entity, Insert};
use serde::{Deserialize, Serialize};

/// A user in the directory.
#[derive(Debug, Entity, Serialize)]
#[entity(table = "users")]
pub(crate) struct User {
    #[entity(key)]
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) age: i32,
}

/// A new user; the database assigns the id.
#[derive(Debug, Insert, Deserialize)]
#[insert(into = User)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) age: i32,
}

/// The lock is for nodes that start at the same time: PostgreSQL lets only one of two simultaneous `create table if not
/// exists` succeed.
pub(crate) const SCHEMA: &str = "
    select pg_advisory_xact_lock(hashtext('directory.schema'));
    create table if not exists users (
        id bigint generated always as identity primary key,
        name text not null,
        age integer not null check (age >= 0)
    )";
