//! Failovers by Patroni, under load. They run if `HOMING_TEST_PATRONI` is `1`, since they need Patroni and etcd.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use homing::{Node, Repo};
use homing_testbed::{Cut, Patroni, PatroniMember, PatroniOptions, wait_until};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::fixture::{NewUser, PATIENCE, User, config, in_iad, start};

/// Three servers, two nodes in `iad` that know them all, and one in `syd` that reads from one of them.
struct Fleet {
    cluster: Patroni,
    iad: Vec<Node>,
    syd: Node,
}

impl Fleet {
    /// `None`, with a message, if the tests with Patroni are not asked for.
    async fn start(options: PatroniOptions) -> Option<Self> {
        if std::env::var("HOMING_TEST_PATRONI").as_deref() != Ok("1") {
            eprintln!("skipped: HOMING_TEST_PATRONI=1 runs the tests with Patroni");
            return None;
        }
        let cluster = options.start().await.unwrap();
        let leader = cluster.leader().await.unwrap();
        let table = "create table users (id bigserial primary key, name text not null unique, age int)";
        leader.connect("postgres").await.unwrap().batch_execute(table).await.unwrap();
        let mut iad = Vec::new();
        for _ in 0..2 {
            let mut config = config("iad");
            config.database_url = Some(cluster.url("postgres"));
            config.listen = Some(([127, 0, 0, 1], 0).into());
            iad.push(start(config).await.unwrap());
        }
        let mut config = config("syd");
        config.replica_url = Some(format!("{}?target_session_attrs=prefer-standby", cluster.url("postgres")));
        config.discover = Arc::new(in_iad(iad.iter().map(|node| node.local_addr().unwrap())));
        let syd = start(config).await.unwrap();
        Some(Self { cluster, iad, syd })
    }

    async fn leader(&self) -> &PatroniMember {
        self.cluster.leader().await.unwrap()
    }

    /// Waits until a member other than this one is the leader.
    async fn leader_after(&self, former: &PatroniMember) -> &PatroniMember {
        let is_other = async || self.leader().await.name() != former.name();
        wait_until("another member is the leader", is_other).await;
        self.leader().await
    }

