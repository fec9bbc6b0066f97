//! Reads of a replica, with TLS everywhere.

use homing_postgres::{Config, Options, ReplicaList, ReplicaSettings, Replicas, Repo, Role};
use homing_testbed::{Fsync, Postgres};

use super::server::{SecureServer, lonely, url};

/// The tracker has a connection of its own.
#[tokio::test]
async fn writes_are_read_over_tls() {
    let secure = SecureServer::start().await;
    let replica = Postgres::options().with_fsync(Fsync::Off).start_replica_of(&secure.server).await.unwrap();
    let full = format!("sslmode=verify-full&sslrootcert={}", secure.root.display());
    let primary = Config::new(secure.url("encrypted", &full), Role::Primary);
    let list = ReplicaList::parse(
        &format!("syd={}", url(&replica, "encrypted", &format!("host=db.example&{full}"))),
        "HOMING_REPLICA_URL",
    )
    .unwrap();
    let replicas = Replicas::start(Some(primary), &list, ReplicaSettings::default()).await.unwrap();
    let repo = Repo::new(lonely(), replicas, Options::default());
    let client = secure.server.connect().await.unwrap();
    client.batch_execute("create table notes (id int); grant all on notes to encrypted").await.unwrap();
    let reads = repo.replica("syd").unwrap();
    for id in 1..=20 {
        repo.execute("insert into notes values ($1)", &[&id]).await.unwrap();
        let row = reads.query_one("select max(id), pg_is_in_recovery() from notes", &[]).await.unwrap();
        assert_eq!((row.try_get::<_, i32>(0).unwrap(), row.try_get::<_, bool>(1).unwrap()), (id, true));
    }
    let tracked = "select count(*) from pg_stat_activity join pg_stat_ssl using (pid) \
                   where application_name = 'homing-tracker' and ssl";
    let tracked: i64 = replica.connect().await.unwrap().query_one(tracked, &[]).await.unwrap().get(0);
    assert_eq!(tracked, 1);
}

/// The list may name the server of the primary again, with less protection.
#[tokio::test]
async fn primary_keeps_its_encryption() {
    let secure = SecureServer::shared().await;
    // The address of the list is known before that of the name.
    let (port, root) = (secure.server.address().port(), secure.root.display());
    let url = format!("postgres://either@localhost:{port}/postgres?sslmode=verify-ca&sslrootcert={root}");
    let primary = Config::new(url, Role::Primary);
    let list = ReplicaList::parse(&secure.url("either", "sslmode=disable"), "HOMING_REPLICA_URL").unwrap();
    for _ in 0..4 {
        let replicas = Replicas::start(Some(primary.clone()), &list, ReplicaSettings::default()).await.unwrap();
        let repo = Repo::new(lonely(), replicas, Options::default());
        let sql = "select ssl, pg_notify('channel', '') from pg_stat_ssl where pid = pg_backend_pid()";
        let row = repo.transaction(async |repo| repo.query_one(sql, &[]).await).await.unwrap();
        assert!(row.try_get::<_, bool>(0).unwrap());
    }
}
