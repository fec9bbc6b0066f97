//! Writes are applied once, however often the network or a node fails under them.

mod carried;
mod keys;
mod late;
mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;

use homing::outcome::Outcome;
use homing::transaction::TransactionOptions;
use homing::{Batch, Context, Delivery, Error, Fate, Node, Repo};
use homing_testbed::{Cut, Relay};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, in_iad, recorded, wait_until_running, wait_until_true};

/// Holds up each insert of a user as long as somebody has the lock 7.
const GUARDED: &str = "
    create function guard() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock_shared(7); return new; end $$;
    create trigger guard before insert on users for each row execute function guard();";

/// A primary whose commits wait for a replica that does not exist, and a node in `syd` that reaches it through a relay. A wait
/// that is cancelled leaves the write committed.
struct Waiting {
    servers: Servers,
    world: World,
    syd: Node,
    relay: Relay,
}

/// How often `enrol` has run for each name.
static RUNS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Stores a user, and returns how often the function has run for the name.
#[homing::remote(transactional)]
async fn enrol(context: Context, name: String) -> homing::Result<u32> {
    let runs = {
        let mut runs = RUNS.lock().unwrap();
        let runs = runs.entry(name.clone()).or_default();
        *runs += 1;
        *runs
    };
    context.repo().insert(&NewUser::named(&name)).await?;
    Ok(runs)
}

impl Waiting {
    async fn start() -> Self {
        let servers = Servers::start(&[]).await;
        let world = servers.world().await;
        // The table of outcomes is there before the first commit that waits.
        world.iad.repo().execute("delete from users", &[]).await.unwrap();
        let iad = Node::with_config(servers.primary_config(&world.database)).register(enrol).start().await.unwrap();
        let relay = Relay::start(iad.local_addr().unwrap()).unwrap();
        let config = servers.replica_config(&world.database, in_iad([relay.address()]));
        let syd = Node::with_config(config).register(enrol).start().await.unwrap();
        let world = World { iad, ..world };
        Self { servers, world, syd, relay }
    }

    async fn set_standbys(&self, names: &str) {
        self.servers.primary.reconfigure(&[("synchronous_standby_names", names)]).await.unwrap();
    }

    /// Makes a call from `syd`, and loses its answer after its commit.
    async fn lose_answer<T: Send + 'static>(&self, call: impl FnOnce(Repo) -> JoinHandle<T>) -> T {
        self.set_standbys("nobody").await;
        let call = call(self.syd.repo().with_call_timeout(PATIENCE));
        let waiting = "select count(*) = 1 from pg_stat_activity where wait_event = 'SyncRep'";
        wait_until_true(&self.world.primary, waiting).await;
        self.relay.cut(Cut::Reset).await;
        // The node cancels the wait, since its caller is gone.
        wait_until_true(&self.world.primary, &waiting.replace('1', "0")).await;
        self.set_standbys("").await;
        self.relay.heal().await.unwrap();
        timeout(PATIENCE, call).await.expect("the call ends").unwrap()
    }
}

#[tokio::test]
async fn lost_answer_is_given_again() {
    let waiting = Waiting::start().await;
    let inserted = waiting.lose_answer(|repo| {
        tokio::spawn(async move {
            let user: User = repo.insert(&NewUser::named("Ada")).await?;
            assert_eq!(repo.get::<User>(user.id).await?.as_ref(), Some(&user), "it reads its write");
            Ok::<_, Error>(user)
        })
    });
    let user = inserted.await.unwrap();
    assert_eq!((user.name.as_str(), waiting.world.users_on_primary().await), ("Ada", 1));

    let changed = waiting
        .lose_answer(|repo| tokio::spawn(async move { repo.execute("update users set age = age + 1", &[]).await }));
    assert_eq!(changed.await.unwrap(), 1);

    let batched = waiting.lose_answer(|repo| {
        tokio::spawn(async move {
            let mut batch = Batch::new();
            let grace = batch.insert("Grace", NewUser::named("Grace"))?;
            let mut results = repo.batch(&batch).await?;
            Ok::<_, Error>(results.take(&grace))
        })
    });
    assert_eq!(batched.await.unwrap().name, "Grace");

    let called = waiting.lose_answer(|repo| tokio::spawn(async move { enrol::call(&repo, "Edsger".into()).await }));
    assert_eq!(called.await.unwrap(), 1, "it returns what the first attempt returned");

    let transacted = waiting.lose_answer(|repo| {
        tokio::spawn(async move {
            let body = |tx: Repo| async move { tx.insert(&NewUser::named("Barbara")).await };
            repo.transaction(body).await
        })
    });
    assert_eq!(transacted.await.unwrap().name, "Barbara");
    let rows = waiting.world.primary.query("select name from users order by id", &[]).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["Ada", "Grace", "Edsger", "Barbara"]);
    assert_eq!(waiting.world.iad.repo().get::<User>(user.id).await.unwrap().unwrap().age, Some(37));
}

#[tokio::test]
async fn at_most_once_leaves_outcome_unknown() {
    let waiting = Waiting::start().await;
    let inserted = waiting.lose_answer(|repo| {
        let repo = repo.with_delivery(Delivery::AtMostOnce);
        tokio::spawn(async move { repo.insert(&NewUser::named("Ada")).await })
    });
    let error = inserted.await.unwrap_err();
    assert!(error.is_outcome_unknown() && error.idempotency_key().is_none(), "{error:?}");
    assert_eq!(waiting.world.users_on_primary().await, 1);
}

