//! Which server runs a statement: a replica may say yes, only the primary says no.

use homing::Node;
use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing_testbed::wait_until;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, recorded, wait_until_running, wait_until_true};

/// Functions that a replica runs without a complaint, and that do something else there than on the primary.
const FUNCTIONS: &str = "
    create table audit (word text);
    create function log_quietly(word text) returns void language plpgsql as
        $$ begin insert into audit values (word); exception when others then raise warning '%', sqlerrm; end $$;
    create procedure log_procedure(word text) language plpgsql as $$ begin perform log_quietly(word); end $$;
    create function \"Log It\"(word text) returns void language sql as 'select log_quietly(word)';
    create view logging as select log_quietly('view')::text as logged;
    create view logging_too as select logged from logging;
    create function is_free(key bigint) returns bool language sql as 'select pg_try_advisory_xact_lock(key)';
    create function add(a int, b int) returns int language sql stable as 'select a + b';
    create function double(a int) returns int language sql as 'select 2 * a'";

async fn world() -> World {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    world.primary.batch_execute(FUNCTIONS).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    world
}

/// A world whose database has this setting, and a node in Sydney that was started after it.
async fn world_with(setting: &str) -> (World, Node) {
    let (servers, world) = (Servers::shared().await, World::shared().await);
    world.primary.batch_execute(&format!("alter database {} set {setting}", world.database)).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    let syd = servers.replica_node(&world.database, world.peers()).await;
    (world, syd)
}

#[tokio::test]
async fn function_that_swallows_refusals_writes() {
    let world = world().await;
    let repo = world.syd.repo();
    repo.query("select log_quietly('query')", &[]).await.unwrap();
    repo.query("select \"Log It\"($1)", &[&"quoted"]).await.unwrap();
    repo.query("select logged from logging_too", &[]).await.unwrap();
    repo.execute("call log_procedure('call')", &[]).await.unwrap();
    repo.execute("do $$ begin perform log_quietly('do'); end $$", &[]).await.unwrap();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    repo.exists::<User>("where log_quietly('entity')::text is not null", &[]).await.unwrap();
    let words = repo.query("select distinct word from audit order by word", &[]).await.unwrap();
    let words: Vec<String> = words.iter().map(|row| row.get(0)).collect();
    assert_eq!(words, ["call", "do", "entity", "query", "quoted", "view"]);
}

#[tokio::test]
async fn function_that_locks_asks_the_primary() {
    let world = world().await;
    let is_free = async |node: &Node| {
        let row = node.repo().query_one("select is_free(7)", &[]).await.unwrap();
        row.get::<_, bool>(0)
    };
    assert!(is_free(&world.syd).await);
    world.primary.batch_execute("select pg_advisory_lock(7)").await.unwrap();
    assert!(!is_free(&world.syd).await);
    assert!(!is_free(&world.iad).await);
}

#[tokio::test]
async fn stable_function_stays_on_replica() {
    let world = world().await;
    let options = world.syd.repo().options().with_read_only_functions(&["double"]);
    let (repo, reports) = recorded(&world.syd.repo().with_options(options));
    for sql in ["select add(1, 2)", "select add(1, 2)", "select double(4) - 5"] {
        assert_eq!(repo.query_one(sql, &[]).await.unwrap().get::<_, i32>(0), 3);
        assert_eq!(reports.last().answered_by, AnsweredBy::Local, "{sql}");
    }
    assert_eq!(
        repo.session()
            .with_options(homing::Options::default())
            .query_one("select double(2)", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        4
    );
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
}

#[tokio::test]
async fn primary_answers_what_a_replica_refuses() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo());
    world
        .primary
        .batch_execute("create unlogged table scratch (id int); insert into scratch values (1)")
        .await
        .unwrap();
    world.primary.batch_execute("create type mood as enum ('calm'); create table moods (mood mood)").await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    assert_eq!(repo.query("select id from scratch", &[]).await.unwrap().len(), 1);
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));

    servers.replica.pause_replay().await.unwrap();
    world.primary.batch_execute("alter type mood add value 'glad'").await.unwrap();
    world.primary.batch_execute("insert into moods values ('glad')").await.unwrap();
    assert_eq!(repo.query("select 1 from moods where mood = 'glad'", &[]).await.unwrap().len(), 1);
    servers.replica.resume_replay().await.unwrap();

    let error = repo.query("select 1 / (id - id) from scratch", &[]).await.unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("the primary"), "{error}");
}

