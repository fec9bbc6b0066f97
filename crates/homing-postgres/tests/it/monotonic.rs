//! Reads of one session never go back, whichever server answers them and in whatever way.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use homing_postgres::{
    Choose, Consistency, Error, Isolation, Options, PositionKind, Replica, ReplicaList, ReplicaSettings, Replicas,
    Repo, TransactionOptions, Wait,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::poolers::proxy::Proxy;
use crate::servers::Servers;

/// What the steps of one session share.
struct World {
    session: Repo,
    servers: Servers,
    /// Whether each replica has paused its replay.
    paused: [Mutex<bool>; 2],
    /// The highest value that a call of the session has shown.
    shown: AtomicI64,
}

/// A way to see the value.
#[derive(Debug, Clone, Copy)]
enum Way {
    Replica(&'static str),
    Any(Choose),
    Global,
    Stream,
    Snapshot,
    SerializableSnapshot,
    Committed,
    RolledBack,
    Dropped,
    Write(Wait),
    RejectedWrite,
    Token,
}

const WAYS: [Way; 15] = [
    Way::Replica("syd"),
    Way::Replica("mel"),
    Way::Any(Choose::Random),
    Way::Any(Choose::LeastLag),
    Way::Any(Choose::Nearest),
    Way::Global,
    Way::Stream,
    Way::Snapshot,
    Way::SerializableSnapshot,
    Way::Committed,
    Way::RolledBack,
    Way::Dropped,
    Way::Write(Wait::AtNextRead),
    Way::RejectedWrite,
    Way::Token,
];

async fn read(repo: &Repo) -> homing_postgres::Result<i64> {
    Ok(repo.query_one("select value from counter", &[]).await?.get(0))
}

impl Way {
    /// Returns the value that it shows.
    async fn see(self, repo: &Repo) -> homing_postgres::Result<i64> {
        let snapshot = TransactionOptions::read_only();
        match self {
            Self::Replica(name) => read(&repo.replica(name)?).await,
            Self::Any(choose) => read(&repo.with_choose(choose)).await,
            Self::Global => read(&repo.with_consistency(Consistency::Global)).await,
            Self::Stream => {
                let repo = repo.with_choose(Choose::Random);
                let mut rows = repo.stream("select value from counter", &[]).await?;
                Ok(rows.next().await.expect("there is a row")?.get(0))
            }
            Self::Snapshot => {
                let repo = repo.with_choose(Choose::Random);
                repo.transaction_with(snapshot, |tx| async move { read(&tx).await }).await
            }
            Self::SerializableSnapshot => {
                let options = snapshot.with_isolation(Isolation::Serializable);
                repo.transaction_with(options, |tx| async move { read(&tx).await }).await
            }
            Self::Committed => repo.transaction(|tx| async move { read(&tx).await }).await,
            Self::RolledBack => {
                let shown = Arc::new(AtomicI64::new(0));
                let sink = Arc::clone(&shown);
                let rolled_back = repo.transaction(|tx| async move {
                    sink.store(read(&tx).await?, Ordering::SeqCst);
                    Err::<(), _>(Error::failed("as the application wants"))
                });
                assert!(rolled_back.await.is_err_and(|error| error.is_function_failed()));
                Ok(shown.load(Ordering::SeqCst))
            }
            Self::Dropped => {
                let (sender, mut shown) = tokio::sync::oneshot::channel();
                let hanging = repo.transaction(|tx| async move {
                    let _ = sender.send(read(&tx).await);
                    std::future::pending::<homing_postgres::Result<()>>().await
                });
                tokio::select! {
                    ended = hanging => ended.map(|()| unreachable!("it hangs")),
                    value = &mut shown => value.expect("it was sent"),
                }
            }
            Self::Write(wait) => {
                let sql = "update counter set value = value + 1 returning value";
                Ok(repo.with_wait(wait).query_one(sql, &[]).await?.get(0))
            }
            Self::RejectedWrite => {
                // The message of the error holds the value.
                let sql = "insert into checked select ('value ' || value)::int from counter";
                let error = repo.execute(sql, &[]).await.expect_err("no text is a number");
                let message = error.db().expect("PostgreSQL rejects it").message().to_owned();
                let digits: String = message.chars().filter(char::is_ascii_digit).collect();
                Ok(digits.parse().expect("the message holds the value"))
            }
            Self::Token => {
                let token = repo.token().await?;
                read(&repo.session().with_choose(Choose::Random).with_token(token)?).await
            }
        }
    }
}

impl World {
    /// One step: perhaps somebody else writes, perhaps a replica stops or goes on with its replay, and then the session
    /// sees the value in some way.
    async fn step(&self, other: &Client, rng: &mut SmallRng) {
        if rng.random_bool(0.5) {
            let commit = if rng.random_bool(0.5) { "off" } else { "on" };
            let write = format!("set synchronous_commit = {commit}; update counter set value = value + 1");
            other.batch_execute(&write).await.unwrap();
        }
        if rng.random_bool(0.05) {
            let index = rng.random_range(0..2);
            let replica = &self.servers.replicas[index];
            let mut is_paused = self.paused[index].lock().await;
            if *is_paused {
                replica.resume_replay().await.unwrap();
            } else {
                replica.pause_replay().await.unwrap();
            }
            *is_paused = !*is_paused;
        }
        let way = WAYS[rng.random_range(0..WAYS.len())];
        let before = self.shown.load(Ordering::SeqCst);
        let value = way.see(&self.session).await.unwrap_or_else(|error| panic!("{way:?}: {error:?}"));
        assert!(value >= before, "{way:?} shows {value} after {before}");
        // The session of a token is another one: it may see more than this one does later.
        if !matches!(way, Way::Token) {
            self.shown.fetch_max(value, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_a_session_never_go_back() {
    let servers = Servers::start().await;
    let session = servers.repo_as("postgres").await;
    steps_never_go_back(servers, session).await;
}

/// One of the replicas is behind a balancer that leads to both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_through_a_balancer_never_go_back() {
    let servers = Servers::start_by(Some(PositionKind::Transaction)).await;
    let [syd, mel] = &servers.replicas;
    let Some(proxy) = Proxy::haproxy(&[syd, mel]).await else { return };
    let named = |url: String, name| Replica::new(url).unwrap().with_name(name);
    let list = ReplicaList::new([named(proxy.url(), "syd"), named(mel.url(), "mel")]).unwrap();
    let settings = ReplicaSettings::default().with_positions(PositionKind::Transaction);
    let replicas = Replicas::start(None, &list, settings).await.unwrap();
    let session = Repo::new(servers.rpc.clone(), replicas, Options::default());
    steps_never_go_back(servers, session).await;
}

async fn steps_never_go_back(servers: Servers, session: Repo) {
    let steps = std::env::var("HOMING_READ_STEPS").map_or(STEPS, |steps| steps.parse().expect("a number"));
    let client = servers.primary.connect().await.unwrap();
    let tables =
        "create table counter (value bigint); insert into counter values (0); create table checked (number int)";
    client.batch_execute(tables).await.unwrap();
    for replica in &servers.replicas {
        replica.caught_up_with(&servers.primary).await.unwrap();
    }
    let session = session.with_replay_timeout(Duration::from_millis(10));
    let seed: u32 = rand::random();
    eprintln!("seed {seed}");
    let world = Arc::new(World { session, servers, paused: Default::default(), shown: AtomicI64::new(0) });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (world, other) = (Arc::clone(&world), world.servers.primary.connect().await.unwrap());
        tasks.spawn(async move {
            let mut rng = SmallRng::seed_from_u64(u64::from(seed) + task);
            for _ in 0..steps / TASKS {
                world.step(&other, &mut rng).await;
            }
        });
    }
    tasks.join_all().await;
}

/// The process of a replica that replays the log, stopped until this is dropped.
struct StoppedReplay {
    pid: String,
}

impl StoppedReplay {
    fn stop(pid: &str) -> Self {
        signal("-STOP", pid);
        Self { pid: pid.to_owned() }
    }
}

impl Drop for StoppedReplay {
    fn drop(&mut self) {
        signal("-CONT", &self.pid);
    }
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

/// A replica shows a commit before it counts its record as replayed. In between, it deletes the files of dropped tables.
#[tokio::test]
async fn commit_counts_as_soon_as_it_shows() {
    let servers = Servers::start().await;
    let client = servers.primary.connect().await.unwrap();
    client.batch_execute("create table counter (value bigint); insert into counter values (0)").await.unwrap();
    let other = servers.primary.connect().await.unwrap();
    let syd = servers.replicas[0].connect().await.unwrap();
    let startup = "select pid::text from pg_stat_activity where backend_type = 'startup'";
    let pid: String = syd.query_one(startup, &[]).await.unwrap().get(0);
    for round in 1..=MAX_ROUNDS {
        let create =
            format!("do $$ begin for n in 1..{TABLES} loop execute 'create table t' || n || '()'; end loop; end $$");
        client.batch_execute(&create).await.unwrap();
        let dropping = create.replace("create table", "drop table").replace("'()'", "''");
        let [seen, behind] = servers.handles().await;
        client.batch_execute(&format!("begin; {dropping}; update counter set value = {round}")).await.unwrap();
        // Another commit flushes all but the commit of this transaction.
        other.batch_execute("insert into notes values ('flushed')").await.unwrap();
        for replica in &servers.replicas {
            replica.caught_up_with(&servers.primary).await.unwrap();
        }
        servers.replicas[1].pause_replay().await.unwrap();
        client.batch_execute("commit").await.unwrap();
        while read(&seen).await.unwrap() < round {}
        let stopped = StoppedReplay::stop(&pid);
        let is_within = "select pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn()";
        if syd.query_one(is_within, &[]).await.unwrap().get(0) {
            assert_eq!(read(&behind).await.unwrap(), round, "the session has seen it");
            return;
        }
        drop(stopped);
        servers.replicas[1].resume_replay().await.unwrap();
    }
}

/// So many that deleting their files takes longer than a read.
const TABLES: u32 = 2000;

/// If the record is replayed before the process is stopped, another round begins. Every second or third round is in time.
const MAX_ROUNDS: i64 = 20;

/// Ten thousand take about a minute: set `HOMING_READ_STEPS` for them.
const STEPS: u64 = 1000;

/// The tasks that share the session.
const TASKS: u64 = 4;
