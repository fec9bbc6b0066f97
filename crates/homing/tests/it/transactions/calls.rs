//! Calls of every kind belong to the transaction of their handle: batches, streams, calls in a schema.

use homing::Batch;
use homing::error::SqlState;
use homing::transaction::TransactionOptions;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, count_users};

#[tokio::test]
async fn batch_is_part_of_transaction() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        let outside = &repo.session();
        let before = count_users(outside).await;
        let name = format!("Ada of {region}");
        let rolled_back: homing::Result<()> = repo
            .transaction(|tx| async move {
                let new = NewUser::named(&name);
                let mut batch = Batch::new();
                let ada = batch.insert("ada", &new)?;
                batch.execute(
                    "older",
                    "update users set age = age + 1 where id = $1",
                    homing::params![ada.column("id")],
                )?;
                let mut done = tx.batch(&batch).await?;
                let ada: User = done.take(&ada);
                assert_eq!(tx.reload(&ada).await?.age, Some(37));
                assert_eq!(count_users(outside).await, before, "nobody else sees it yet");
                Err(homing::Error::failed("on second thoughts"))
            })
            .await;
        assert!(rolled_back.unwrap_err().is_function_failed());
        assert_eq!(count_users(outside).await, before);
    }
}

#[tokio::test]
async fn failed_batch_spares_transaction() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        let kept = repo
            .transaction(|tx| async move {
                let kept = tx.insert(&NewUser::named(&format!("kept in {region}"))).await?;
                let gone = NewUser::named(&format!("gone in {region}"));
                let missing = User { id: -1, name: String::new(), age: None };
                let mut batch = Batch::new();
                batch.insert("gone", &gone)?;
                batch.update("nobody", &missing)?;
                let error = tx.batch(&batch).await.unwrap_err();
                assert_eq!(error.step(), Some("nobody"), "{error:?}");
                assert!(error.is_rejected() && error.is_not_found(), "{error:?}");
                assert_eq!(tx.count::<User>("where name = $1", &[&gone.name]).await?, 0);
                Ok(kept)
            })
            .await
            .unwrap();
        assert_eq!(repo.get::<User>(kept.id).await.unwrap(), Some(kept));
    }
}

#[tokio::test]
async fn batch_in_read_only_is_misuse() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let new = NewUser::named("Ada");
        let mut batch = Batch::new();
        batch.insert("ada", &new).unwrap();
        let batch = &batch;
        let refused = node
            .repo()
            .transaction_with(TransactionOptions::read_only(), |tx| async move { tx.batch(batch).await.map(drop) })
            .await;
        assert!(refused.unwrap_err().is_misuse());
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn stream_sees_writes_allows_calls() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let read = repo.transaction(|tx| async move {
            let names: Vec<_> = (0..1000).map(|number| NewUser::named(&format!("{number:04}"))).collect();
            tx.insert_all(&names).await?;
            let sql = "select name from users where age > $1 order by name -- all of them";
            let mut rows = tx.stream(sql, &[&18]).await?;
            let mut read = 0;
            while let Some(row) = rows.next().await {
                assert_eq!(row?.get::<_, String>("name"), format!("{read:04}"));
                if read % 300 == 0 {
                    tx.execute("update users set age = 1 where name = $1", &[&"0999"]).await?;
                }
                read += 1;
            }
            let mut none = tx.stream_all::<User>("where age > 1000", &[]).await?;
            assert!(none.next().await.is_none());
            tx.delete_all::<User>("", &[]).await?;
            Ok(read)
        });
        // A cursor sees the rows of the moment at which it was opened.
        assert_eq!(read.await.unwrap(), 1000);
    }
}

#[tokio::test]
async fn stream_ends_with_transaction() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let rows = repo.transaction(|tx| async move { tx.stream("select generate_series(1, 9999)", &[]).await });
        let mut rows = rows.await.unwrap();
        let error = rows.next().await.unwrap().unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("ended"), "{error}");
    }
}

#[tokio::test]
async fn schema_applies_to_its_handle() {
    let world = World::shared().await;
    let tenant = "create schema tenant; create table tenant.users (like public.users including all)";
    world.primary.batch_execute(tenant).await.unwrap();
    let servers = Servers::shared().await;
    for (region, node) in world.both() {
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
        let repo = node.repo();
        let tenant = repo.with_schema("tenant").unwrap();
        let (public_before, tenant_before) = (count_users(&repo).await, count_users(&tenant).await);
        repo.transaction(|tx| async move {
            let within = tx.with_schema("tenant")?;
            for number in 0..3 {
                within.insert(&NewUser::named(&format!("tenant {number} of {region}"))).await?;
                tx.insert(&NewUser::named(&format!("public {number} of {region}"))).await?;
            }
            // A rollback to a savepoint restores the search_path too.
            let undone: homing::Result<()> = tx
                .transaction(|level| async move {
                    level.with_schema("tenant")?.delete_all::<User>("", &[]).await?;
                    Err(homing::Error::failed("undo"))
                })
                .await;
            undone.unwrap_err();
            assert_eq!(count_users(&tx).await, public_before + 3);
            assert_eq!(count_users(&within).await, tenant_before + 3);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!((count_users(&repo).await, count_users(&tenant).await), (public_before + 3, tenant_before + 3));
        let begun_within = tenant.transaction(|tx| async move { Ok(count_users(&tx).await) });
        assert_eq!(begun_within.await.unwrap(), tenant_before + 3);
    }
}

#[tokio::test]
async fn unknown_schema_aborts_its_savepoint() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        repo.transaction(|tx| async move {
            let nested =
                tx.transaction(|level| async move { level.with_schema("nowhere")?.query("select 1", &[]).await });
            let error = nested.await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::INVALID_SCHEMA_NAME), "{error}");
            assert_eq!(tx.query_one("select 1", &[]).await?.get::<_, i32>(0), 1);
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn transaction_has_one_database() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let other = repo.transaction(|tx| async move {
        assert!(tx.with_database("").is_ok());
        tx.with_database("analytics").map(drop)
    });
    assert!(other.await.unwrap_err().is_misuse());
}

/// Other statements than a transaction keeps come and go.
#[tokio::test]
async fn used_statement_stays_prepared() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let prepared = "select prepare_time::text from pg_prepared_statements where statement = 'select 0'";
        repo.transaction(|tx| async move {
            tx.query("select 0", &[]).await?;
            let first: String = tx.query_one(prepared, &[]).await?.get(0);
            for number in 1..=300 {
                tx.query(&format!("select {number}"), &[]).await?;
                tx.query("select 0", &[]).await?;
            }
            assert_eq!(tx.query_one(prepared, &[]).await?.get::<_, String>(0), first, "{region}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
