//! Streams a million rows through separate processes and measures their memory.
//!
//! The processes run this test program again, with [`process`] as the only test.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use homing::Node;
use homing::report::AnsweredBy;

use crate::fixture::{PATIENCE, SECRET, Servers, recorded};

const ROWS: i64 = 1_000_000;

/// The memory that a stream may use on either side, above that of an idle process.
const MOST_KB: u64 = 50 * 1024;

/// About 100 MB in all.
const SQL: &str = "select n, repeat('x', 80) as filler from (select generate_series(1, 1000000) as n) as numbers";

/// Set for the processes.
const MARK: &str = "MEMORY_TEST_PROCESS";

#[tokio::test]
async fn million_rows_take_little_memory() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let (primary, replica) =
        (servers.primary.database_url(&world.database), servers.replica.database_url(&world.database));
    let measuring = tokio::task::spawn_blocking(move || {
        let mut sender = Process::start("iad", &[("HOMING_DATABASE_URL", &primary)]);
        let address = sender.says("listening");
        let peers = format!("iad={address}");
        let here = Process::start("syd", &[("HOMING_REPLICA_URL", &replica), ("HOMING_PEERS", &peers)]).figures();
        let there = Process::start("syd", &[("HOMING_PEERS", &peers)]).figures();
        sender.stdin.take();
        let sender = sender.figures();
        [("reader, here", here), ("reader, forwarded", there), ("sender, forwarded", sender)]
    });
    for (name, (idle, peak)) in measuring.await.unwrap() {
        println!("{name}: idle {idle} kB, at most {peak} kB, {} kB more", peak.saturating_sub(idle));
        assert!(peak < idle + MOST_KB, "{name}: {idle} kB when idle, {peak} kB while {ROWS} rows were streamed");
    }
}

/// One of the processes. It reports on its output, and ends when its input ends.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(region: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "calls::memory::process", "--ignored", "--nocapture"])
            .envs([("HOMING_REGION", region), ("HOMING_PRIMARY_REGION", "iad")])
            .envs([("HOMING_SECRET", SECRET), ("HOMING_LISTEN", "127.0.0.1:0"), (MARK, "1")])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    /// Returns the rest of the output line that starts with the word.
    fn says(&mut self, word: &str) -> String {
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

    /// Its memory in kB: when idle, and at most.
    fn figures(mut self) -> (u64, u64) {
        let figures = self.says("memory");
        let (idle, peak) = figures.split_once(' ').unwrap();
        self.stdin.take();
        assert!(self.child.wait().unwrap().success());
        (idle.parse().unwrap(), peak.parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself when its input has ended, unless it hangs.
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
        let node = Node::from_env().unwrap().start().await.unwrap();
        let repo = node.repo().with_call_timeout(PATIENCE);
        // The connections are open, and the code is in memory.
        repo.query("select 1", &[]).await.unwrap();
        repo.stream("select 1", &[]).await.unwrap().next().await.unwrap().unwrap();
        let idle = memory("VmRSS");
        // The peak counts from here.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        if repo.region() == repo.primary_region() {
            println!("listening: {}", node.local_addr().unwrap());
            tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
        } else {
            let (repo, reports) = recorded(&repo);
            let mut rows = repo.stream(SQL, &[]).await.unwrap();
            let mut count = 0;
            while let Some(row) = rows.next().await {
                count += 1;
                assert_eq!(i64::from(row.unwrap().get::<_, i32>(0)), count);
            }
            assert_eq!(count, ROWS);
            assert_eq!(reports.last().answered_by == AnsweredBy::Local, node.repo().database().is_some());
        }
        println!("memory: {idle} {}", memory("VmHWM"));
    });
}

/// A figure of this process, in kB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().unwrap()
}
