//! Tenants in schemas: every call in its own, and nothing left behind on a pooled connection.

use std::net::SocketAddr;
use std::time::Duration;

use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::{Config, Context, Entity, Error, Insert, Node, Repo};
use homing_testbed::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::fixture::{PATIENCE, Servers, World, in_iad, recorded};

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "orders")]
struct Order {
    #[entity(key)]
    id: i64,
    item: String,
}

#[derive(Debug, Insert)]
#[insert(into = Order)]
struct NewOrder {
    item: String,
}

fn order(item: &str) -> NewOrder {
    NewOrder { item: item.into() }
}

/// Nodes whose pools have one connection, so that the next call meets whatever a call leaves behind.
struct Tenants {
    world: World,
    iad: Node,
    syd: Node,
}

impl Tenants {
    async fn start(schemas: &[&str]) -> Self {
        let servers = Servers::shared().await;
        let world = servers.world().await;
        for schema in schemas {
            let table = format!(
                "create schema {0}; create table {0}.orders (id bigserial primary key, item text not null unique)",
                quoted(schema)
            );
            world.primary.batch_execute(&table).await.unwrap();
        }
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
        let one = |mut config: Config| {
            config.pool_size = 1;
            Node::with_config(config).register(buy).register(where_am_i).start()
        };
        let iad = one(servers.primary_config(&world.database)).await.unwrap();
        let peers = in_iad(iad.local_addr());
        let syd = one(servers.replica_config(&world.database, peers)).await.unwrap();
        Self { world, iad, syd }
    }

    fn of(&self, schema: &str) -> [Repo; 2] {
        [&self.syd, &self.iad].map(|node| node.repo().with_schema(schema).unwrap())
    }

