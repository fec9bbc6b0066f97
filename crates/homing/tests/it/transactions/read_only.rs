//! Read-only transactions: one snapshot of the local replica.

use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::transaction::{Access, Isolation, TransactionOptions};

use crate::fixture::{NewUser, Servers, User, World, config, in_iad, recorded, start};

#[tokio::test]
async fn it_is_one_local_snapshot() {
    let world = World::shared().await;
    let servers = Servers::shared().await;
    let (repo, reports) = recorded(&world.syd.repo());
    let ada = repo.insert(&NewUser::named("Ada")).await.unwrap();
    let (sink, writer, id) = (reports.clone(), world.syd.repo(), ada.id);
    repo.transaction_with(TransactionOptions::read_only(), |tx| async move {
        assert!(tx.get::<User>(id).await?.is_some(), "it sees what its session wrote");
        assert_eq!(sink.last().answered_by, AnsweredBy::Local);
        // Its own write waits until the replica has replayed it.
        writer.insert(&NewUser::named("Grace")).await?;
        assert_eq!(writer.count::<User>("", &[]).await?, 2);
        assert_eq!(tx.count::<User>("", &[]).await?, 1, "the snapshot is older");
        assert_eq!(tx.query("select * from users", &[]).await?.len(), 1);
        assert_eq!(sink.last().answered_by, AnsweredBy::Local);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 2);
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
}

#[tokio::test]
async fn write_fails_before_sending() {
    let world = World::shared().await;
    world.primary.batch_execute("create sequence tickets").await.unwrap();
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    for node in [&world.iad, &world.syd] {
        let (repo, reports) = recorded(&node.repo());
        let sink = reports.clone();
        repo.transaction_with(TransactionOptions::read_only(), |tx| async move {
            let error = tx.insert(&NewUser::named("Ada")).await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent() && error.to_string().contains("only reads"), "{error}");
            let error = tx.query("select pg_advisory_xact_lock(1)", &[]).await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
            assert_eq!(sink.count(), 0, "nothing was sent");
            tx.query("select 1", &[]).await
        })
        .await
        .unwrap();

        // Homing learns from PostgreSQL that this statement writes.
        let sql = "select nextval('tickets')";
        let error = repo
            .transaction_with(TransactionOptions::read_only(), |tx| async move {
                tx.query(sql, &[]).await.inspect_err(|first| {
                    assert_eq!(first.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
                })
            })
            .await
            .unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("only reads"), "{error}");
        repo.transaction_with(TransactionOptions::read_only(), |tx| async move {
            let error = tx.query(sql, &[]).await.unwrap_err();
            assert!(error.is_misuse() && error.db().is_none(), "it is remembered: {error:?}");
            tx.query("select 1", &[]).await
        })
        .await
        .unwrap();
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn primary_runs_it_without_replica() {
    let world = World::shared().await;
    let peers = world.peers();
    let mut settings = config("ams");
    settings.discover = std::sync::Arc::new(peers);
    let ams = start(settings).await.unwrap();
    let serializable = TransactionOptions::read_only().with_isolation(Isolation::Serializable);
    for (node, options) in [(&ams, TransactionOptions::read_only()), (&world.syd, serializable)] {
        let (repo, reports) = recorded(&node.repo());
        repo.transaction_with(options, |tx| async move {
            tx.query("select 1", &[]).await?;
            assert!(tx.insert(&NewUser::named("Ada")).await.unwrap_err().is_misuse());
            let error = tx.execute("insert into users (name) values ('Ada')", &[]).await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
            Ok(())
        })
        .await
        .unwrap_err();
        assert!(matches!(reports.last_success().answered_by, AnsweredBy::Peer(_)));
    }
}

#[tokio::test]
async fn lagging_session_snapshots_primary() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(std::time::Duration::from_millis(200)));
    servers.replica.pause_replay().await.unwrap();
    let ada = repo.insert(&NewUser::named("Ada")).await.unwrap();
    let sink = reports.clone();
    repo.transaction_with(TransactionOptions::read_only(), |tx| async move {
        assert!(tx.get::<User>(ada.id).await?.is_some());
        assert!(matches!(sink.last().answered_by, AnsweredBy::Peer(_)));
        Ok(())
    })
    .await
    .unwrap();
    servers.replica.resume_replay().await.unwrap();
}

/// Nodes that connect after the default was set; single writes and transactions agree on it.
#[tokio::test]
async fn read_only_default_of_database_stands() {
    let (world, servers) = (World::shared().await, Servers::shared().await);
    let freeze = format!("alter database {} set default_transaction_read_only = on", world.database);
    world.primary.batch_execute(&freeze).await.unwrap();
    let iad = servers.primary_node(&world.database).await;
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    for (stored, region, node) in [(0, "iad", &iad), (1, "syd", &syd)] {
        let repo = node.repo();
        let alone = repo.insert(&NewUser::named("Ada")).await.unwrap_err();
        let within = repo.transaction(|tx| async move { tx.insert(&NewUser::named("Ada")).await }).await.unwrap_err();
        for error in [alone, within] {
            assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{region}: {error:?}");
            assert!(error.is_rejected(), "{region}: {error:?}");
        }
        assert_eq!(world.users_on_primary().await, stored);
        let asked = TransactionOptions::default().with_access(Access::ReadWrite);
        repo.transaction_with(asked, |tx| async move { tx.insert(&NewUser::named(region)).await }).await.unwrap();
    }
    assert_eq!(world.users_on_primary().await, 2);
}
