//! COPY in both directions, next to the primary and from another region.

use std::time::Duration;

use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::{Consistency, Node, Repo, Secret, Topology};
use homing_rpc::{NodeConfig, Server};
use homing_testbed::{Cut, Relay};

use super::tenants::give_up_after;
use crate::fixture::{
    PATIENCE, SECRET, Servers, User, World, count_users, in_iad, recorded, region, wait_until_running, wait_until_true,
};

const NAMES: &str = "copy users (name) from stdin";

async fn copy_in(repo: &Repo, sql: &str, data: impl IntoIterator<Item = &[u8]>) -> homing::Result<u64> {
    let mut copy = repo.copy_in(sql).await?;
    for part in data {
        copy.send(part.to_vec()).await?;
    }
    copy.finish().await
}

async fn copy_out(repo: &Repo, sql: &str) -> homing::Result<Vec<u8>> {
    let mut copy = repo.copy_out(sql).await?;
    let mut data = Vec::new();
    while let Some(part) = copy.next().await {
        data.extend_from_slice(&part?);
    }
    Ok(data)
}

/// Waits until no connection of a node has a transaction open, and uses all places for copies at once.
async fn assert_the_pools_are_whole(world: &World) {
    let idle = "select count(*) = 0 from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()
                      and (state <> 'idle' or xact_start is not null)";
    wait_until_true(&world.primary, idle).await;
    wait_until_true(&world.replica, idle).await;
    for (_, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let copies = [repo.copy_in(NAMES), repo.copy_in(NAMES), repo.copy_in(NAMES)];
        futures_util::future::try_join_all(copies).await.unwrap();
    }
    wait_until_true(&world.primary, idle).await;
}

#[tokio::test]
async fn copied_rows_come_back() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let (repo, reports) = recorded(&node.repo());
        // More than fits into all buffers, and cut in the middle of lines.
        let csv: String = (0..100_000).map(|number| format!("{region} {number},{}\n", number % 100)).collect();
        let copied =
            copy_in(&repo, "copy users (name, age) from stdin (format csv)", csv.as_bytes().chunks(77_777)).await;
        assert_eq!(copied.unwrap(), 100_000);
        assert_eq!((reports.count(), reports.last().operation), (1, "copy_in"));
        assert!(reports.last().position.is_some());
        assert_eq!(count_users(&repo).await, 100_000);

        let rows = "copy (select name, age from users order by id) to stdout (format csv)";
        assert!(copy_out(&repo, rows).await.unwrap() == csv.as_bytes());
        assert_eq!((reports.last().operation, reports.last().answered_by), ("copy_out", AnsweredBy::Local));
        let global = repo.with_consistency(Consistency::Global);
        assert!(copy_out(&global, rows).await.unwrap() == csv.as_bytes());

        let binary = copy_out(&repo, "copy users to stdout (format binary)").await.unwrap();
        repo.execute("delete from users", &[]).await.unwrap();
        let parts = binary.chunks(1_000_000);
        assert_eq!(copy_in(&repo, "copy users from stdin (format binary)", parts).await.unwrap(), 100_000);
        assert_eq!(repo.delete_all::<User>("", &[]).await.unwrap(), 100_000);
        assert_eq!(copy_in(&repo, NAMES, []).await.unwrap(), 0);
        assert_eq!(copy_out(&repo, "copy users to stdout").await.unwrap(), b"");
    }
}

#[tokio::test]
async fn copies_have_schema_and_settings() {
    let world = World::shared().await;
    let servers = Servers::shared().await;
    world.primary.batch_execute("create schema branch; create table branch.users (name text)").await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo().with_schema("branch").unwrap().with_setting("app.user", region).unwrap();
        assert_eq!(copy_in(&repo, NAMES, [&b"Ada\n"[..]]).await.unwrap(), 1);
        let sql = "copy (select name, current_setting('app.user') from users) to stdout";
        let expected = format!("Ada\t{region}\n");
        assert_eq!(copy_out(&repo, sql).await.unwrap(), expected.as_bytes());
        assert_eq!(copy_out(&repo.with_consistency(Consistency::Global), sql).await.unwrap(), expected.as_bytes());
        repo.execute("truncate users", &[]).await.unwrap();
        assert_eq!(count_users(&node.repo()).await, 0);
    }
}

