//! Streams: rows in chunks, here and from the primary, with everything that can go wrong in between.

use std::time::Duration;

use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::row::RowStream;
use homing::{Node, OnLag, Repo};
use homing_testbed::{Cut, Relay, wait_until};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, in_iad, recorded, wait_until_true};

/// More than all buffers on the way hold. With the function in FROM, PostgreSQL would store all numbers before it sends
/// the first one.
const ENDLESS: &str = "select generate_series(1, 10000000) as n, repeat('x', 1000) as filler";

/// A world with a third node: it has no replica, and reaches the primary's node through a relay.
struct Streams {
    world: World,
    relay: Relay,
    far: Node,
}

impl Streams {
    async fn start() -> Self {
        let world = World::shared().await;
        let relay = Relay::start(world.iad.local_addr().unwrap()).unwrap();
        let far = world.node_without_replica(in_iad([relay.address()])).await;
        Self { world, relay, far }
    }

    /// On the primary, on the replica, and from the primary elsewhere.
    fn ways(&self) -> [(&'static str, Repo, &Client); 3] {
        [
            ("iad", self.world.iad.repo(), &self.world.primary),
            ("syd", self.world.syd.repo(), &self.world.replica),
            ("far", self.far.repo(), &self.world.primary),
        ]
    }
}

async fn next(rows: &mut RowStream) -> Option<homing::Result<homing::Row>> {
    timeout(PATIENCE, rows.next()).await.unwrap()
}

/// Waits until `expected` backends of this database run `ENDLESS` and meet the condition.
async fn backends(client: &Client, condition: &str, expected: i64) {
    let sql = format!(
        "select count(*) = {expected} from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and query like '%generate_series%'
         and state <> 'idle' and {condition}"
    );
    wait_until_true(client, &sql).await;
}

#[tokio::test]
async fn stream_has_rows_of_query() {
    let streams = Streams::start().await;
    let sql = "select n, case when n % 7 = 0 then null else repeat('é', n % 50) end as text, array[n, null] as list
               from generate_series(1, $1) as n order by n";
    for (name, repo, _) in streams.ways() {
        let (repo, reports) = recorded(&repo);
        for count in [0_i32, 1, 20_000] {
            let expected = repo.query(sql, &[&count]).await.unwrap();
            let mut rows = repo.stream(sql, &[&count]).await.unwrap();
            assert_eq!(rows.columns().iter().map(homing::row::Column::name).collect::<Vec<_>>(), ["n", "text", "list"]);
            for expected in expected {
                let row = next(&mut rows).await.unwrap().unwrap();
                assert_eq!(row.get::<_, i32>("n"), expected.get::<_, i32>("n"), "{name}");
                assert_eq!(row.get::<_, Option<&str>>("text"), expected.get::<_, Option<&str>>("text"));
                assert_eq!(row.get::<_, Vec<Option<i32>>>("list"), expected.get::<_, Vec<Option<i32>>>("list"));
            }
            assert!(next(&mut rows).await.is_none(), "{name}");
            assert!(next(&mut rows).await.is_none(), "{name}: it stays at its end");
        }
        let report = reports.last();
        assert_eq!(report.operation, "stream");
        assert_eq!(report.answered_by == AnsweredBy::Local, name != "far");
    }
}

#[tokio::test]
async fn streamed_entities_follow_session() {
    let streams = Streams::start().await;
    for (name, repo, _) in streams.ways() {
        let user = repo.insert(&NewUser::named(name)).await.unwrap();
        let mut users = repo.stream_all::<User>("where name = $1", &[&name]).await.unwrap();
        assert_eq!(timeout(PATIENCE, users.next()).await.unwrap().unwrap().unwrap(), user);
        assert!(users.next().await.is_none());
    }
}

#[tokio::test]
async fn slow_reader_holds_back_database() {
    let streams = Streams::start().await;
    for (name, repo, server) in streams.ways() {
        let mut rows = repo.stream(ENDLESS, &[]).await.unwrap();
        // The server cannot send any more, so no buffer on the way is unbounded.
        backends(server, "wait_event = 'ClientWrite'", 1).await;
        for number in 1..=5_000 {
            assert_eq!(next(&mut rows).await.unwrap().unwrap().get::<_, i32>(0), number, "{name}");
        }
        drop(rows);
        backends(server, "true", 0).await;
    }
}

#[tokio::test]
async fn dropped_streams_free_their_connections() {
    let streams = Streams::start().await;
    for (name, repo, server) in streams.ways() {
        for round in 0..10 {
            let mut rows = repo.stream(ENDLESS, &[]).await.unwrap_or_else(|error| panic!("{name} {round}: {error}"));
            next(&mut rows).await.unwrap().unwrap();
        }
        backends(server, "true", 0).await;
        repo.query("select 1", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn stream_dropped_early_leaves_nothing() {
    let streams = Streams::start().await;
    for (_, repo, server) in streams.ways() {
        let sql = "select pg_sleep(60) from generate_series(1, 2)";
        let repo = repo.with_call_timeout(PATIENCE * 2);
        let opening = tokio::spawn(async move { repo.stream(sql, &[]).await.map(drop) });
        backends(server, "wait_event = 'PgSleep'", 1).await;
        opening.abort();
        backends(server, "true", 0).await;
    }
}

#[tokio::test]
async fn streams_take_half_the_pool() {
    let streams = Streams::start().await;
    for (name, repo, _) in streams.ways() {
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(repo.stream(ENDLESS, &[]).await.unwrap());
        }
        let error = repo.with_call_timeout(Duration::from_secs(2)).stream("select 1", &[]).await.unwrap_err();
        assert!(error.is_not_sent() && error.is_overloaded(), "{name}: {error:?}");
        assert!(error.to_string().contains("streams"), "{name}: {error}");
        repo.query("select 1", &[]).await.unwrap();
        drop(held);
        repo.stream("select 1", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn streamed_write_is_rejected() {
    let streams = Streams::start().await;
    streams.world.primary.batch_execute("create sequence numbers").await.unwrap();
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    for (name, repo, _) in streams.ways() {
        for sql in [
            "insert into users (name) values ('Ada') returning id",
            "select nextval('numbers')",
            "select * from users for update",
        ] {
            let error = repo.stream(sql, &[]).await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{name}, {sql}: {error:?}");
            assert!(error.to_string().contains("only reads"), "{error}");
        }
        assert!(repo.stream("begin", &[]).await.unwrap_err().is_misuse());
        assert!(repo.stream("select $1::int", &[&"x"]).await.unwrap_err().is_misuse());
    }
    assert_eq!(streams.world.users_on_primary().await, 0);
}

#[tokio::test]
async fn failure_ends_stream_with_error() {
    let streams = Streams::start().await;
    for (name, repo, server) in streams.ways() {
        let mut rows = repo.stream("select 100 / (50000 - n) from generate_series(1, 60000) as n", &[]).await.unwrap();
        let mut count = 0;
        let error = loop {
            match next(&mut rows).await.unwrap() {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO), "{name}: {error:?}");
        assert!(error.is_rejected());
        assert_eq!(count, 49_999, "{name}: what came before is given");
        assert!(next(&mut rows).await.is_none(), "{name}");
        let error = repo.stream("selec 1", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::SYNTAX_ERROR));
        backends(server, "true", 0).await;
    }
}

#[tokio::test]
async fn lost_connection_is_an_error() {
    let streams = Streams::start().await;
    for (name, repo, server) in streams.ways() {
        let mut rows = repo.stream(ENDLESS, &[]).await.unwrap();
        next(&mut rows).await.unwrap().unwrap();
        server
            .execute(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid() and query like '%generate_series%'",
                &[],
            )
            .await
            .unwrap();
        let error = end(&mut rows).await;
        assert!(!error.is_outcome_unknown() && !error.is_committed(), "{name}: {error:?}");
        backends(server, "true", 0).await;
    }
}

#[tokio::test]
async fn cut_link_frees_server() {
    for cut in [Cut::Reset, Cut::Blackhole] {
        let streams = Streams::start().await;
        let repo = streams.far.repo().with_call_timeout(PATIENCE);
        let mut rows = repo.stream(ENDLESS, &[]).await.unwrap();
        next(&mut rows).await.unwrap().unwrap();
        streams.relay.cut(cut).await;
        let error = end(&mut rows).await;
        assert!(error.is_not_sent() && error.to_string().contains("begin it again"), "{cut:?}: {error:?}");
        backends(&streams.world.primary, "true", 0).await;
    }
}

/// The error at the end of a stream that must not end without one.
async fn end(rows: &mut RowStream) -> homing::Error {
    loop {
        match next(rows).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                assert!(next(rows).await.is_none());
                return error;
            }
            None => panic!("it ended as if all rows had come"),
        }
    }
}

#[tokio::test]
async fn time_limit_applies_to_each_wait() {
    let streams = Streams::start().await;
    let limit = Duration::from_secs(1);
    for (name, repo, server) in streams.ways() {
        let repo = repo.with_call_timeout(limit);
        let error = repo.stream("select pg_sleep(60) from generate_series(1, 2)", &[]).await.unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("call_timeout"), "{name}: {error:?}");

        // It takes longer than the limit in all, but never waits that long for a row.
        let started = tokio::time::Instant::now();
        let steady = "select n, pg_sleep(0.15), repeat('x', 9000) from generate_series(1, 10) as n";
        let mut rows = repo.stream(steady, &[]).await.unwrap();
        for _ in 0..10 {
            next(&mut rows).await.unwrap().unwrap();
        }
        assert!(next(&mut rows).await.is_none());
        assert!(started.elapsed() > limit);

        let stops =
            "select n, repeat('x', 9000), case when n = 3 then pg_sleep(60) end from generate_series(1, 4) as n";
        let mut rows = repo.stream(stops, &[]).await.unwrap();
        let error = end(&mut rows).await;
        assert!(error.is_rejected() && error.to_string().contains("call_timeout"), "{name}: {error:?}");
        backends(server, "true", 0).await;
    }
}

#[tokio::test]
async fn rows_arrive_before_chunk_is_full() {
    let streams = Streams::start().await;
    for (name, repo, _) in streams.ways() {
        // PostgreSQL itself sends what fills its own buffer of 8 KiB.
        let sql = "select n, repeat('x', 9000), case when n = 3 then pg_sleep(60) end from generate_series(1, 4) as n";
        let mut rows = repo.with_call_timeout(PATIENCE * 2).stream(sql, &[]).await.unwrap();
        assert_eq!(next(&mut rows).await.unwrap().unwrap().get::<_, i32>(0), 1, "{name}");
    }
}

#[tokio::test]
async fn forwarded_row_must_fit_message() {
    let streams = Streams::start().await;
    let sql = "select n, repeat('x', case when n = 2 then 17000000 else 1 end) from generate_series(1, 3) as n";
    for (name, repo, _) in streams.ways() {
        let repo = repo.with_call_timeout(PATIENCE);
        let mut rows = repo.stream(sql, &[]).await;
        if name != "far" {
            let rows = rows.as_mut().unwrap();
            while let Some(row) = next(rows).await {
                row.unwrap();
            }
            continue;
        }
        let error = match &mut rows {
            Ok(rows) => end(rows).await,
            Err(_) => rows.unwrap_err(),
        };
        assert!(error.is_misuse() && error.to_string().contains("17000"), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn lagging_session_streams_from_primary() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(Duration::from_millis(200)));
    servers.replica.pause_replay().await.unwrap();
    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    let mut users = repo.stream_all::<User>("", &[]).await.unwrap();
    assert_eq!(users.next().await.unwrap().unwrap(), user);
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    let error = repo.with_on_lag(OnLag::Fail).stream("select 1", &[]).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");

    // A session that has read from the primary does not go back behind it.
    let reader = world.syd.repo().with_replay_timeout(Duration::from_millis(200));
    world.primary.batch_execute("create table fresh as select 1 as n").await.unwrap();
    let mut fresh = reader.stream("select n from fresh", &[]).await.unwrap();
    assert!(fresh.next().await.unwrap().is_ok(), "a table that the replica does not know yet");
    assert_eq!(reader.count::<User>("", &[]).await.unwrap(), 1);

    servers.replica.resume_replay().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    let mut users = repo.stream_all::<User>("", &[]).await.unwrap();
    assert_eq!(users.next().await.unwrap().unwrap(), user);
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

#[tokio::test]
async fn primary_replaces_replica_before_rows() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo());
    let mut rows = repo.stream(ENDLESS, &[]).await.unwrap();
    next(&mut rows).await.unwrap().unwrap();
    servers.replica.kill().await.unwrap();
    end(&mut rows).await;
    let mut rows = repo.stream("select 1", &[]).await.unwrap();
    assert!(next(&mut rows).await.unwrap().is_ok());
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
}

#[tokio::test]
async fn lost_pooled_connection_is_replaced() {
    let streams = Streams::start().await;
    for (name, repo, server) in streams.ways() {
        repo.stream("select 'pooled'", &[]).await.unwrap().next().await.unwrap().unwrap();
        let sql = "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid() and query = 'COMMIT'";
        server.query_one(sql, &[]).await.unwrap();
        let mut rows = repo.stream("select 'pooled'", &[]).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(next(&mut rows).await.unwrap().is_ok(), "{name}");
    }
}

#[tokio::test]
async fn streams_survive_schema_change() {
    let streams = Streams::start().await;
    let repo = streams.world.syd.repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    for (name, reader, _) in streams.ways() {
        reader.stream("select * from users", &[]).await.unwrap();
        repo.execute(&format!("alter table users add column {name} text"), &[]).await.unwrap();
        Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
        let mut rows = reader.stream("select * from users", &[]).await.unwrap();
        let row = next(&mut rows).await.unwrap().unwrap();
        assert!(row.try_get::<_, Option<&str>>(name).is_ok(), "{name}");
    }
}

#[tokio::test]
async fn shutdown_lets_stream_end() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let second = servers.primary_node(&world.database).await;
    let relay = Relay::start(second.local_addr().unwrap()).unwrap();
    let far = world.node_without_replica(in_iad([relay.address()])).await;
    let sql = "select generate_series(1, 200000) as n, repeat('x', 1000)";
    let mut rows = far.repo().stream(sql, &[]).await.unwrap();
    next(&mut rows).await.unwrap().unwrap();
    let shutdown = tokio::spawn(second.shutdown());
    let impatient = far.repo().with_call_timeout(Duration::from_millis(200));
    wait_until("the node takes no new calls", async || impatient.stream("select 1", &[]).await.is_err()).await;
    let mut count = 1;
    while let Some(row) = next(&mut rows).await {
        row.unwrap();
        count += 1;
    }
    assert_eq!(count, 200_000);
    timeout(PATIENCE, shutdown).await.unwrap().unwrap();
}
