//! One member of a cluster: a Patroni and its server.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, NoTls};

use super::rest;
use super::settings::{ClusterSettings, MemberSettings};
use crate::error::{AtPath as _, Error, Result};
use crate::network::port::Port;
use crate::network::relay::Relay;
use crate::postgres::binaries::Binaries;
use crate::process::log::LogFile;
use crate::process::scratch::{ProcessKind, Scratch, create_folder};
use crate::process::user::User;
use crate::process::{ChildOutput, Launch, Process};

/// A member of a [`Patroni`](super::Patroni) cluster: a Patroni, the server that it manages, and its link to etcd.
#[derive(Debug)]
pub struct PatroniMember {
    name: String,
    folder: PathBuf,
    user: User,
    postgres: Port,
    rest: Port,
    etcd: Relay,
    /// `None` while killed. Locked while the member starts or ends.
    process: Mutex<Option<Process>>,
    /// The last field: its drop waits for the processes.
    scratch: Scratch,
}

impl PatroniMember {
    /// Writes the settings of a member, which does not run yet.
    pub(super) fn create(
        name: String,
        scratch: &Scratch,
        user: User,
        binaries: &Binaries,
        etcd: SocketAddr,
        cluster: ClusterSettings,
    ) -> Result<Self> {
        let folder = scratch.unique(&name);
        create_folder(&folder)?;
        user.own(&folder)?;
        let (postgres, rest, etcd) = (Port::reserve()?, Port::reserve()?, Relay::start(etcd)?);
        let settings = MemberSettings {
            cluster,
            name: &name,
            rest: rest.address(),
            etcd: etcd.address(),
            postgres: postgres.address(),
            folder: &folder,
            binaries: binaries.folder(),
        };
        let path = folder.join(SETTINGS_FILE);
        fs::write(&path, settings.to_string()).at("write", &path)?;
        Ok(Self { name, folder, user, postgres, rest, etcd, process: Mutex::new(None), scratch: scratch.clone() })
    }

    /// Returns the name, which Patroni uses as the `application_name` of a replica's connection to its primary.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of the server. It does not change.
    pub fn address(&self) -> SocketAddr {
        self.postgres.address()
    }

    /// Returns the connection URL of a database of this member's server alone.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    /// Returns the address of Patroni's HTTP interface, which tells a load balancer the role: `GET /primary` and `GET /replica`
    /// are answered with 200 or 503.
    pub fn rest_address(&self) -> SocketAddr {
        self.rest.address()
    }

    /// Returns the link between this member and etcd. A leader whose link is cut gives up its role.
    pub fn etcd_link(&self) -> &Relay {
        &self.etcd
    }

    /// Returns the log of Patroni and its server.
    pub fn log(&self) -> LogFile {
        LogFile::new(self.folder.join("patroni.log"))
    }

    /// Opens a connection to the server. A task on the current runtime drives the connection, and ends with the client.
    ///
    /// # Errors
    ///
    /// A database error if the server is stopped or refuses the connection.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed.
    pub async fn connect(&self, database: &str) -> Result<Client> {
        let connected = tokio_postgres::connect(&self.url(database), NoTls).await;
        let (client, connection) =
            connected.map_err(|error| Error::database(format!("cannot connect to member {}", self.name), error))?;
        // The connection ends with its client. The client's calls report its errors.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Returns whether this member is the leader, as Patroni says, and its server accepts writes. False if one of them does not
    /// answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_leader(&self) -> bool {
        let answer = rest::request(self.rest_address(), "GET", "/primary", "").await;
        // Patroni says so before the promotion is complete.
        answer.is_ok_and(|answer| answer.status == 200)
            && self.ask("select not pg_is_in_recovery()").await == Some(true)
    }

    /// Returns how many other members stream from this server. `None` if it cannot be asked.
    pub(super) async fn followers(&self) -> Option<usize> {
        // A base backup streams too, under its own name.
        let sql =
            "select count(*) from pg_stat_replication where state = 'streaming' and application_name like 'member-%'";
        self.ask::<i64>(sql).await?.try_into().ok()
    }

    /// Returns how many members run, as this member knows from etcd. Zero if it does not answer.
    pub(super) async fn running_members(&self) -> usize {
        let answer = rest::request(self.rest_address(), "GET", "/cluster", "").await;
        let running = |body: &str| [RUNNING, STREAMING].map(|state| body.matches(state).count()).into_iter().sum();
        answer.map_or(0, |answer| running(&answer.body))
    }

    /// Kills Patroni and the server with SIGKILL, as if their machine had lost power, and waits for the end of Patroni. Does
    /// nothing if they do not run.
    ///
    /// # Errors
    ///
    /// An I/O error if they cannot be signalled. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the member still ends.
    pub async fn kill(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        if let Some(running) = process.take() {
            running.signal(Signal::KILL)?;
            self.signal_server(Signal::KILL);
            running.exited().await;
        }
        Ok(())
    }

    /// Starts Patroni, which starts the server. Does nothing if it runs. Does not wait for the server.
    ///
    /// # Errors
    ///
    /// An I/O error, for which no predicate holds, if the process cannot be started.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the member may or may not run.
    pub async fn start_again(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        if process.as_ref().is_none_or(|process| process.status().is_some()) {
            let mut command = Command::new("patroni");
            command.arg(self.folder.join(SETTINGS_FILE)).current_dir(&self.folder);
            // Patroni writes a file of passwords for its programs.
            command.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", &self.folder);
            let output = ChildOutput::Log(self.log().open()?);
            let launch = Launch { command: &command, kind: ProcessKind::Group, user: self.user, output };
            *process = Some(launch.spawn(&self.scratch)?.0);
        }
        Ok(())
    }

    /// Asks for one value on a new connection. `None` if there is no answer.
    async fn ask<T: for<'a> FromSql<'a>>(&self, query: &str) -> Option<T> {
        let client = self.connect("postgres").await.ok()?;
        client.query_one(query, &[]).await.ok()?.try_get(0).ok()
    }

    /// Signals the server, which is not a child of this program: its pid file names it.
    fn signal_server(&self, signal: Signal) {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid"));
        let pid = file.ok().and_then(|text| Pid::from_raw(text.lines().next()?.trim().parse().ok()?));
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for PatroniMember {
    fn drop(&mut self) {
        if let Some(process) = self.process.get_mut().take() {
            drop(process);
            self.signal_server(Signal::QUIT);
        }
    }
}

const SETTINGS_FILE: &str = "patroni.yml";

const RUNNING: &str = r#""state": "running""#;

/// The state of a replica, as newer versions of Patroni call it.
const STREAMING: &str = r#""state": "streaming""#;