/// The server ends the connection over the commit.
#[tokio::test]
async fn local_commit_is_settled() {
    let waiting = Waiting::start().await;
    for (node, count) in [(&waiting.world.iad, 1), (&waiting.syd, 2)] {
        waiting.set_standbys("nobody").await;
        let repo = node.repo().with_call_timeout(PATIENCE);
        let call = tokio::spawn(async move { repo.insert(&NewUser::named(&format!("user {count}"))).await });
        let in_commit = "from pg_stat_activity where wait_event = 'SyncRep'";
        wait_until_true(&waiting.world.primary, &format!("select count(*) = 1 {in_commit}")).await;
        waiting.set_standbys("").await;
        let end = format!("select count(pg_terminate_backend(pid)) {in_commit}");
        waiting.world.primary.execute(&end, &[]).await.unwrap();
        let user = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
        assert_eq!(user.name, format!("user {count}"));
        assert_eq!(waiting.world.users_on_primary().await, count);
    }
}

#[tokio::test]
async fn interrupted_write_runs_elsewhere() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    world.primary.batch_execute(GUARDED).await.unwrap();
    let second = servers.primary_node(&world.database).await;
    let relays = [&world.iad, &second].map(|node| Relay::start(node.local_addr().unwrap()).unwrap());
    let syd = servers.replica_node(&world.database, in_iad(relays.each_ref().map(Relay::address))).await;
    world.primary.batch_execute("select pg_advisory_lock(7)").await.unwrap();
    let (repo, reports) = recorded(&syd.repo().with_call_timeout(PATIENCE));
    let call = tokio::spawn(async move { repo.insert(&NewUser::named("Ada")).await });
    wait_until_running(&world.primary, "%insert into%users%", 1).await;
    // One of them has the request.
    for relay in &relays {
        relay.drop_connections().await;
    }
    wait_until_running(&world.primary, "%insert into%users%", 1).await;
    world.primary.batch_execute("select pg_advisory_unlock(7)").await.unwrap();
    timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    assert_eq!(world.users_on_primary().await, 1);
    assert!(reports.last().attempts > 1 || reports.last().stages.route > std::time::Duration::ZERO);
}

/// A node that is frozen with an open transaction wakes up when its write was applied by another one.
#[tokio::test]
async fn late_original_is_fenced_off() {
    let world = World::shared().await;
    let (waiting, go) = tokio::sync::oneshot::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let repo = world.syd.repo().with_key("order 17").with_call_timeout(PATIENCE);
    let original = tokio::spawn({
        let repo = repo.clone();
        async move {
            let body = |tx: Repo| async move {
                tx.execute("insert into users (name) values ('late')", &[]).await?;
                begun.send(()).unwrap();
                go.await.map_err(|_| Error::failed("dropped"))
            };
            repo.transaction(body).await
        }
    });
    has_begun.await.unwrap();
    assert_eq!(world.iad.repo().outcome("order 17").await.unwrap(), Outcome::NotCommitted);
    waiting.send(()).unwrap();
    let error = original.await.unwrap().unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("outcome of its key"), "{error:?}");
    assert_eq!(world.users_on_primary().await, 0);

    repo.transaction(|tx| async move { tx.insert(&NewUser::named("again")).await }).await.unwrap();
    assert_eq!(world.syd.repo().outcome("order 17").await.unwrap(), Outcome::Committed);
    assert_eq!(world.users_on_primary().await, 1);
}

/// What a repeated attempt is told has to stay true: an earlier one may still be under way.
#[tokio::test]
async fn refused_repetition_settles_its_key() {
    let world = World::shared().await;
    let repo = world.syd.repo().with_key("order 18");
    let sql = "insert into users (name, age) values ('Ada', $1)";
    let refused = repo.execute(sql, &[&-1]).await.unwrap_err();
    assert_eq!(refused.fate(), Fate::Rejected);
    let fences = "select fence = 1 from homing.outcome where slot = 0";
    assert!(world.primary.query_one(fences, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(repo.outcome("order 18").await.unwrap(), Outcome::NotCommitted);
    world.primary.batch_execute("alter table users drop constraint users_age_check").await.unwrap();
    assert_eq!(repo.execute(sql, &[&-1]).await.unwrap(), 1);
    assert_eq!(repo.execute(sql, &[&-1]).await.unwrap(), 1);
    assert_eq!(world.users_on_primary().await, 1);
}

#[tokio::test]
async fn repeated_transaction_is_committed_before() {
    let world = World::shared().await;
    let body = |tx: Repo| async move { tx.insert(&NewUser::named("Ada")).await };
    for node in [&world.syd, &world.iad] {
        let repo = node.repo().with_key("order 19");
        match repo.transaction_with(TransactionOptions::default(), body).await {
            Ok(user) => assert_eq!(user.name, "Ada"),
            Err(error) => assert!(error.is_committed() && !error.is_rejected(), "{error:?}"),
        }
    }
    assert_eq!(world.users_on_primary().await, 1);
}
