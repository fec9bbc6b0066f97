//! SQL of peers that runs as a user of its own.

use homing::database::Login;
use homing::error::SqlState;
use homing::{Consistency, Context, Node, Repo};

use super::calls::calls_with_sql;
use crate::fixture::{NewUser, PATIENCE, Servers, User, World, are_places, count_users, in_iad, start};

#[homing::remote]
async fn session_user(context: Context) -> homing::Result<String> {
    user(context.repo()).await
}

async fn user(repo: &Repo) -> homing::Result<String> {
    Ok(repo.with_consistency(Consistency::Global).query_one(USER, &[]).await?.get(0))
}

const USER: &str = "select session_user || ' ' || current_user";

/// A user that may read and insert, and nodes whose SQL runs as this user.
struct Narrow {
    world: World,
    user: String,
    iad: Node,
    syd: Node,
}

impl Narrow {
    async fn start() -> Self {
        Self::beside(Servers::shared().await, |servers, database| servers.primary.database_url(database)).await
    }

    /// `url` returns the connection string of the node in `iad` for a database.
    async fn beside(servers: &Servers, url: impl FnOnce(&Servers, &str) -> String) -> Self {
        let world = servers.world().await;
        let user = format!("forwarded_{}", world.database);
        let script = format!(
            "create role {user} login;
             grant select, insert on users to {user};
             grant usage on users_id_seq to {user};
             create table secrets (text text)"
        );
        world.primary.batch_execute(&script).await.unwrap();
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
        let mut config = servers.primary_config(&world.database);
        config.database_url = Some(url(servers, &world.database));
        config.forwarded_login = Some(Login::new(&user));
        let iad = Node::with_config(config).register(session_user).start().await.unwrap();
        let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
        Self { world, user, iad, syd }
    }

    /// What PostgreSQL says of the session of the user.
    fn session(&self) -> String {
        format!("{0} {0}", self.user)
    }
}

#[tokio::test]
async fn all_forwarded_sql_runs_as_the_user() {
    let narrow = Narrow::start().await;
    let (repo, session) = (narrow.syd.repo(), narrow.session());
    let global = repo.with_consistency(Consistency::Global);
    assert_eq!(user(&repo).await.unwrap(), session);
    let in_transaction = repo.transaction(async |tx: Repo| tx.query_one(USER, &[]).await);
    assert_eq!(in_transaction.await.unwrap().get::<_, String>(0), session);
    let mut rows = global.stream(USER, &[]).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().get::<_, String>(0), session);
    let mut copy = global.copy_out(&format!("copy ({USER}) to stdout")).await.unwrap();
    assert_eq!(copy.next().await.unwrap().unwrap(), format!("{session}\n").as_bytes());
    repo.batch_execute(&format!("insert into users (name) {USER}; insert into users (name) select 'Ada'"))
        .await
        .unwrap();
    assert_eq!(
        repo.query_one("select name from users order by id limit 1", &[]).await.unwrap().get::<_, String>(0),
        session
    );
    // The node's own calls, and functions, have the node's own rights.
    assert_eq!(user(&narrow.iad.repo()).await.unwrap(), "postgres postgres");
    assert_eq!(session_user::call(&repo).await.unwrap(), "postgres postgres");
}

