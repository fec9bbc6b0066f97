//! A highly available PostgreSQL: several servers that Patroni starts, promotes and rejoins.

mod etcd;
mod member;
mod options;
mod rest;
mod settings;
mod start;

use std::time::Duration;

use tokio::time::sleep;

use self::etcd::Etcd;
pub use self::member::PatroniMember;
pub use self::options::PatroniOptions;
use crate::error::{Error, Result};
use crate::wait::within;

/// Several PostgreSQL servers, of which [Patroni](https://patroni.readthedocs.io) keeps one the primary and the others its
/// replicas. It promotes a replica if the primary is gone, and rejoins the old primary with `pg_rewind`.
///
/// Each member has a Patroni, a server and a link to an etcd of one node, in which the members agree on their leader. They listen
/// on 127.0.0.1, trust all clients, and have the superuser `postgres`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use homing_testbed::Patroni;
///
/// let cluster = Patroni::start().await?;
/// let leader = cluster.leader().await?;
/// leader.connect("postgres").await?.batch_execute("create table users (id int8 primary key)").await?;
/// leader.kill().await?;
/// let next = cluster.leader().await?;
/// assert_ne!(next.name(), leader.name());
/// # Ok(())
/// # }
/// ```
///
/// The drop ends everything at once.
#[derive(Debug)]
pub struct Patroni {
    members: Vec<PatroniMember>,
    /// Dropped after the members, which would demote their server without it.
    _etcd: Etcd,
}

impl Patroni {
    /// Returns the default options, to change them before a start.
    pub fn options() -> PatroniOptions {
        PatroniOptions::default()
    }

    /// Starts a cluster with the default options.
    ///
    /// # Errors
    ///
    /// See [`PatroniOptions::start`].
    pub async fn start() -> Result<Self> {
        Self::options().start().await
    }

    /// Returns the members, in the order of their names.
    pub fn members(&self) -> &[PatroniMember] {
        &self.members
    }

    /// Returns a connection URL that names all members.
    pub fn url(&self, database: &str) -> String {
        let addresses: Vec<_> = self.members.iter().map(|member| member.address().to_string()).collect();
        format!("postgres://postgres@{}/{database}", addresses.join(","))
    }

    /// Waits until a member is the leader and accepts writes, and returns it. A leader that has just lost its role may still be
    /// returned for a moment.
    ///
    /// # Errors
    ///
    /// [`is_timed_out`](Error::is_timed_out) if there is none after a minute.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn leader(&self) -> Result<&PatroniMember> {
        let elected = async {
            loop {
                for member in &self.members {
                    if member.is_leader().await {
                        return Ok(member);
                    }
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        within(TIMEOUT, "Patroni has not elected a leader", elected).await
    }

    /// Waits until the other members stream from the leader, and Patroni knows it.
    ///
    /// # Errors
    ///
    /// [`is_timed_out`](Error::is_timed_out) if one of them does not after a minute.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self) -> Result<()> {
        let settled = async {
            loop {
                let leader = self.leader().await?;
                let followers = leader.followers().await.unwrap_or(0);
                if followers + 1 == self.members.len() && leader.running_members().await == self.members.len() {
                    return Ok(());
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        within(TIMEOUT, "Patroni's members do not all stream from their leader", settled).await
    }

    /// Makes another member the leader, as `patronictl switchover` does: the leader shuts down cleanly first. Returns when
    /// Patroni says that it is done.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse), with Patroni's answer, if it refuses, for example because the member lags.
    /// - [`is_timed_out`](Error::is_timed_out) if there is no leader or no answer after a minute.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the switchover goes on.
    pub async fn switch_over_to(&self, candidate: &PatroniMember) -> Result<()> {
        let leader = self.leader().await?;
        let body = format!(r#"{{"leader": "{}", "candidate": "{}"}}"#, leader.name(), candidate.name());
        let answer = rest::request(leader.rest_address(), "POST", "/switchover", &body);
        let answer = within(TIMEOUT, "Patroni does not answer the switchover", async {
            answer.await.map_err(|error| Error::io("cannot ask Patroni for a switchover", error))
        });
        let answer = answer.await?;
        match answer.status {
            200 | 202 => Ok(()),
            status => Err(Error::misuse(format!("Patroni refuses the switchover: {status} {}", answer.body))),
        }
    }
}

/// Short, because tests wait for it.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Longer than an election and a rewind take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
