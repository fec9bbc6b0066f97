//! The servers, links and nodes that are measured.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use homing_testbed::{Binaries, NodeCommand, Postgres, PostgresOptions, Relay};
use tokio_postgres::Client;

use super::control::Control;
use super::node::{DIRECT, OWN};
use crate::program::node_command;

/// The primary region. Everything ends when it is dropped, after the regions that it has started.
pub(super) struct Home {
    program: PathBuf,
    address: SocketAddr,
    pub(super) node: Control,
    pub(super) primary: Postgres,
    pub(super) client: Client,
}

/// A region with a replica.
pub(super) struct Away {
    pub(super) node: Control,
    pub(super) replica: Postgres,
    /// To the node and the database of the primary region, and from the primary to the replica.
    links: Vec<Relay>,
}

impl Home {
    pub(super) async fn start(program: &Path, binaries: Binaries) -> Result<Self> {
        let options = Postgres::options().with_binaries(binaries).with_max_connections(MAX_CONNECTIONS);
        let primary = options.with_name("primary").start().await?;
        let client = primary.connect().await?;
        client.batch_execute(SCHEMA).await?;
        // The port is free for a moment; the node takes it at once.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let command = command(program, HOME)
            .env("HOMING_LISTEN", address.to_string())
            .env("DATABASE_URL", primary.url())
            .env(DIRECT, primary.url())
            .env(OWN, primary.url());
        let node = Control::start(command).await?;
        Ok(Self { program: program.to_owned(), address, node, primary, client })
    }

    /// Starts a region without any distance to the primary, and without links, which would take time of their own.
    pub(super) async fn near(&self) -> Result<Away> {
        let replica = PostgresOptions::default().with_name("near").start_replica_of(&self.primary).await?;
        self.region("near", replica, self.address, self.primary.url(), Vec::new()).await
    }

    /// Starts a region whose links have no round trip yet.
    pub(super) async fn far(&self) -> Result<Away> {
        let [peer, direct, upstream] = [self.address, self.primary.address(), self.primary.address()].map(Relay::start);
        let (peer, direct, upstream) = (peer?, direct?, upstream?);
        let options = PostgresOptions::default().with_name("far").with_upstream(upstream.address());
        let replica = options.start_replica_of(&self.primary).await?;
        let url = format!("postgres://postgres@{}/postgres", direct.address());
        self.region("far", replica, peer.address(), url, vec![peer, direct, upstream]).await
    }

    async fn region(
        &self,
        name: &str,
        replica: Postgres,
        peer: SocketAddr,
        direct: String,
        links: Vec<Relay>,
    ) -> Result<Away> {
        let command = command(&self.program, name)
            .env("HOMING_PEERS", format!("{HOME}={peer}"))
            .env("HOMING_REPLICA_URL", replica.url())
            .env(DIRECT, direct)
            .env(OWN, replica.url());
        let node = Control::start(command).await?;
        Ok(Away { node, replica, links })
    }

    /// Returns how many bytes of log the primary has written.
    pub(super) async fn written(&self) -> Result<f64> {
        let sql = "select (pg_current_wal_insert_lsn() - '0/0')::float8";
        Ok(self.client.query_one(sql, &[]).await?.try_get(0)?)
    }
}

impl Away {
    pub(super) fn set_round_trip(&self, round_trip: Duration) {
        for link in &self.links {
            link.set_round_trip(round_trip);
        }
    }
}

fn command(program: &Path, region: &str) -> NodeCommand {
    node_command(program, "bench-node")
        .with_name(region)
        .env("HOMING_REGION", region)
        .env("HOMING_PRIMARY_REGION", HOME)
        .env("HOMING_APP", "bench")
        .env("HOMING_SECRET", SECRET)
        .env("RUST_LOG", "warn")
}

const HOME: &str = "home";

/// Nobody else is here to learn it.
const SECRET: &str = "the-secret-of-the-bench-0123456789";

/// Enough for the pools of three nodes, and for those that are compared with them.
const MAX_CONNECTIONS: u16 = 120;

/// The table, with one row. The function is the loop of Homing's model, which its migration creates.
const SCHEMA: &str = "
    create table users (
        id bigint generated always as identity primary key,
        name text not null,
        age integer not null
    );
    insert into users (name, age) values ('Grace', 36);
    create function poll_for(place pg_lsn) returns void language plpgsql as $$
    begin
        while pg_last_wal_replay_lsn() < place loop
            perform pg_sleep(0.05);
        end loop;
    end
    $$";
