//! A replica may show a commit before the primary does: reads of a session do not go back then.

use std::time::Duration;

use homing_postgres::{
    Config, Consistency, Error, Isolation, Replica, ReplicaList, ReplicaSettings, Replicas, Repo, Result, Role,
    TransactionOptions,
};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::servers::{Servers, options, positions};

/// A way to see the value on the primary.
#[derive(Debug, Clone, Copy)]
enum Way {
    Global,
    Volatile,
    Stream,
    Copy,
    Transaction,
    RepeatableRead,
    RejectedWrite,
    WriteOfNothing,
    Lagging,
}

const WAYS: [Way; 9] = [
    Way::Global,
    Way::Volatile,
    Way::Stream,
    Way::Copy,
    Way::Transaction,
    Way::RepeatableRead,
    Way::RejectedWrite,
    Way::WriteOfNothing,
    Way::Lagging,
];

async fn read(repo: &Repo) -> Result<i64> {
    Ok(repo.query_one("select value from counter", &[]).await?.get(0))
}

impl Way {
    async fn see(self, repo: &Repo) -> Result<i64> {
        let global = repo.with_consistency(Consistency::Global);
        match self {
            Self::Global => read(&global).await,
            Self::Volatile => Ok(repo.query_one("select shown()", &[]).await?.get(0)),
            Self::Stream => {
                let mut rows = global.stream("select value from counter", &[]).await?;
                Ok(rows.next().await.expect("there is a row")?.get(0))
            }
            Self::Copy => {
                let mut data = global.copy_out("copy (select value from counter) to stdout").await?;
                let line = data.next().await.expect("there is a row")?;
                Ok(String::from_utf8_lossy(&line).trim().parse().expect("the value"))
            }
            Self::Transaction => repo.transaction(|tx| async move { read(&tx).await }).await,
            Self::RepeatableRead => {
                let options = TransactionOptions::default().with_isolation(Isolation::RepeatableRead);
                repo.transaction_with(options, |tx| async move { read(&tx).await }).await
            }
            Self::RejectedWrite => {
                let sql = "insert into checked select ('value ' || value)::int from counter";
                let error = repo.execute(sql, &[]).await.expect_err("no text is a number");
                let Some(rejected) = error.db() else { return Err(error) };
                let digits: String = rejected.message().chars().filter(char::is_ascii_digit).collect();
                Ok(digits.parse().expect("the message holds the value"))
            }
            Self::WriteOfNothing => {
                // It writes nothing if it sees an old value.
                let sql = "insert into checked select 1 from counter where value >= $1 returning number";
                let seen = read(&repo.replica("syd")?).await?;
                Ok(if repo.query(sql, &[&seen]).await?.is_empty() { seen - 1 } else { seen })
            }
            Self::Lagging => read(&repo.replica("mel")?).await,
        }
    }
}

/// A session of a node with a replica that shows all, and another one that lags.
struct World {
    servers: Servers,
    session: Repo,
    client: Client,
}

impl World {
    async fn start(is_primary_local: bool) -> Self {
        let servers = Servers::start().await;
        let client = servers.primary.connect().await.unwrap();
        client.batch_execute(TABLES).await.unwrap();
        for replica in &servers.replicas {
            replica.caught_up_with(&servers.primary).await.unwrap();
        }
        servers.replicas[1].pause_replay().await.unwrap();
        let session = match is_primary_local {
            true => next_to_the_primary(&servers).await,
            false => servers.repo_as("postgres").await,
        };
        let world = Self { servers, session, client };
        world.hold_commits("nobody").await;
        world
    }

    /// Commits wait for this synchronous standby.
    async fn hold_commits(&self, standby: &str) {
        self.servers.primary.reconfigure(&[("synchronous_standby_names", standby)]).await.unwrap();
    }

    /// Runs a transaction whose commit is held, and returns when the session has seen it on a replica.
    async fn commit(&self, transaction: &str, value: i64) -> JoinHandle<()> {
        let (client, transaction) = (self.servers.primary.connect().await.unwrap(), transaction.to_owned());
        let committing = tokio::spawn(async move { client.batch_execute(&transaction).await.unwrap() });
        let replica = self.session.replica("syd").unwrap();
        while read(&replica).await.unwrap() < value {}
        committing
    }
}

