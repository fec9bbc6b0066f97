//! PgBouncer and HAProxy in front of servers.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use homing_testbed::{NodeCommand, NodeProcess, Postgres, Scratch, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// A pooler or a balancer, which ends with this handle.
pub(crate) struct Proxy {
    address: SocketAddr,
    scratch: Scratch,
    /// Keeps the port for the process, and for no other.
    _port: TcpSocket,
    _process: NodeProcess,
}

impl Proxy {
    /// Starts PgBouncer with these settings. `None`, with a message, if it is not installed.
    pub(crate) async fn pgbouncer(server: &Postgres, settings: &str) -> Option<Self> {
        let program = installed("pgbouncer")?;
        let configuration = |address: SocketAddr, _: &Path| {
            format!(
                "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {}\nunix_socket_dir =\nauth_type = any\n{settings}\n",
                server.address().port(),
                address.port()
            )
        };
        // PgBouncer refuses to run as root, and so does PostgreSQL.
        let user = Command::new("id").arg("-u").output().unwrap();
        let arguments: &[&str] = if user.stdout.trim_ascii() == b"0" { &["--user=postgres"] } else { &[] };
        Some(Self::start(&program, arguments, configuration).await)
    }

    /// Starts HAProxy, which spreads connections over these servers in turn. `None`, with a message, if it is not installed.
    pub(crate) async fn haproxy(servers: &[&Postgres]) -> Option<Self> {
        let program = installed("haproxy")?;
        let configuration = |address: SocketAddr, folder: &Path| {
            let servers = servers.iter().map(|server| format!("  server {} {}\n", server.name(), server.address()));
            format!(
                "global\n  nbthread 1\n  stats socket {}/admin mode 600 level admin\n\
                 defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
                 listen postgres\n  bind {address}\n  balance roundrobin\n{}",
                folder.display(),
                servers.collect::<String>()
            )
        };
        Some(Self::start(&program, &["-db", "-f"], configuration).await)
    }

    async fn start(program: &Path, arguments: &[&str], configuration: impl Fn(SocketAddr, &Path) -> String) -> Self {
        let scratch = Scratch::new().unwrap();
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = port.local_addr().unwrap();
        let file = scratch.path().join("proxy.conf");
        fs::write(&file, configuration(address, scratch.path())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let script = "echo ready; exec \"$@\"";
        let command = NodeCommand::new("/bin/sh").arg("-c").arg(script).arg("sh").arg(program).with_scratch(&scratch);
        let command = arguments.iter().fold(command, NodeCommand::arg).arg(&file).with_ready_prefix("ready");
        let process = command.start().await.unwrap();
        wait_until("the proxy listens", async || TcpStream::connect(address).await.is_ok()).await;
        Self { address, scratch, _port: port, _process: process }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:secret@{}/postgres", self.address)
    }

    /// Sends a command to HAProxy, such as `disable server postgres/syd`.
    pub(crate) async fn command(&self, command: &str) {
        let path = self.scratch.path().join("admin");
        wait_until("HAProxy takes commands", async || UnixStream::connect(&path).await.is_ok()).await;
        let mut socket = UnixStream::connect(&path).await.unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.trim(), "", "{command}");
    }
}

/// Returns where the program is. Debian keeps it where ordinary users do not look.
fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {program} is not installed; `cargo xtask test` installs it");
    }
    found
}