    async fn items(&self, schema: &str) -> Vec<String> {
        let sql = format!("select item from {}.orders order by id", quoted(schema));
        self.world.primary.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

fn quoted(schema: &str) -> String {
    format!("\"{}\"", schema.replace('"', "\"\""))
}

#[homing::remote]
async fn buy(context: Context, item: String) -> homing::Result<i64> {
    Ok(context.repo().insert(&order(&item)).await?.id)
}

#[homing::remote]
async fn where_am_i(context: Context) -> homing::Result<Option<String>> {
    Ok(context.repo().schema().map(ToOwned::to_owned))
}

async fn search_path(repo: &Repo) -> String {
    repo.query_one("select current_setting('search_path')", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn every_call_runs_in_its_schema() {
    let tenants = Tenants::start(&["tenant_7", "tenant_8"]).await;
    for [seven, eight] in [0, 1].map(|place| ["tenant_7", "tenant_8"].map(|name| tenants.of(name)[place].clone())) {
        let place = seven.region().to_string();
        let item = |number: u32| format!("{place} {number}");
        let stored = seven.insert(&order(&item(1))).await.unwrap();
        assert_eq!(seven.get::<Order>(stored.id).await.unwrap().as_ref(), Some(&stored));
        let changed = seven.update(&Order { item: item(2), ..stored }).await.unwrap();
        assert_eq!(seven.get_by::<Order>(&[("item", &item(2))]).await.unwrap(), Some(changed));
        // Three are two statements, in one transaction.
        assert_eq!(seven.insert_all(&[3, 4, 9].map(|number| order(&item(number)))).await.unwrap().len(), 3);
        let error = seven.insert_all(&[10, 11, 11].map(|number| order(&item(number)))).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}");
        let error = seven.insert_all(&[10, 11, 3].map(|number| order(&item(number)))).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}");
        assert_eq!(seven.execute("insert into orders (item) values ($1)", &[&item(5)]).await.unwrap(), 1);
        seven.batch_execute(&format!("insert into orders (item) values ('{}')", item(6))).await.unwrap();
        seven.batch_execute(&format!("begin; commit; insert into orders (item) values ('{}')", item(7))).await.unwrap();
        buy::call(&seven, item(8)).await.unwrap();
        assert_eq!(where_am_i::call(&seven).await.unwrap().as_deref(), Some("tenant_7"));
        assert_eq!(where_am_i::call(&seven.without_schema()).await.unwrap(), None);
        assert_eq!(seven.count::<Order>("where item like $1", &[&format!("{place}%")]).await.unwrap(), 8);
        let deleted = seven.one::<Order>("where item = $1", &[&item(8)]).await.unwrap();
        seven.delete(&deleted).await.unwrap();

        assert_eq!(eight.count::<Order>("", &[]).await.unwrap(), 0, "{place}");
        assert!(!seven.exists::<Order>("where item = $1", &[&item(8)]).await.unwrap());
        assert_eq!(search_path(&seven).await, "tenant_7");
        assert_eq!(search_path(&seven.without_schema()).await, "\"$user\", public");
    }
    assert_eq!(tenants.items("tenant_7").await.len(), 14);
}

#[tokio::test]
async fn read_in_schema_stays_local() {
    let tenants = Tenants::start(&["tenant_7"]).await;
    let (repo, reports) = recorded(&tenants.of("tenant_7")[0]);
    for _ in 0..3 {
        repo.query("select * from orders", &[]).await.unwrap();
        assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    }
    repo.all::<Order>("", &[]).await.unwrap();
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

#[tokio::test]
async fn quotes_in_names_are_escaped() {
    let names = [
        "a\"b",
        "a'b",
        "a\\b",
        "tenant 7; drop schema public",
        "*/ x",
        "Größe",
        "a/b",
        "a.b",
        "$users",
        "a, public",
        "\"\"",
    ];
    let tenants = Tenants::start(&names).await;
    for name in names {
        for repo in tenants.of(name) {
            let item = format!("{} {name}", repo.region());
            let stored = repo.insert(&order(&item)).await.unwrap();
            assert_eq!(repo.get::<Order>(stored.id).await.unwrap(), Some(stored), "{name}");
            buy::call(&repo, format!("bought {item}")).await.unwrap();
        }
        assert_eq!(tenants.items(name).await.len(), 4, "{name}");
    }
}

#[tokio::test]
async fn invalid_schema_names_are_rejected() {
    let tenants = Tenants::start(&[]).await;
    for name in ["", "$user", "pg_catalog", "pg_temp", "a\0b", &"x".repeat(64)] {
        let error = tenants.syd.repo().with_schema(name).unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
    }
}

#[tokio::test]
async fn unknown_schema_fails_before_running() {
    let tenants = Tenants::start(&["tenant_7"]).await;
    let is_unknown = |error: &Error| {
        assert_eq!(error.code(), Some(&SqlState::INVALID_SCHEMA_NAME), "{error:?}");
        assert!(error.is_rejected() && error.to_string().contains("tenant_9"), "{error:?}");
    };
    tenants
        .world
        .primary
        .batch_execute("create table public.orders (id bigserial primary key, item text)")
        .await
        .unwrap();
    for repo in tenants.of("tenant_9") {
        is_unknown(&repo.insert(&order("x")).await.unwrap_err());
        is_unknown(&repo.insert_all(&[order("x"), order("y"), order("z")]).await.unwrap_err());
        is_unknown(&repo.all::<Order>("", &[]).await.unwrap_err());
        is_unknown(&repo.query("select 1", &[]).await.unwrap_err());
        is_unknown(&repo.query("select 1", &[]).await.unwrap_err());
        is_unknown(&repo.execute("insert into public.orders (item) values ('x')", &[]).await.unwrap_err());
        is_unknown(&repo.batch_execute("insert into public.orders (item) values ('x')").await.unwrap_err());
        is_unknown(&repo.batch_execute("commit; insert into public.orders (item) values ('x')").await.unwrap_err());
        let error = buy::call(&repo, "x".into()).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_SCHEMA_NAME), "{error:?}");
    }
    assert_eq!(tenants.items("public").await, Vec::<String>::new());

    // Prepared statements do not outlive their schema.
    for repo in tenants.of("tenant_7") {
        repo.insert(&order(repo.region().as_str())).await.unwrap();
        repo.all::<Order>("", &[]).await.unwrap();
    }
    tenants.world.primary.batch_execute("alter schema tenant_7 rename to tenant_9b").await.unwrap();
    for repo in tenants.of("tenant_7") {
        let error = repo.insert(&order("x")).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_SCHEMA_NAME), "{error:?}");
    }
    assert_eq!(tenants.items("tenant_9b").await.len(), 2);
}

