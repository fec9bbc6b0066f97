//! A fleet whose nodes read their connection strings from files, while the password of the database is changed.

use std::path::Path;

use homing::{Config, Node};
use homing_testbed::{Fsync, Postgres, PostgresOptions, wait_until};

use crate::fixture::{NewUser, SECRET, User};

fn options(name: &str) -> PostgresOptions {
    Postgres::options().with_name(name).with_fsync(Fsync::Off).with_access("host all app 127.0.0.1/32 scram-sha-256\n")
}

/// Starts the node of a region. The file, with the connection string of its server, stands for `{file}`.
async fn start(file: &Path, variables: &[(&str, &str)]) -> Node {
    let path = file.to_str().unwrap();
    let always = [("HOMING_PRIMARY_REGION", "iad"), ("HOMING_SECRET", SECRET), ("HOMING_LISTEN", "127.0.0.1:0")];
    let variables = [variables, &always].concat();
    let lookup = |name: &str| {
        let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
        Some(value.replace("{file}", path))
    };
    Node::with_config(Config::from_lookup(&lookup).unwrap()).start().await.unwrap()
}

#[tokio::test]
async fn password_changes_while_nodes_run() {
    let primary = options("iad").start().await.unwrap();
    let client = primary.connect().await.unwrap();
    client
        .batch_execute(
            "create role app login password 'one';
             create table users (id bigserial primary key, name text not null, age int);
             grant all on all tables in schema public to app; grant all on all sequences in schema public to app",
        )
        .await
        .unwrap();
    let replica = options("syd").start_replica_of(&primary).await.unwrap();
    replica.caught_up_with(&primary).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, server: &Postgres, password: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("postgres://app:{password}@{}/postgres\n", server.address())).unwrap();
        path
    };
    let (of_primary, of_replica) = (write("primary", &primary, "one"), write("replica", &replica, "one"));

    let iad = start(&of_primary, &[("HOMING_REGION", "iad"), ("DATABASE_URL_FILE", "{file}")]).await;
    let peers = format!("iad={}", iad.local_addr().unwrap());
    let syd = [("HOMING_REGION", "syd"), ("HOMING_REPLICA_URL_FILE", "{file}"), ("HOMING_PEERS", &peers)];
    let syd = start(&of_replica, &syd).await;
    let write_and_read = async || {
        let repo = syd.repo();
        let ada = repo.insert(&NewUser::named("Ada")).await?;
        repo.get::<User>(ada.id).await
    };
    write_and_read().await.unwrap();
    let status = syd.repo().replicas().status();
    assert_eq!(status.iter().map(|status| &*status.name).collect::<Vec<_>>(), ["syd"]);

    client.batch_execute("alter role app password 'two'").await.unwrap();
    replica.caught_up_with(&primary).await.unwrap();
    write("primary", &primary, "two");
    write("replica", &replica, "two");
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
    let on_replica = replica.connect().await.unwrap();
    for client in [&client, &on_replica] {
        assert!(!client.query(cut, &[]).await.unwrap().is_empty());
    }
    wait_until("writes are read again", async || write_and_read().await.is_ok()).await;
    // The tracker has a connection of its own, and reads go to the replica.
    let open = "select count(distinct application_name) from pg_stat_activity where usename = 'app'";
    wait_until("the replica has new connections", async || {
        write_and_read().await.unwrap();
        on_replica.query_one(open, &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
}