#[tokio::test]
async fn refused_copies_say_why() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let error = repo.copy_in("copy nothing from stdin").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error:?}");
        let error = repo.copy_out("copy nothing to stdout").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error:?}");
        let error = copy_in(&repo, NAMES, [&b"Ada\nGrace\tand more\n"[..]]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::BAD_COPY_FILE_FORMAT), "{error:?}");
        assert!(error.is_rejected());
        let error = copy_in(&repo, NAMES, [&b"Ada\nAda\n"[..]]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}");
        for sql in
            ["select 1", "copy users from '/tmp/users'", "copy users to stdout", "", "insert into users default values"]
        {
            assert!(repo.copy_in(sql).await.unwrap_err().is_misuse(), "{sql}");
        }
        let writing = "copy (insert into users (name) values ('x') returning name) to stdout";
        for sql in ["select 1", NAMES, "copy users to '/tmp/users'", writing] {
            assert!(repo.copy_out(sql).await.unwrap_err().is_misuse(), "{sql}");
        }
        let inside = async |tx: Repo| {
            assert!(tx.copy_in(NAMES).await.unwrap_err().is_misuse());
            tx.copy_out("copy users to stdout").await
        };
        assert!(repo.transaction(inside).await.unwrap_err().is_misuse());
        let error = repo.execute(NAMES, &[]).await.unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("copy_in"), "{error}");
    }
    assert_eq!(world.users_on_primary().await, 0);
    assert_the_pools_are_whole(&world).await;
}

#[tokio::test]
async fn dropped_copies_leave_nothing() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        for polls in 0..60 {
            give_up_after(polls, copy_in(&repo, NAMES, vec![&b"Ada\n"[..]; 4])).await;
            let mut copy = repo.copy_in(NAMES).await.unwrap();
            copy.send("Ada\n").await.unwrap();
            // Several messages: the first ones are sent.
            give_up_after(polls % 3, copy.send("x".repeat(1_000_000))).await;
            if polls % 3 > 0 {
                assert!(copy.send("Grace\n").await.unwrap_err().is_not_sent());
                assert!(copy.finish().await.unwrap_err().is_not_sent());
            }
            give_up_after(polls, copy_out(&repo, "copy (select generate_series(1, 1000)) to stdout")).await;
        }
    }
    assert_the_pools_are_whole(&world).await;
    assert_eq!(world.users_on_primary().await, 0);
}

/// PostgreSQL waits for a lock and takes no rows.
#[tokio::test]
async fn slow_table_holds_back_the_sender() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create function wait() returns trigger language plpgsql as $$
             begin perform pg_advisory_xact_lock(7); return new; end $$;
             create trigger wait before insert on users for each row execute function wait();
             select pg_advisory_lock(7)",
        )
        .await
        .unwrap();
    for (region, node) in world.both() {
        let mut copy = node.repo().with_call_timeout(Duration::from_secs(1)).copy_in(NAMES).await.unwrap();
        let line = format!("{}\n", "x".repeat(99_999));
        let mut sent = 0;
        let error = loop {
            match copy.send(line.clone()).await {
                Ok(()) => sent += line.len(),
                Err(error) => break error,
            }
            assert!(sent < 32_000_000, "{region} takes what PostgreSQL does not take");
        };
        assert!(error.is_timed_out() && error.is_rejected(), "{region}: {error:?}");
        assert!(copy.finish().await.unwrap_err().is_not_sent());
    }
    world.primary.batch_execute("select pg_advisory_unlock(7)").await.unwrap();
    assert_the_pools_are_whole(&world).await;
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn slow_reader_holds_back_the_copy() {
    let world = World::shared().await;
    let sql = "copy (select repeat('x', 1000), generate_series(1, 10000000)) to stdout";
    for (client, repo) in [
        (&world.primary, world.iad.repo()),
        (&world.replica, world.syd.repo()),
        (&world.primary, world.syd.repo().with_consistency(Consistency::Global)),
    ] {
        let backends = |condition: &str| {
            format!(
                "select {condition} from pg_stat_activity where datname = current_database() and query like '%10000000%'
                 and pid <> pg_backend_pid() and state = 'active'"
            )
        };
        let mut copy = repo.copy_out(sql).await.unwrap();
        copy.next().await.unwrap().unwrap();
        wait_until_true(client, &backends("count(*) filter (where wait_event = 'ClientWrite') = 1")).await;
        drop(copy);
        wait_until_true(client, &backends("count(*) = 0")).await;
    }
    assert_the_pools_are_whole(&world).await;
}

