//! Raw SQL: PostgreSQL says whether a statement writes, the caller does not.

use std::time::Duration;

use homing::Wait;
use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing_testbed::wait_until;

use crate::fixture::{NewUser, Servers, World, are_places, recorded};

#[tokio::test]
async fn only_writes_are_forwarded() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create sequence tickets;
             create function hire(new_name text) returns bigint language sql as
                 $$ insert into users (name) values (new_name) returning id $$;",
        )
        .await
        .unwrap();
    let (repo, reports) = recorded(&world.syd.repo());
    repo.insert(&NewUser::named("Ada")).await.unwrap();

    let here = ["select count(*) from users", "with a as (select 1) select * from a", "values (1)", "explain select 1"];
    for sql in here {
        repo.query(sql, &[]).await.unwrap();
        assert_eq!(reports.last().answered_by, AnsweredBy::Local, "{sql}");
    }
    let there = [
        "select nextval('tickets')",
        "select * from users for update",
        "select hire('Grace')",
        "with new as (insert into users (name) values ('Edsger') returning id) select * from new",
        "update users set age = 7",
        "create table notes (id int)",
        "select pg_advisory_xact_lock(1)",
        "vacuum users",
        "truncate notes",
    ];
    for sql in there {
        repo.query(sql, &[]).await.unwrap();
        let report = reports.last();
        assert!(matches!(report.answered_by, AnsweredBy::Peer(_)), "{sql}");
        // A lock that ended with its transaction leaves nothing to wait for.
        assert_eq!(report.position.is_none(), sql.contains("lock("), "{sql}");
    }
    assert_eq!(repo.query_one("select count(*) from users", &[]).await.unwrap().get::<_, i64>(0), 3);
}

#[tokio::test]
async fn calls_return_rows_and_counts() {
    let world = World::shared().await;
    for (node, name) in [(&world.iad, "iad"), (&world.syd, "syd")] {
        let repo = node.repo();
        let sql = "insert into users (name, age) values ($1, $2) returning id, name, age";
        let row = repo.query_one(sql, &[&name, &Option::<i32>::None]).await.unwrap();
        assert_eq!(row.get::<_, &str>("name"), name);
        assert_eq!(row.get::<_, Option<i32>>(2), None);
        assert_eq!(row.columns().iter().map(homing::row::Column::name).collect::<Vec<_>>(), ["id", "name", "age"]);
        assert_eq!(repo.execute("update users set age = 3 where name = $1", &[&name]).await.unwrap(), 1);
        assert_eq!(repo.execute("select * from users where name = $1", &[&name]).await.unwrap(), 1);
        let found = repo.query_opt("select age from users where name = $1", &[&name]).await.unwrap().unwrap();
        assert_eq!(found.get::<_, i32>("age"), 3);
        assert!(repo.query_opt("select 1 where false", &[]).await.unwrap().is_none());
        assert!(repo.query_one("select 1 where false", &[]).await.unwrap_err().is_not_found());
        let error = repo.query_opt("select generate_series(1, 2)", &[]).await.unwrap_err();
        assert!(error.is_too_many_rows() && !error.is_committed(), "there was nothing to commit: {error:?}");
    }
}

