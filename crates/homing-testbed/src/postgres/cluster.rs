//! The parts of a server that outlive its process: folder, user, port.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::binaries::Binaries;
use super::options::{AUTHORITY_FILE, PostgresOptions};
use crate::certificate::{self, Certificate};
use crate::error::{AtPath as _, Error, Result};
use crate::network::port::Port;
use crate::process::log::LogFile;
use crate::process::scratch::{ProcessKind, Scratch, create_folder};
use crate::process::user::User;
use crate::process::{ChildOutput, Launch, Process};

#[derive(Debug)]
pub(super) struct Cluster {
    folder: PathBuf,
    binaries: Binaries,
    user: User,
    port: Port,
    /// In blocks of `ulimit`.
    max_file_blocks: AtomicU64,
    /// The last field: its drop waits for the server's process.
    scratch: Scratch,
}

impl Cluster {
    pub(super) fn create(scratch: Scratch, name: &str, binaries: Binaries, user: User, port: Port) -> Result<Self> {
        let folder = scratch.unique(name);
        create_folder(&folder)?;
        user.check_reaches(&folder)?;
        let max_file_blocks = AtomicU64::new(UNLIMITED);
        let cluster = Self { folder, binaries, user, port, max_file_blocks, scratch };
        let data = cluster.data();
        // PostgreSQL requires a data directory that only its own user can read.
        DirBuilder::new().mode(0o700).create(&data).at("create", &data)?;
        user.own(&data)?;
        Ok(cluster)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> LogFile {
        LogFile::new(self.folder.join("postgres.log"))
    }

    /// Sets how large a file the server may write, from its next start on.
    pub(super) fn limit_files(&self, bytes: Option<u64>) {
        let blocks = bytes.map_or(UNLIMITED, |bytes| bytes / ULIMIT_BLOCK);
        self.max_file_blocks.store(blocks, Ordering::Relaxed);
    }

    /// Gives the cluster another port, because another program took its own.
    pub(super) fn change_port(&mut self) -> Result<()> {
        self.port = Port::reserve()?;
        Ok(())
    }

    /// Fills the data directory with an empty database cluster.
    pub(super) async fn initialize(&self, settings: &str) -> Result<()> {
        let mut command = self.command("initdb");
        // The server syncs its own writes. A crash of the machine may lose those of initdb, but the
        // test is lost then too.
        command.args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"]);
        command.args(["--auth=trust", "--username=postgres", "--pgdata"]).arg(self.data());
        self.run(&command).await?;
        self.configure(settings)
    }

    /// Fills the data directory with a copy of the server at `source`, to become its replica.
    pub(super) async fn copy(&self, source: SocketAddr, settings: &str) -> Result<()> {
        let mut command = self.command("pg_basebackup");
        command.arg("--host").arg(source.ip().to_string());
        command.arg("--port").arg(source.port().to_string());
        command.args(["--username=postgres", "--no-password", "--no-sync"]);
        command.args(["--checkpoint=fast", "--wal-method=stream", "--pgdata"]).arg(self.data());
        self.run(&command).await?;
        let signal = self.data().join("standby.signal");
        fs::write(&signal, "").at("write", &signal)?;
        self.user.own(&signal)?;
        self.configure(settings)
    }

    /// Writes the certificates and the rules of access that the options name.
    pub(super) fn secure(&self, options: &PostgresOptions) -> Result<()> {
        if let Some(certificate) = &options.certificate {
            self.write_certificate(certificate)?;
        }
        if let Some(authority) = &options.client_authority {
            certificate::write(&self.data().join(AUTHORITY_FILE), authority, 0o644)?;
        }
        if let Some(rules) = &options.access {
            let rules = format!("{ALWAYS}{rules}\n");
            let path = self.data().join("pg_hba.conf");
            certificate::write(&path, &rules, 0o600)?;
            self.user.own(&path)?;
        }
        Ok(())
    }

    /// Writes the certificate that the server shows, to the files where PostgreSQL expects it.
    pub(super) fn write_certificate(&self, certificate: &Certificate) -> Result<()> {
        let files = certificate.save(&self.data(), "server")?;
        self.user.own(&files.key)
    }

    /// Starts the server's process; it is not ready yet.
    pub(super) fn spawn_server(&self) -> Result<Process> {
        let mut command = match self.max_file_blocks.load(Ordering::Relaxed) {
            UNLIMITED => self.command("postgres"),
            blocks => {
                let mut shell = self.command_of("/bin/sh");
                shell.args(["-c", "ulimit -f \"$0\" && exec \"$@\"", &blocks.to_string()]);
                shell.arg(self.binaries.program("postgres"));
                shell
            }
        };
        command.arg("-p").arg(self.port.number().to_string()).arg("-D").arg(self.data());
        self.spawn(&command, ProcessKind::Postgres)
    }

    async fn run(&self, command: &Command) -> Result<()> {
        let process = self.spawn(command, ProcessKind::Group)?;
        let status = process.exited().await;
        if status.success() {
            return Ok(());
        }
        let program = Path::new(command.get_program()).file_name().unwrap_or_default();
        let (program, tail) = (program.to_string_lossy(), self.log().tail());
        Err(Error::exited(format!("PostgreSQL's {program} failed with {status}:\n{tail}")))
    }

    fn spawn(&self, command: &Command, kind: ProcessKind) -> Result<Process> {
        let output = ChildOutput::Log(self.log().open()?);
        let launch = Launch { command, kind, user: self.user, output };
        launch.spawn(&self.scratch).map(|(process, _)| process)
    }

    /// Returns a command for a PostgreSQL program, without the variables of this process that would
    /// change what the program does.
    fn command(&self, program: &str) -> Command {
        self.command_of(self.binaries.program(program))
    }

    fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir(&self.folder);
        command
    }

    fn configure(&self, settings: &str) -> Result<()> {
        let path = self.data().join("postgresql.conf");
        let file = OpenOptions::new().append(true).open(&path);
        file.and_then(|mut file| file.write_all(settings.as_bytes())).at("write", &path)
    }
}

/// POSIX: `ulimit -f` counts units of 512 bytes.
const ULIMIT_BLOCK: u64 = 512;

const UNLIMITED: u64 = u64::MAX;

/// The tools of the testbed connect as the superuser, and so do replicas.
const ALWAYS: &str = "host all,replication postgres 127.0.0.1/32 trust\n";