/// A node in `syd` whose way to the primary can be cut.
async fn linked(world: &World) -> (Node, Relay) {
    let relay = Relay::start(world.iad.local_addr().unwrap()).unwrap();
    let syd = Servers::shared().await.replica_node(&world.database, in_iad([relay.address()])).await;
    (syd, relay)
}

#[tokio::test]
async fn lost_link_tells_the_fate() {
    let world = World::shared().await;
    let (syd, relay) = linked(&world).await;
    let mut copy = syd.repo().copy_in(NAMES).await.unwrap();
    copy.send("Ada\n").await.unwrap();
    relay.cut(Cut::Reset).await;
    let error = loop {
        if let Err(error) = copy.send("x".repeat(100_000)).await {
            break error;
        }
    };
    assert!(error.is_not_sent() && error.to_string().contains("rolled back"), "{error:?}");
    drop(relay);
    assert_the_pools_are_whole(&world).await;
    assert_eq!(world.users_on_primary().await, 0);

    let linger = "create function linger() returns trigger language plpgsql as $$
                      begin perform pg_sleep(74); return new; end $$;
                  create constraint trigger linger after insert on users deferrable initially deferred
                  for each row execute function linger()";
    world.primary.batch_execute(linger).await.unwrap();
    let (syd, relay) = linked(&world).await;
    let mut copy = syd.repo().with_call_timeout(PATIENCE * 2).copy_in(NAMES).await.unwrap();
    copy.send("Ada\n").await.unwrap();
    let finish = tokio::spawn(copy.finish());
    wait_until_running(&world.primary, "COMMIT", 1).await;
    relay.cut(Cut::Reset).await;
    let error = finish.await.unwrap().unwrap_err();
    assert!(error.is_outcome_unknown() && !error.is_not_sent(), "{error:?}");
}

#[tokio::test]
async fn ended_backend_rolls_back() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        for is_sending in [true, false] {
            let mut copy = node.repo().copy_in(NAMES).await.unwrap();
            copy.send("Ada\n").await.unwrap();
            let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = current_database() and query = 'copy users (name) from stdin' and state = 'active'";
            assert_eq!(world.primary.query(sql, &[]).await.unwrap().len(), 1);
            let mut failed = None;
            while is_sending && failed.is_none() {
                failed = copy.send("x".repeat(100_000)).await.err();
            }
            let error = match failed {
                Some(error) => error,
                None => copy.finish().await.unwrap_err(),
            };
            assert!(error.is_not_sent() || error.is_rejected(), "{region}: {error:?}");
        }
    }
    assert_the_pools_are_whole(&world).await;
    assert_eq!(world.users_on_primary().await, 0);
}

/// A server without the methods, as every build from before them.
#[tokio::test]
async fn old_peer_executes_nothing() {
    let world = World::shared().await;
    let config = NodeConfig::new(Topology::new(region("iad"), region("iad"))).with_secret(Secret::new(SECRET).unwrap());
    let old = Server::builder(config).listen(([127, 0, 0, 1], 0).into()).start().await.unwrap();
    let syd = world.node_without_replica(in_iad([old.local_addr()])).await;
    let repo = syd.repo().with_call_timeout(Duration::from_secs(1));
    for error in [repo.copy_in(NAMES).await.unwrap_err(), repo.copy_out("copy users to stdout").await.unwrap_err()] {
        assert!(error.is_not_sent() && error.to_string().contains("update it"), "{error:?}");
    }
}

#[tokio::test]
async fn late_refusal_and_time_limit_are_rejected() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create function late() returns trigger language plpgsql as $$ begin
                 if new.name = 'slow' then perform pg_sleep(74); end if;
                 raise exception 'too late' using errcode = 'check_violation';
             end $$;
             create constraint trigger late after insert on users deferrable initially deferred
             for each row execute function late()",
        )
        .await
        .unwrap();
    for (_, node) in world.both() {
        let error = copy_in(&node.repo(), NAMES, [&b"Ada\n"[..]]).await.unwrap_err();
        assert!(error.is_rejected() && error.code() == Some(&SqlState::CHECK_VIOLATION), "{error:?}");
        let brief = node.repo().with_call_timeout(Duration::from_secs(1));
        let error = copy_in(&brief, NAMES, [&b"slow\n"[..]]).await.unwrap_err();
        assert!(error.is_timed_out() && error.is_rejected(), "{error:?}");
    }
    assert_the_pools_are_whole(&world).await;
    assert_eq!(world.users_on_primary().await, 0);
}