#[tokio::test]
async fn forwarded_sql_has_no_other_rights() {
    let narrow = Narrow::start().await;
    let (repo, forbidden) = (narrow.syd.repo(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    for sql in [
        "delete from users",
        "update users set age = 7",
        "truncate users",
        "select * from secrets",
        "insert into secrets values ('x')",
        "create table mine (id int)",
        "create database mine",
        "do $$ begin set local role postgres; delete from users; end $$",
        "do $$ begin set session authorization postgres; delete from users; end $$",
    ] {
        let error = repo.with_consistency(Consistency::Global).query(sql, &[]).await.unwrap_err();
        assert_eq!(error.code(), forbidden, "{sql}: {error:?}");
        let error = repo.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code(), forbidden, "{sql}: {error:?}");
    }
    for escape in [
        "reset role; delete from users",
        "set role none; delete from users",
        "set session authorization default; delete from users",
        "reset session authorization; delete from users",
        "set role postgres; delete from users",
        "commit; reset role; delete from users",
        "discard plans; delete from users",
    ] {
        let error = repo.batch_execute(escape).await.unwrap_err();
        assert_eq!(error.code(), forbidden, "{escape}: {error:?}");
    }
    let escape = async |tx: Repo| {
        tx.query("do $$ begin reset role; reset session authorization; end $$", &[]).await?;
        tx.execute("delete from users", &[]).await
    };
    assert_eq!(repo.transaction(escape).await.unwrap_err().code(), forbidden);
    let global = repo.with_consistency(Consistency::Global);
    assert_eq!(repo.copy_in("copy secrets from stdin").await.unwrap_err().code(), forbidden);
    assert_eq!(global.copy_out("copy secrets to stdout").await.unwrap_err().code(), forbidden);
    assert_eq!(user(&repo).await.unwrap(), narrow.session());
}

#[tokio::test]
async fn narrow_user_has_positions() {
    let narrow = Narrow::start().await;
    let repo = narrow.syd.repo();
    for number in 1..=20_i64 {
        let user = repo.insert(&NewUser::named(&number.to_string())).await.unwrap();
        assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
        assert_eq!(count_users(&repo).await, number);
    }
    let position = repo.primary_position().await.unwrap();
    let token = repo.token().await.unwrap();
    let other = narrow.world.syd.repo().with_token(&token).unwrap();
    assert_eq!(count_users(&other).await, 20);
    assert!(other.primary_position().await.unwrap().lsn >= position.lsn);
    let denied = ["update", "vacuum", "script"];
    for (name, result) in calls_with_sql(&repo).await {
        match result {
            Ok(()) => assert!(!denied[..1].contains(&name), "{name}"),
            Err(error) => assert!(denied.contains(&name) && error.is_rejected(), "{name}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn useless_user_is_refused_at_start() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let name = &world.database;
    let script = format!(
        "create role owner_{name} login; grant all on users to owner_{name};
         create role member_{name} login in role owner_{name}"
    );
    world.primary.batch_execute(&script).await.unwrap();
    let start_as = async |user: String| {
        let mut config = servers.primary_config(name);
        config.database_url = Some(servers.primary.database_url(name).replace("postgres@", &format!("owner_{name}@")));
        config.forwarded_login = Some(Login::new(user));
        start(config).await
    };
    let owner = format!("owner_{name}");
    for (user, part) in [
        ("nobody".to_owned(), "check its name and password"),
        ("postgres".to_owned(), "is a superuser or may become"),
        (format!("member_{name}"), owner.as_str()),
        (owner.clone(), "name another user"),
    ] {
        let error = start_as(user.clone()).await.unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(&user), "{error}");
    }
    let script = format!("create role stranger_{name} login");
    world.primary.batch_execute(&script).await.unwrap();
    start_as(format!("stranger_{name}")).await.unwrap();
}

/// Only peers use the database, so the connections of their user have to notice what becomes of the servers.
#[tokio::test]
async fn forwarded_user_follows_a_failover() {
    if !are_places() {
        return; // no node has followed the promoted server, so nothing shows that the write survived
    }
    let servers = Servers::start(&[]).await;
    let narrow = Narrow::beside(&servers, |servers, database| {
        let hosts = [&servers.replica, &servers.primary].map(|server| server.address().to_string()).join(",");
        format!("postgres://postgres@{hosts}/{database}")
    });
    let narrow = narrow.await;
    let far = narrow.world.node_without_replica(in_iad(narrow.iad.local_addr())).await;
    let repo = far.repo().with_call_timeout(PATIENCE);
    repo.insert(&NewUser::named("before")).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();
    for number in 0..5 {
        repo.insert(&NewUser::named(&format!("after {number}"))).await.unwrap();
    }
    assert_eq!((user(&repo).await.unwrap(), count_users(&repo).await), (narrow.session(), 6));
    let error = repo.execute("delete from users", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

/// The node reads as before, whatever the settings of the other user are.
#[tokio::test]
async fn settings_of_the_user_are_its_own() {
    let narrow = Narrow::start().await;
    let script = format!(
        "alter role {0} set default_transaction_read_only = on; alter role {0} set statement_timeout = '50ms'",
        narrow.user
    );
    narrow.world.primary.batch_execute(&script).await.unwrap();
    let repo = narrow.syd.repo();
    let error = repo.insert(&NewUser::named("Ada")).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{error:?}");
    let slow = "select pg_sleep(0.2)::text";
    let global = repo.with_consistency(Consistency::Global);
    assert_eq!(global.query(slow, &[]).await.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    narrow.iad.repo().query(slow, &[]).await.unwrap();
    narrow.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    assert_eq!(narrow.iad.repo().replicas().status().len(), 1);
    assert_eq!(count_users(&narrow.iad.repo()).await, 1);
}

/// A session whose mark is gone proves a pooler, and the address would not be used any longer.
#[tokio::test]
async fn peer_cannot_disturb_the_node() {
    let narrow = Narrow::start().await;
    let repo = narrow.syd.repo();
    let taint = "do $$ begin perform set_config('homing.connection', 'x', false); end $$";
    let ask = "do $$ begin set local transaction_read_only = on; insert into users (name) values ('Eve'); end $$";
    for _ in 0..4 {
        repo.execute(taint, &[]).await.unwrap();
        let error = repo.execute(ask, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{error:?}");
    }
    narrow.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    repo.insert(&NewUser::named("Grace")).await.unwrap();
}