#[tokio::test]
async fn postgresql_says_whether_statement_wrote() {
    let world = World::shared().await;
    let hire = "create function hire(new_name text) returns bigint language sql as
        $$ insert into users (name) values (new_name) returning id $$;
        create procedure hire_two() language plpgsql as
        $$ begin perform hire('Bob'); commit; perform hire('Alice'); end $$;";
    world.primary.batch_execute(hire).await.unwrap();
    let far = world.node_without_replica(world.peers()).await;
    for (repo, name) in [(world.iad.repo(), "iad"), (far.repo(), "far")] {
        for repo in [repo.clone(), repo.with_schema("public").unwrap()] {
            let (repo, reports) = recorded(&repo.session());
            let nothing = repo.token_of_writes();
            for read in [
                "select count(*) from users",
                "values (1)",
                "table users",
                "/* a */ with a as (select 1) select * from a",
                "show server_version",
                "explain delete from users",
                "select pg_notify('news', '')",
            ] {
                repo.query(read, &[]).await.unwrap();
                assert!(!reports.last().wrote, "{read} in {name}");
            }
            // After a read next to the primary, no later read has to wait. After one from afar, replicas may be older.
            assert_eq!(repo.token_of_writes() == nothing, name == "iad" || !are_places());
            assert_ne!(repo.token().await.unwrap(), nothing);
            assert!(repo.database().is_none_or(|here| here.tracker().state().borrow().is_none()));
            for write in [
                "select hire('Ada')",
                "with new as (insert into users (name) values ('Grace') returning id) select * from new",
                "update users set age = 7",
                "explain analyze delete from users",
            ] {
                repo.query(write, &[]).await.unwrap();
                assert!(reports.last().wrote, "{write} in {name}");
            }
            let error = repo.query("select 1 / (count(*) - count(*)) from users", &[]).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
            assert!(error.is_rejected());
        }
        // Statements that cannot run in a transaction block run without one.
        repo.execute("vacuum users", &[]).await.unwrap();
        repo.execute("call hire_two()", &[]).await.unwrap();
        repo.execute("delete from users", &[]).await.unwrap();
    }
}

/// Functions of some extensions refuse too. This one refuses every other time; a rollback does not undo its count.
#[tokio::test]
async fn statement_refusing_block_runs_alone() {
    let world = World::shared().await;
    let picky = "create sequence attempts; create function picky() returns bigint language plpgsql as $$ begin
        if nextval('attempts') % 2 = 1 then raise 'not in a block' using errcode = '25001'; end if;
        return currval('attempts'); end $$";
    world.primary.batch_execute(picky).await.unwrap();
    for (node, attempts) in [(&world.iad, 2), (&world.syd, 4)] {
        let (repo, reports) = recorded(&node.repo());
        assert_eq!(repo.query_one("select picky()", &[]).await.unwrap().get::<_, i64>(0), attempts);
        assert!(reports.last().wrote, "PostgreSQL was not asked whether it wrote");
    }
}