/// One statement, whose tables have other columns and types in each schema.
#[tokio::test]
async fn tables_of_tenants_may_differ() {
    let tenants = Tenants::start(&["a", "b"]).await;
    let alter = "alter table b.orders alter item type int using 7, add extra text default 'more'";
    tenants.world.primary.batch_execute(alter).await.unwrap();
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    for place in [0, 1] {
        let (a, b) = (&tenants.of("a")[place], &tenants.of("b")[place]);
        let number = i32::try_from(place).unwrap();
        for round in 0..3 {
            let item = format!("{place} {round}");
            let sql = "insert into orders (item) values ($1) returning *";
            let row = a.query_one(sql, &[&item]).await.unwrap();
            assert_eq!(row.get::<_, String>("item"), item);
            let row = b.query_one(sql, &[&(number * 10 + round)]).await.unwrap();
            assert_eq!(row.get::<_, i32>("item"), number * 10 + round);
            assert_eq!(row.get::<_, String>("extra"), "more");
            assert_eq!(a.query("select * from orders", &[]).await.unwrap()[0].columns().len(), 2);
            assert_eq!(b.query("select * from orders", &[]).await.unwrap()[0].columns().len(), 3);
        }
    }
}

/// A statement is prepared again when the tables of its schema change, and finds the types of its schema.
#[tokio::test]
async fn table_of_one_tenant_may_change() {
    let tenants = Tenants::start(&["a", "b"]).await;
    let servers = Servers::shared().await;
    let all = |repo: Repo| async move { repo.query("select * from orders", &[]).await.unwrap().remove(0) };
    for repo in tenants.of("a").into_iter().chain(tenants.of("b")) {
        repo.insert(&order(repo.region().as_str())).await.unwrap();
        assert_eq!(all(repo).await.columns().len(), 2);
    }
    let primary = &tenants.world.primary;
    for schema in ["a", "b"] {
        primary.batch_execute(&format!("create type {schema}.mood as enum ('calm', '{schema}')")).await.unwrap();
    }
    primary.batch_execute("alter table a.orders add mood a.mood not null default 'a'").await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    for (a, b) in tenants.of("a").into_iter().zip(tenants.of("b")) {
        assert_eq!(all(a.clone()).await.columns().len(), 3);
        assert_eq!(all(b.clone()).await.columns().len(), 2);
        let sql = "update orders set item = item returning *";
        assert_eq!(a.query(sql, &[]).await.unwrap()[0].columns().len(), 3);
        assert_eq!(b.query(sql, &[]).await.unwrap()[0].columns().len(), 2);
        for (repo, mood) in [(&a, "a"), (&b, "b")] {
            let row = repo.query_one("select $1::text::mood::text", &[&mood]).await.unwrap();
            assert_eq!(row.get::<_, String>(0), mood);
            assert!(repo.query("select 'other'::mood", &[]).await.unwrap_err().is_rejected());
        }
    }
}

/// A thousand calls of all kinds, with one connection on each server. No tenant sees the rows of another one, even after
/// errors and after calls that were dropped at any moment.
#[tokio::test]
async fn calls_on_one_connection_never_mix() {
    let tenants = Tenants::start(&["a", "b"]).await;
    let primary = &tenants.world.primary;
    primary.batch_execute("create table public.orders (id bigserial primary key, item text unique)").await.unwrap();
    for schema in ["a", "b", "public"] {
        primary.batch_execute(&format!("create table {schema}.mark as select '{schema}' as name")).await.unwrap();
    }
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    let handles: Vec<_> = [&tenants.syd, &tenants.iad]
        .into_iter()
        .flat_map(|node| {
            let of = |schema| (schema, node.repo().with_schema(schema).unwrap());
            [of("a"), ("public", node.repo()), of("b")]
        })
        .collect();
    for number in 0..1000 {
        let (schema, repo) = &handles[number % handles.len()];
        let mark: String = repo.query_one("select name from mark", &[]).await.unwrap().get(0);
        assert_eq!(mark, *schema, "call {number}");
        match number % 7 {
            0 => drop(repo.insert(&order(&number.to_string())).await.unwrap()),
            1 => drop(repo.query("select 1 / (random() * 0)::int", &[]).await.unwrap_err()),
            2 => drop(repo.execute("insert into orders (item) values ('twice'), ('twice')", &[]).await.unwrap_err()),
            3 => {
                let polls = number / 7 % 12;
                let given_up = give_up_after(polls, repo.query("select name from mark, pg_sleep(0.001)", &[]));
                given_up.await;
            }
            4 => give_up_after(number / 7 % 12, repo.execute("update mark set name = name", &[])).await,
            5 => drop(repo.query("select no_such_column from mark", &[]).await.unwrap_err()),
            _ => drop(repo.query("select $1::int", &[&"no number"]).await.unwrap_err()),
        }
    }
    for (schema, _) in &handles {
        let items = tenants.items(schema).await;
        assert_eq!(items.len(), 143 / 3 + usize::from(*schema != "b"), "{schema}: {items:?}");
    }
    let open = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
    for client in [&tenants.world.primary, &tenants.world.replica] {
        assert_eq!(client.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}

/// Drops the future after it was polled so many times.
pub(super) async fn give_up_after<T>(polls: usize, call: impl Future<Output = T>) {
    let mut call = std::pin::pin!(call);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        call.as_mut().poll(context).map(drop)
    })
    .await;
}

