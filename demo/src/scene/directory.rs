//! The example application, as its users see it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::http::Connection;

/// A client of one node of `examples/directory`.
#[derive(Debug)]
pub(crate) struct Directory {
    connection: Connection,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) age: i32,
}

/// How long the stages of a request took, measured inside the node.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Report {
    /// `here` if the node itself answered, or else the peer.
    pub(crate) answered_by: String,
    pub(crate) route_ms: f64,
    pub(crate) forward_ms: f64,
    pub(crate) execute_ms: f64,
    pub(crate) replay_wait_ms: f64,
    pub(crate) total_ms: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OneUser {
    pub(crate) user: User,
    pub(crate) report: Report,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Users {
    pub(crate) users: Vec<User>,
    pub(crate) report: Report,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Imported {
    pub(crate) imported: usize,
    pub(crate) report: Report,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Birthdays {
    pub(crate) birthdays: usize,
    pub(crate) report: Report,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) region: String,
    pub(crate) primary_region: String,
    pub(crate) role: Option<String>,
}

/// The outcome of a request that may fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(OneUser),
    Failed {
        /// In the application's words: `not sent`, `rejected`, `outcome unknown` or `committed`.
        fate: String,
        error: String,
    },
}

impl Report {
    pub(crate) fn is_local(&self) -> bool {
        self.answered_by == "here"
    }

    /// Returns whether a node of that region answered.
    pub(crate) fn is_from(&self, region: &str) -> bool {
        self.answered_by.split_once('/').is_some_and(|(peer, _)| peer == region)
    }
}

impl Directory {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { connection: Connection::open(address).await? })
    }

    pub(crate) async fn node(&mut self) -> Result<Node> {
        self.ask(Method::GET, "/", None).await
    }

    pub(crate) async fn insert(&mut self, name: &str, age: i32) -> Result<OneUser> {
        self.ask(Method::POST, "/users", Some(json!({ "name": name, "age": age }))).await
    }

    /// Inserts a user. The node waits at most that long for the replay.
    pub(crate) async fn insert_within(&mut self, name: &str, age: i32, replay_timeout_ms: u64) -> Result<OneUser> {
        let path = format!("/users?replay_timeout_ms={replay_timeout_ms}");
        self.ask(Method::POST, &path, Some(json!({ "name": name, "age": age }))).await
    }

    /// Inserts a user, which may fail. Returns an error only if the node itself does not answer.
    pub(crate) async fn try_insert(&mut self, name: &str, age: i32) -> Result<Outcome> {
        let body = json!({ "name": name, "age": age });
        let response = self.connection.send(Method::POST, "/users", Some(&body)).await?;
        if (200..300).contains(&response.status) && response.body.get("user").is_some() {
            return Ok(Outcome::Done(serde_json::from_value(response.body)?));
        }
        let text = |name: &str| response.body[name].as_str().unwrap_or("?").to_owned();
        Ok(Outcome::Failed { fate: text("fate"), error: text("error") })
    }

    pub(crate) async fn get(&mut self, id: i64) -> Result<OneUser> {
        self.ask(Method::GET, &format!("/users/{id}"), None).await
    }

    /// Returns the users whose name begins with `prefix`, which must need no escaping.
    pub(crate) async fn named(&mut self, prefix: &str) -> Result<Users> {
        self.ask(Method::GET, &format!("/users?name={prefix}"), None).await
    }

    pub(crate) async fn replace_within(&mut self, user: &User, replay_timeout_ms: u64) -> Result<OneUser> {
        let path = format!("/users/{}?replay_timeout_ms={replay_timeout_ms}", user.id);
        self.ask(Method::PUT, &path, Some(json!({ "name": user.name, "age": user.age }))).await
    }

    /// Imports by one call of a function in the primary region.
    pub(crate) async fn import(&mut self, names: &[String]) -> Result<Imported> {
        self.ask(Method::POST, "/import", Some(json!({ "names": names }))).await
    }

    /// Imports by a loop in the node, with one call for each name.
    pub(crate) async fn import_in_a_loop(&mut self, names: &[String]) -> Result<Imported> {
        self.ask(Method::POST, "/import/loop", Some(json!({ "names": names }))).await
    }

    pub(crate) async fn birthdays(&mut self, prefix: &str) -> Result<Birthdays> {
        self.ask(Method::POST, "/birthdays", Some(json!({ "name": prefix }))).await
    }

    /// Sends a request. Returns an error if the application refuses it.
    async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<T> {
        let response = self.connection.send(method.clone(), path, body.as_ref()).await;
        let response = response.with_context(|| format!("{method} {path}"))?;
        if !(200..300).contains(&response.status) {
            bail!("{method} {path}: the node answered with status {}: {}", response.status, response.body);
        }
        serde_json::from_value(response.body).with_context(|| format!("the answer to {method} {path}"))
    }
}