/// On a connection that has not prepared the statement, it waits for the lock before it runs.
#[tokio::test]
async fn prepare_behind_lock_is_cancelled() {
    let world = World::shared().await;
    for repo in [world.iad.repo(), world.iad.repo().with_schema("public").unwrap()] {
        let sql = "select count(*) from users";
        repo.query(sql, &[]).await.unwrap();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
        world.primary.batch_execute(end).await.unwrap();
        wait_until("the node connects again", async || repo.query("select 1", &[]).await.is_ok()).await;
        world.primary.batch_execute("begin; lock table users in access exclusive mode").await.unwrap();

        let error = repo.with_call_timeout(Duration::from_millis(300)).query(sql, &[]).await.unwrap_err();
        assert!(error.is_timed_out() && error.is_rejected(), "{error:?}");
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
            and datname = current_database()";
        assert_eq!(world.primary.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0), 0);
        world.primary.batch_execute("rollback").await.unwrap();
        assert_eq!(repo.query(sql, &[]).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn deferred_error_of_read_is_returned() {
    let world = World::shared().await;
    let tables = "create table parents (id int primary key);
        create table children (parent int references parents deferrable initially deferred);
        create function adopt(parent int) returns void language sql as $$ insert into children values (parent) $$;";
    world.primary.batch_execute(tables).await.unwrap();
    for node in [&world.iad, &world.syd] {
        let error = node.repo().query("select adopt($1)", &[&7]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
        assert!(error.is_rejected() && !error.is_committed(), "{error:?}");
        assert_eq!(node.repo().query("select * from children", &[]).await.unwrap().len(), 0);
    }
}

#[tokio::test]
async fn unfit_rows_of_write_are_committed() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let sql = "insert into users (name) values ('a'), ('b') returning id";
    let error = repo.query_one(sql, &[]).await.unwrap_err();
    assert!(error.is_too_many_rows() && error.is_committed() && !error.is_rejected(), "{error}");
    assert!(error.position().is_some());
    assert_eq!(world.users_on_primary().await, 2);
}

#[tokio::test]
async fn unfit_rows_without_replica_are_committed() {
    let world = World::shared().await;
    let node = world.node_without_replica(world.peers()).await;
    let sql = "insert into users (name) values ('a'), ('b') returning id";
    let error = node.repo().query_one(sql, &[]).await.unwrap_err();
    assert!(error.is_too_many_rows() && error.is_committed() && !error.is_rejected(), "{error:?}");
    assert_eq!(world.users_on_primary().await, 2);
}

#[tokio::test]
async fn session_statements_fail_before_sending() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    for sql in
        ["begin", "create temp table t (id int)", "listen news", "select pg_advisory_lock(1)", "set work_mem = '1GB'"]
    {
        let error = repo.execute(sql, &[]).await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{sql}: {error}");
    }
    let locks =
        world.replica.query_one("select count(*) from pg_locks where locktype = 'advisory'", &[]).await.unwrap();
    assert_eq!(locks.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn primary_answers_for_unreplayed_schema() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo().with_wait(Wait::Never));
    servers.replica.pause_replay().await.unwrap();
    for round in 0..20 {
        let table = format!("fresh_{round}");
        repo.execute(&format!("create table {table} (id int)"), &[]).await.unwrap();
        assert_eq!(repo.execute(&format!("insert into {table} values ($1)"), &[&round]).await.unwrap(), 1);
        let rows = repo.query(&format!("select id from {table}"), &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [round]);
        let peer = reports.last().answered_by.peer().map(|peer| peer.address);
        assert_eq!(peer, world.iad.local_addr(), "{table}");
    }
    servers.replica.resume_replay().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    assert_eq!(repo.query("select id from fresh_7", &[]).await.unwrap()[0].get::<_, i32>(0), 7);
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

#[tokio::test]
async fn statements_survive_schema_change() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let select = "select * from users";
    let insert = "insert into users (name, age) values ($1, 1) returning *";
    repo.query(insert, &[&"a"]).await.unwrap();
    assert_eq!(repo.query(select, &[]).await.unwrap()[0].len(), 3);
    repo.execute("alter table users add column email text", &[]).await.unwrap();
    assert_eq!(repo.query(insert, &[&"b"]).await.unwrap()[0].len(), 4);
    assert_eq!(repo.query(select, &[]).await.unwrap()[0].len(), 4);
    repo.execute("alter table users alter column age type bigint", &[]).await.unwrap();
    assert_eq!(repo.query(insert, &[&"c"]).await.unwrap()[0].get::<_, i64>("age"), 1);
}

#[tokio::test]
async fn script_with_commit_runs_once() {
    let world = World::shared().await;
    let raise = "do $$ begin raise exception 'unsupported' using errcode = '0A000'; end $$";
    let script = format!("begin; insert into users (name) values ('once'); commit; {raise}");
    let error = world.syd.repo().batch_execute(&script).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    assert_eq!(world.users_on_primary().await, 1);
}

#[tokio::test]
async fn unfinished_script_is_rejected() {
    let world = World::shared().await;
    for (_, node) in [("iad", &world.iad), ("syd", &world.syd)] {
        let script = "begin; insert into users (name) values ('lost')";
        let error = node.repo().batch_execute(script).await.unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("COMMIT"), "{error:?}");
        node.repo()
            .batch_execute("begin; insert into users (name) values ('kept'); commit; truncate users")
            .await
            .unwrap();
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn script_is_one_transaction() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    repo.batch_execute("create table a (id int); insert into a values (1); create table b (id int)").await.unwrap();
    assert_eq!(repo.query("select * from a", &[]).await.unwrap().len(), 1);
    let error = repo.batch_execute("insert into a values (2); insert into a values ('x')").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_TEXT_REPRESENTATION));
    assert_eq!(repo.query("select * from a", &[]).await.unwrap().len(), 1);
}