/// A role whose own search_path leads elsewhere, and a time limit in the middle of a statement.
#[tokio::test]
async fn timed_out_statement_resets_connection() {
    let tenants = Tenants::start(&["a"]).await;
    for repo in tenants.of("a") {
        let hasty = repo.with_call_timeout(Duration::from_millis(100));
        assert!(hasty.query("select pg_sleep(30)", &[]).await.is_err());
        assert!(hasty.execute("insert into orders (item) select 'late' from pg_sleep(30)", &[]).await.is_err());
        assert_eq!(search_path(&repo.without_schema()).await, "\"$user\", public");
        assert_eq!(search_path(&repo).await, "a");
    }
    assert_eq!(tenants.items("a").await, Vec::<String>::new());
}

/// A deferred constraint fails the commit, which is sent along with the statement.
#[tokio::test]
async fn failed_commit_is_rejected() {
    let tenants = Tenants::start(&["a"]).await;
    let sql = "create table a.parts (of bigint references a.orders deferrable initially deferred)";
    tenants.world.primary.batch_execute(sql).await.unwrap();
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    for repo in tenants.of("a") {
        let error = repo.execute("insert into parts values (77)", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION), "{error:?}");
        assert!(error.is_rejected(), "{error:?}");
        assert_eq!(repo.query("select * from parts", &[]).await.unwrap().len(), 0);
    }
}

/// The node sends `BEGIN`, the statement and `COMMIT` before it has any answer.
#[tokio::test]
async fn schema_and_setting_cost_no_round_trip() {
    let tenants = Tenants::start(&["a"]).await;
    let servers = Servers::shared().await;
    let (proxy, hold) = one_way(servers.primary.address()).await;
    let mut config = servers.primary_config(&tenants.world.database);
    let through = |url: String, server: SocketAddr| url.replace(&server.port().to_string(), &proxy.port().to_string());
    config.database_url = config.database_url.map(|url| through(url, servers.primary.address()));
    config.pool_size = 1;
    let node = Node::with_config(config).start().await.unwrap();
    let repo = node.repo().with_schema("a").unwrap().with_setting("app.user", 7).unwrap().with_call_timeout(PATIENCE);
    let sql = "insert into orders (item) values ($1)";
    for item in ["first", "second"] {
        repo.execute(sql, &[&item]).await.unwrap();
        repo.all::<Order>("", &[]).await.unwrap();
    }

    hold.send_replace(true);
    let writing = tokio::spawn({
        let repo = repo.clone();
        async move { repo.execute(sql, &[&"third"]).await }
    });
    wait_until("the third order is committed", async || tenants.items("a").await.len() == 3).await;
    assert!(!writing.is_finished());
    hold.send_replace(false);
    writing.await.unwrap().unwrap();

    let last = async || {
        let ended = "select max(state_change)::text from pg_stat_activity where datname = current_database()
                     and state = 'idle' and query in ('COMMIT', 'ROLLBACK')";
        tenants.world.primary.query_one(ended, &[]).await.unwrap().get::<_, Option<String>>(0)
    };
    let of_write = last().await;
    assert!(of_write.is_some(), "a local write asks for nothing after its commit");
    hold.send_replace(true);
    let reading = tokio::spawn(async move { repo.all::<Order>("", &[]).await });
    let ended = async || last().await.is_some_and(|ended| Some(ended) != of_write);
    wait_until("the read has ended its transaction", ended).await;
    assert!(!reading.is_finished());
    hold.send_replace(false);
    assert_eq!(reading.await.unwrap().unwrap().len(), 3);
}

/// A way to a server, on which its answers can be held back.
async fn one_way(server: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (hold, held) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut held = held.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 65536];
                while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
                    if held.wait_for(|held| !held).await.is_err() || to_client.write_all(&bytes[..read]).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (address, hold)
}