    /// The names that are stored on the leader.
    async fn stored(&self) -> HashSet<String> {
        let client = self.leader().await.connect("postgres").await.unwrap();
        let rows = client.query("select name from users", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Callers on all nodes, each of which writes and reads what it wrote.
struct Writers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    written: Arc<Mutex<Vec<Written>>>,
    callers: usize,
}

/// How a write ended.
struct Written {
    caller: usize,
    name: String,
    began: Instant,
    fate: Fate,
}

#[derive(Debug, PartialEq)]
enum Fate {
    Committed,
    NotCommitted,
    Unknown,
}

impl Writers {
    fn start(fleet: &Fleet) -> Self {
        let (mut tasks, stop, written) = (JoinSet::new(), watch::Sender::new(false), Arc::default());
        let nodes = fleet.iad.iter().chain([&fleet.syd; 3]);
        let callers = nodes.clone().count();
        for (caller, node) in nodes.enumerate() {
            tasks.spawn(write(caller, node.repo(), stop.subscribe(), Arc::clone(&written)));
        }
        Self { tasks, stop, written, callers }
    }

    /// Waits until each caller has written something with a call that began after this. Returns when the last one had.
    async fn all_write(&self) {
        let since = Instant::now();
        let all_write = async || {
            let written = self.written.lock().unwrap();
            let recent = written.iter().filter(|write| write.began >= since && write.fate == Fate::Committed);
            recent.map(|write| write.caller).collect::<HashSet<_>>().len() == self.callers
        };
        wait_until("all callers write again", all_write).await;
    }

    /// Ends the callers, and returns what they wrote.
    async fn end(mut self) -> Vec<Written> {
        self.stop.send_replace(true);
        while let Some(ended) = timeout(PATIENCE, self.tasks.join_next()).await.expect("a caller hangs") {
            ended.unwrap();
        }
        std::mem::take(&mut *self.written.lock().unwrap())
    }
}

async fn write(caller: usize, repo: Repo, stopped: watch::Receiver<bool>, written: Arc<Mutex<Vec<Written>>>) {
    for number in 0.. {
        if *stopped.borrow() {
            return;
        }
        let (name, began) = (format!("{caller} {number}"), Instant::now());
        let outcome = timeout(PATIENCE, repo.insert(&NewUser::named(&name))).await.expect("a write hangs");
        let fate = match &outcome {
            Ok(_) => Fate::Committed,
            Err(error) if error.is_committed() => Fate::Committed,
            Err(error) if error.is_not_sent() || error.is_rejected() => Fate::NotCommitted,
            Err(error) => {
                assert!(error.is_outcome_unknown(), "{error:?}");
                Fate::Unknown
            }
        };
        if let Ok(user) = outcome {
            // A failover may make the read fail. It must not make it miss the write.
            if let Ok(read) = repo.get::<User>(user.id).await {
                assert_eq!(read, Some(user), "{caller} does not see its write");
            }
        }
        written.lock().unwrap().push(Written { caller, name, began, fate });
    }
}

/// Asserts that everything acknowledged is stored, and nothing that is said not to be.
async fn assert_fates(fleet: &Fleet, written: Vec<Written>) {
    let stored = fleet.stored().await;
    let mut unknown = 0;
    for Written { name, fate, .. } in &written {
        match fate {
            Fate::Committed => assert!(stored.contains(name), "{name} is lost"),
            Fate::NotCommitted => assert!(!stored.contains(name), "{name} is stored"),
            Fate::Unknown => unknown += 1,
        }
    }
    eprintln!("{} writes, {unknown} of unknown outcome", written.len());
}

/// Prints how long after `since` all callers wrote again.
async fn report_recovery(writers: &Writers, what: &str) {
    let since = Instant::now();
    writers.all_write().await;
    eprintln!("{what}: all callers write again {:?} after the promotion", since.elapsed());
}

#[tokio::test]
async fn switchovers_lose_nothing() {
    let Some(fleet) = Fleet::start(Patroni::options()).await else { return };
    let writers = Writers::start(&fleet);
    writers.all_write().await;
    for _ in 0..2 {
        let former = fleet.leader().await;
        let candidate = fleet.cluster.members().iter().find(|member| member.name() != former.name()).unwrap();
        fleet.cluster.switch_over_to(candidate).await.unwrap();
        fleet.leader_after(former).await;
        report_recovery(&writers, "switchover").await;
        fleet.cluster.settled().await.unwrap();
    }
    assert_fates(&fleet, writers.end().await).await;
}

/// Breaks the leader and mends it, under load. A commit waits for the member that takes over, so nothing may be lost.
async fn assert_failover_loses_nothing(
    what: &str,
    breaks: impl AsyncFn(&PatroniMember),
    mends: impl AsyncFn(&PatroniMember),
) {
    let Some(fleet) = Fleet::start(Patroni::options().with_synchronous_mode()).await else { return };
    let writers = Writers::start(&fleet);
    writers.all_write().await;
    let former = fleet.leader().await;
    breaks(former).await;
    fleet.leader_after(former).await;
    report_recovery(&writers, what).await;
    mends(former).await;
    fleet.cluster.settled().await.unwrap();
    writers.all_write().await;
    assert_fates(&fleet, writers.end().await).await;
}

#[tokio::test]
async fn killed_leader_loses_nothing_in_synchronous_mode() {
    let kill = async |leader: &PatroniMember| leader.kill().await.unwrap();
    let start = async |former: &PatroniMember| former.start_again().await.unwrap();
    assert_failover_loses_nothing("killed leader", kill, start).await;
}

#[tokio::test]
async fn leader_without_etcd_loses_nothing_in_synchronous_mode() {
    let cut = async |leader: &PatroniMember| leader.etcd_link().cut(Cut::Blackhole).await;
    let heal = async |former: &PatroniMember| former.etcd_link().heal().await.unwrap();
    assert_failover_loses_nothing("leader without etcd", cut, heal).await;
}
