//! Nothing is left behind, however a program ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use homing_testbed::{NodeCommand, Postgres, Scratch, World, wait_until};

use crate::{LIMIT, is_running};

#[tokio::test]
async fn dropping_leaves_nothing() {
    let scratch = Scratch::new().unwrap();
    let path = scratch.path().to_owned();
    let server = Postgres::options().with_scratch(&scratch).start().await.unwrap();
    drop(scratch);
    let processes = processes(&path);
    assert!(processes.iter().any(|pid| is_running(pid)));
    drop(server);
    assert!(!path.exists());
    assert!(!processes.iter().any(|pid| is_running(pid)));
}

#[tokio::test]
async fn killed_server_leaves_no_shared_memory() {
    let server = Postgres::start().await.unwrap();
    let pid_file = fs::read_to_string(server.data_directory().join("postmaster.pid")).unwrap();
    let key: Vec<&str> = pid_file.lines().nth(6).unwrap().split_whitespace().collect();
    let segments = || fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let is_there = |text: &str| {
        let fields = text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>());
        fields.into_iter().any(|fields| fields == key)
    };
    let known = is_there(&segments());
    assert!(known || !cfg!(target_os = "linux"));
    server.kill().await.unwrap();
    drop(server);
    assert!(!is_there(&segments()));
}

#[tokio::test]
async fn killed_program_leaves_nothing() {
    let mut program = Program::start();
    program.child.kill().unwrap();
    program.leaves_nothing().await;
}

#[tokio::test]
async fn interrupted_program_leaves_nothing() {
    let program = Program::start();
    // As Ctrl-C does: to the whole foreground process group.
    let group = format!("-{}", program.child.id());
    let kill = Command::new("/bin/sh").args(["-c", "kill -INT \"$1\"", "sh", &group]).status();
    assert!(kill.unwrap().success());
    program.leaves_nothing().await;
}

#[tokio::test]
async fn panicking_program_leaves_nothing() {
    let mut program = Program::start();
    // The program waits for its input to end, and panics.
    drop(program.child.stdin.take());
    program.leaves_nothing().await;
}

/// This test program as a program of its own, with a world up.
struct Program {
    child: Child,
    path: PathBuf,
    processes: Vec<String>,
}

impl Program {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "--nocapture", "cleanup::program"]);
        command.env(PROGRAM, "1").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let mut program = Self { child, path: PathBuf::new(), processes: Vec::new() };
        let (sender, path) = mpsc::channel();
        std::thread::spawn(move || {
            // The test harness prints before the line without ending its own.
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            let path = lines.find_map(|line| Some(line.split_once("the world is in ")?.1.to_owned()));
            sender.send(path)
        });
        program.path = path.recv_timeout(LIMIT).unwrap().unwrap().into();
        program.processes = processes(&program.path);
        // At least two servers and two nodes; PostgreSQL's children come and go.
        let running = program.processes.iter().filter(|pid| is_running(pid)).count();
        assert!(running >= 4, "{running} of {:?}", program.processes);
        program
    }

    async fn leaves_nothing(mut self) {
        assert!(!self.child.wait().unwrap().success());
        let left = |pid: &String| is_running(pid);
        wait_until("nothing is left", async || !self.path.exists() && !self.processes.iter().any(left)).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed before its end must not leave it.
        let _ = self.child.kill();
    }
}

#[tokio::test]
#[ignore = "the program that the tests above end"]
async fn program() {
    if std::env::var_os(PROGRAM).is_none() {
        return;
    }
    let node = "trap '' INT TERM; echo ready now; exec sleep 600";
    let world = World::builder()
        .region("syd", Duration::from_millis(1))
        .node_command(NodeCommand::new("/bin/sh").arg("-c").arg(node))
        .start()
        .await
        .unwrap();
    world.nodes("syd")[0].pause().await.unwrap();
    println!("the world is in {}", world.scratch().path().display());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    panic!("as the test wants it");
}

/// All processes of a testbed: those recorded, and on Linux their children.
fn processes(scratch: &Path) -> Vec<String> {
    let records = fs::read_dir(scratch.join("records")).unwrap();
    let records = records.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let recorded: Vec<String> = records.map(|record| record.split_whitespace().nth(1).unwrap().to_owned()).collect();
    let children = recorded.iter().flat_map(|pid| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    children.chain(recorded.iter().cloned()).collect()
}

const PROGRAM: &str = "HOMING_TESTBED_PROGRAM";
