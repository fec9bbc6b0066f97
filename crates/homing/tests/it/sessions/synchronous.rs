//! Synchronous replication: a commit whose wait was cancelled is not replicated, and says so.

use std::time::Duration;

use homing::{Batch, Context, Error, Node, Repo};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, in_iad, wait_until_true};

#[homing::remote(transactional)]
async fn store(context: Context, name: String) -> homing::Result<()> {
    context.repo().insert(&NewUser::named(&name)).await.map(drop)
}

fn assert_not_replicated<T: std::fmt::Debug>(written: Result<T, Error>) -> Error {
    let error = written.unwrap_err();
    assert!(error.is_committed() && error.is_not_replicated(), "{error:?}");
    error
}

#[tokio::test]
async fn unreplicated_commit_is_never_ok() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let _canceller = Canceller::start(&servers, &world.database).await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let new = |name: &str| NewUser::named(&format!("{name} {region}"));
        servers.primary.reconfigure(&[("synchronous_standby_names", "nobody")]).await.unwrap();
        let mut error = assert_not_replicated(repo.insert(&new("Ada")).await);
        let ada: User = error.take_value().unwrap();
        assert_not_replicated(repo.execute("update users set age = 7 where id = $1", &[&ada.id]).await);
        assert_not_replicated(repo.batch_execute("update users set age = 8").await);
        assert_not_replicated(repo.update(&User { age: Some(9), ..ada }).await);
        let within = |tx: Repo| async move { tx.insert(&new("Grace")).await };
        let mut error = assert_not_replicated(repo.transaction(within).await);
        assert!(error.take_value::<User>().is_some());
        // What writes nothing has nothing to wait for.
        assert!(repo.delete(&User { id: -1, name: "Nobody".into(), age: None }).await.unwrap_err().is_rejected());

        servers.primary.reconfigure(&[("synchronous_standby_names", "")]).await.unwrap();
        assert_eq!(repo.execute("delete from users", &[]).await.unwrap(), 2, "{region}");
        repo.transaction(|tx| async move { tx.execute("update users set age = 1", &[]).await }).await.unwrap();
    }
}

#[tokio::test]
async fn no_way_of_writing_hides_it() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    world.primary.batch_execute(LOG).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    let iad = Node::with_config(servers.primary_config(&world.database)).register(store).start().await.unwrap();
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    servers.primary.reconfigure(&[("synchronous_standby_names", "nobody")]).await.unwrap();
    let _canceller = Canceller::start(&servers, &world.database).await;
    for (region, node) in [("iad", &iad), ("syd", &syd)] {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let new = |name: &str| NewUser::named(&format!("{name} {region}"));
        assert_not_replicated(store::call(&repo, format!("function {region}")).await);
        let mut batch = Batch::new();
        batch.insert("user", new("batch")).unwrap();
        assert_not_replicated(repo.batch(&batch).await);
        assert_not_replicated(repo.with_schema("public").unwrap().insert(&new("schema")).await);
        let mut copy = repo.copy_in("copy users (name) from stdin").await.unwrap();
        copy.send(format!("copy {region}\n").into_bytes()).await.unwrap();
        assert_not_replicated(copy.finish().await);
        assert_not_replicated(repo.query("select log_it('raw')", &[]).await);
        assert_not_replicated(repo.exists::<User>("where log_it('entity')", &[]).await);
        assert_eq!(logged(&world).await, 2, "{region}");
    }
}

/// The primary ends the wait in time for the answer to arrive.
#[tokio::test]
async fn time_limit_ends_the_wait() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    servers.primary.reconfigure(&[("synchronous_standby_names", "nobody")]).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(Duration::from_secs(4));
        assert_not_replicated(repo.insert(&NewUser::named(region)).await);
    }
}

/// The server ends the connection while the commit of a function waits for a replica.
#[tokio::test]
async fn read_that_writes_runs_once() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    world.primary.batch_execute(LOG).await.unwrap();
    world.syd.repo().insert(&NewUser::named("Ada")).await.unwrap();
    servers.primary.reconfigure(&[("synchronous_standby_names", "nobody")]).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let call = tokio::spawn(async move { repo.exists::<User>("where log_it('once')", &[]).await });
        wait_until_true(&world.primary, &format!("select count(*) = 1 from {WAITING}")).await;
        let end = format!("select pg_terminate_backend(pid) from {WAITING}");
        world.primary.execute(&end, &[]).await.unwrap();
        servers.primary.reconfigure(&[("synchronous_standby_names", "")]).await.unwrap();
        timeout(PATIENCE, call).await.expect("it runs again").unwrap().unwrap();
        servers.primary.reconfigure(&[("synchronous_standby_names", "nobody")]).await.unwrap();
        assert_eq!(logged(&world).await, 1, "{region}");
    }
}

/// Cancels each commit of a database that waits for a replica, which ends the wait and not the commit. Stops when it is
/// dropped.
struct Canceller(JoinHandle<()>);

impl Canceller {
    async fn start(servers: &Servers, database: &str) -> Self {
        let client = servers.primary.connect_to(database).await.unwrap();
        let cancel = format!("select pg_cancel_backend(pid) from {WAITING}");
        Self(tokio::spawn(async move {
            loop {
                client.batch_execute(&cancel).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        }))
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A function that stores a row, whatever the statement is that calls it.
const LOG: &str = "
    create table audit (word text);
    create function log_it(word text) returns bool language plpgsql as
        $$ begin insert into audit values (word); return true; end $$";

/// The sessions whose commit waits for a replica.
const WAITING: &str = "pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()";

/// Returns how many rows the function has stored since the last question.
async fn logged(world: &World) -> i64 {
    world.primary.batch_execute("set synchronous_commit = local").await.unwrap();
    let sql = "with gone as (delete from audit returning 1) select count(*) from gone";
    world.primary.query_one(sql, &[]).await.unwrap().get(0)
}