#[tokio::test]
async fn serializable_default_keeps_the_replica() {
    let (world, syd) = world_with("default_transaction_isolation = serializable").await;
    let (repo, reports) = recorded(&syd.repo());
    repo.query("select 1 from users", &[]).await.unwrap();
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    repo.execute("insert into users (name) values ('Ada')", &[]).await.unwrap();
    assert_eq!(repo.query("select 1 from users", &[]).await.unwrap().len(), 1);
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    assert_eq!(world.users_on_primary().await, 1);
}

#[tokio::test]
async fn time_limit_of_the_database_is_final() {
    let (_world, syd) = world_with("statement_timeout = '300ms'").await;
    let error = syd.repo().query("select pg_sleep(600)", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    assert!(error.to_string().contains("the local database"), "{error}");
}

#[tokio::test]
async fn dropped_reads_free_their_connections() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let sleep = "select pg_sleep(600)";
    let tenant = repo.with_schema("public").unwrap();
    let calls: Vec<_> = [&repo, &repo, &tenant, &tenant]
        .map(|repo| repo.clone())
        .map(|repo| tokio::spawn(async move { repo.query(sleep, &[]).await.map(drop) }))
        .into();
    wait_until_running(&world.replica, "select pg_sleep(600)%", 4).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    timeout(PATIENCE, repo.query("select 1", &[])).await.expect("a dropped read keeps its connection").unwrap();
    wait_until_running(&world.replica, "select pg_sleep(600)%", 0).await;
}

#[tokio::test]
async fn dropped_description_frees_its_connection() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let repo = world.syd.repo();
    // Replay holds the lock until the transaction ends.
    world.primary.batch_execute("begin; lock table users in access exclusive mode").await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    wait_until_true(&world.replica, "select count(*) > 0 from pg_locks where mode = 'AccessExclusiveLock'").await;
    let calls: Vec<_> = (0..4)
        .map(|number| {
            let repo = repo.clone();
            let sql = format!("update users set age = {number}");
            tokio::spawn(async move { repo.execute(&sql, &[]).await.map(drop) })
        })
        .collect();
    let waiting = "select count(*) = 4 from pg_stat_activity where wait_event_type = 'Lock'
                   and datname = current_database() and pid <> pg_backend_pid()";
    wait_until_true(&world.replica, waiting).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    timeout(PATIENCE, repo.query("select 1", &[])).await.expect("a dropped call keeps its connection").unwrap();
    world.primary.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn promoted_replica_runs_no_write_as_a_read() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let repo = world.syd.repo();
    repo.query("select 1 from users", &[]).await.unwrap();
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();
    // Nothing has told the node: it still takes its server for a replica.
    let (repo, reports) = recorded(&repo);
    assert_eq!(repo.execute("insert into users (name) values ('Ada')", &[]).await.unwrap(), 1);
    assert!(reports.last().wrote, "it was not taken for a write");
    wait_until("one row", async || world.users_on_replica().await == 1).await;
}

#[tokio::test]
async fn refused_writes_need_one_connection() {
    let (servers, world) = (Servers::shared().await, World::shared().await);
    let setting = format!("alter database {} set default_transaction_read_only = on", world.database);
    world.primary.batch_execute(&setting).await.unwrap();
    let iad = servers.primary_node(&world.database).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let repo = iad.repo();
            tokio::spawn(async move { repo.execute("insert into users (name) values ('Ada')", &[]).await })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{error}");
    }
}
