//! [`Identities`], what tells servers and keys apart.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::table::Key;
use super::world::{OWN_KEYS, SERVERS};
use crate::connection::address::Address;
use crate::database::{Config, Database};
use crate::outcome::key::IdempotencyKey;
use crate::position::role::Role;

/// Servers and keys. Sessions tell servers apart by their `Database`, which is never connected.
#[derive(Debug)]
pub(super) struct Identities {
    pub(super) databases: Vec<Database>,
    own: Vec<IdempotencyKey>,
    /// The tasks of the databases belong to it, and do not run.
    _runtime: Runtime,
}

impl Identities {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime needs no resources");
        let entered = runtime.enter();
        let database = |number| {
            let url = format!("host=server{number} user=simulation");
            let address = Address::of_driver(url.parse().expect("the address is valid"));
            Database::at(address, Config::new(url, Role::Replica), Arc::default())
        };
        let databases = (0..SERVERS).map(database).collect();
        drop(entered);
        let own = (0..OWN_KEYS).map(|key| IdempotencyKey::from(format!("key {key}"))).collect();
        Self { databases, own, _runtime: runtime }
    }

    /// Returns a key of the application's own, or else a new one.
    pub(super) fn key(&self, key: Key) -> IdempotencyKey {
        self.own.get(key).copied().unwrap_or_else(IdempotencyKey::generate)
    }
}