async fn next_to_the_primary(servers: &Servers) -> Repo {
    let config = Config::new(servers.primary.url(), Role::Primary).with_positions(positions());
    let named = |index: usize, name| Replica::new(servers.replicas[index].url()).unwrap().with_name(name);
    let list = ReplicaList::new([named(0, "syd"), named(1, "mel")]).unwrap();
    let settings = ReplicaSettings::default().with_positions(positions());
    let replicas = Replicas::start(Some(config), &list, settings).await.unwrap();
    Repo::new(servers.rpc.clone(), replicas, options())
}

/// Returns whether a call ended without showing anything. On a busy machine its short limit may pass at any place.
fn shows_nothing(error: &Error) -> bool {
    error.db().is_none() && !error.is_committed()
}

async fn no_way_shows_an_older_state(is_primary_local: bool) {
    let world = World::start(is_primary_local).await;
    for (round, way) in (1..).zip(WAYS) {
        let committing =
            world.commit("begin; savepoint a; update counter set value = value + 1; release a; commit", round);
        let committing = committing.await;
        let hasty = world.session.with_call_timeout(Duration::from_millis(300));
        match way.see(&hasty).await {
            Ok(value) => assert_eq!(value, round, "{way:?}"),
            Err(error) => assert!(shows_nothing(&error), "{way:?}: {error:?}"),
        }
        world.hold_commits("").await;
        committing.await.unwrap();
        assert_eq!(way.see(&world.session).await.unwrap(), round, "{way:?}");
        world.hold_commits("nobody").await;
    }
}

#[tokio::test]
async fn forwarded_read_is_not_older() {
    no_way_shows_an_older_state(false).await;
}

#[tokio::test]
async fn local_read_is_not_older() {
    no_way_shows_an_older_state(true).await;
}

/// What another node has read from its replica counts too.
#[tokio::test]
async fn token_takes_it_along() {
    let world = World::start(false).await;
    let committing = world.commit("update counter set value = value + 1", 1).await;
    let token = world.session.token().await.unwrap();
    let elsewhere = world.servers.repo_as("postgres").await.session().with_token(token).unwrap();
    let hasty = elsewhere.with_call_timeout(Duration::from_millis(300));
    let error = Way::Global.see(&hasty).await.expect_err("the commit is held");
    assert!(shows_nothing(&error), "{error:?}");
    world.hold_commits("").await;
    committing.await.unwrap();
    assert_eq!(Way::Global.see(&elsewhere).await.unwrap(), 1);
}

/// A read goes on while it waits for the primary, once the commit has ended there.
#[tokio::test]
async fn read_waits_for_the_commit() {
    let world = World::start(false).await;
    let committing = world.commit("update counter set value = value + 1", 1).await;
    let patient = world.session.with_call_timeout(Duration::from_secs(60));
    let reading = tokio::spawn(async move { Way::Global.see(&patient).await });
    world.hold_commits("").await;
    committing.await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), 1);
}

/// Transactions that are still running, and those that were rolled back, hold nothing up.
#[tokio::test]
async fn running_transactions_do_not_matter() {
    let world = World::start(false).await;
    world
        .client
        .batch_execute("begin; insert into checked values (1); savepoint a; insert into checked values (2)")
        .await
        .unwrap();
    let others = [world.servers.primary.connect().await.unwrap(), world.servers.primary.connect().await.unwrap()];
    for other in &others {
        other.batch_execute("begin; insert into checked values (3)").await.unwrap();
    }
    others[0].batch_execute("rollback").await.unwrap();
    world.hold_commits("").await;
    world.commit("update counter set value = value + 1", 1).await.await.unwrap();
    for way in WAYS {
        assert_eq!(way.see(&world.session).await.unwrap(), 1, "{way:?}");
        assert_eq!(read(&world.session.replica("syd").unwrap()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn write_ends_the_questions() {
    let world = World::start(false).await;
    world.hold_commits("").await;
    world.servers.primary.reconfigure(&[("log_statement", "all")]).await.unwrap();
    let log = world.servers.primary.log();
    read(&world.session.replica("syd").unwrap()).await.unwrap();
    let before = log.position().unwrap();
    for number in 0..3 {
        world.session.execute("insert into checked values ($1)", &[&number]).await.unwrap();
    }
    let asked = log.since(before).unwrap().matches("pg_snapshot_xip(taken) limit").count();
    assert_eq!(asked, 1, "the first write has shown that the primary is not behind");
}

const TABLES: &str = "
    create table counter (value bigint);
    insert into counter values (0);
    create table checked (number int);
    create function shown() returns bigint language plpgsql volatile as $$ begin return (select value from counter); end $$";
