//! Thousands of connections that prove nothing, and the peers beside them.
//!
//! The node runs in a process of its own, which is this test program again with [`process`] as the only test, so that its
//! memory can be measured.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::world::{client, refused, serve, soon};

const LIMIT: Duration = Duration::from_secs(10);

/// How many connections attack the node.
const STRANGERS: usize = 5000;

/// How many of them it keeps.
const MAX_STRANGERS: usize = 256;

/// How much memory they may cost. It was 2 MB when this was written.
const MAX_MORE_KB: u64 = 16 * 1024;

/// Set for the process.
const MARK: &str = "STRANGERS_TEST_PROCESS";

/// The node, which ends when its input ends.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "strangers::process", "--ignored", "--nocapture"])
            .env(MARK, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// Returns the rest of the output line that starts with the word.
    pub(crate) fn says(&mut self, word: &str) -> String {
        let mark = format!("{word}: ");
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it ended without {word}");
            // The test harness begins the first line.
            if let Some((_, value)) = line.split_once(&mark) {
                return value.trim().to_owned();
            }
        }
    }

    /// Its resident memory in kB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// Returns its counts of refusals, as it prints them.
    fn refusals(&mut self) -> String {
        writeln!(self.stdin).unwrap();
        self.says("refusals")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "runs in a process of its own, as part of another test"]
fn process() {
    if std::env::var_os(MARK).is_none() {
        // Does nothing if all ignored tests are run.
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let iad = serve("iad").await;
        println!("listening: {}", iad.local_addr());
        let asked = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]).unwrap());
        asked.await.unwrap();
        println!("refusals: {:?}", refused(&iad));
        std::future::pending::<()>().await
    });
}

/// Connects from this address, says something or nothing, and waits until it is sent away.
async fn attack(from: SocketAddr, target: SocketAddr, words: Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    let mut stream = socket.connect(target).await.unwrap();
    let _ = stream.write_all(&words).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// What strangers say: nothing, half a handshake, other protocols.
fn words(number: usize) -> Vec<u8> {
    match number % 5 {
        0 | 1 => Vec::new(),
        2 => b"\0homing\x01".to_vec(),
        3 => [b"\0homing\x01".as_slice(), &[7; 48], &[4], &[7; 20]].concat(),
        _ => b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".to_vec(),
    }
}

#[tokio::test]
async fn thousands_of_strangers_keep_nobody_out() {
    let mut node = Process::start();
    let target: SocketAddr = node.says("listening").parse().unwrap();
    let known = client(&[target]);
    assert_eq!(known.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap().value, 3);
    let before = node.memory();

    let mut strangers = JoinSet::new();
    for number in 0..STRANGERS {
        // From two addresses; that of the peers is a third one.
        let from = ([127, 0, 0, if number % 2 == 0 { 2 } else { 3 }], 0).into();
        strangers.spawn(attack(from, target, words(number)));
        if number % 500 == 499 {
            assert_eq!(known.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap().value, 3);
            let new = client(&[target]);
            assert_eq!(soon("call", new.call_primary::<i64>("add", (1, 2), LIMIT)).await.unwrap().value, 3);
        }
    }
    while strangers.len() > MAX_STRANGERS {
        soon("end of a stranger", strangers.join_next()).await.unwrap().unwrap();
    }
    let after = node.memory();
    println!("resident memory: {before} kB before, {after} kB with {STRANGERS} strangers");
    assert!(after < before + MAX_MORE_KB, "{before} kB before, {after} kB with {STRANGERS} strangers");
    let counts = node.refusals();
    assert!(counts.contains("Crowded") && counts.contains("Garbage"), "{counts}");
    assert!(!counts.contains("Full"), "{counts}");
}

#[tokio::test]
async fn silent_sockets_do_not_stop_accepting() {
    let iad = serve("iad").await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let mut socket = TcpStream::connect(iad.local_addr()).await.unwrap();
        // Half a handshake: the server waits for the rest.
        socket.write_all(b"\0homing\x01half").await.unwrap();
        sockets.push(socket);
    }
    for _ in 0..10 {
        let rpc = client(&[iad.local_addr()]);
        assert_eq!(rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap().value, 3);
    }
    assert!(refused(&iad).is_empty(), "{:?}", refused(&iad));
}
