//! Writes whose triggers store something else than the call gave.

use homing::{Batch, Conflict};

use crate::fixture::{NewUser, User, World};

/// Rows whose name begins with `else` are stored in the table `kept` instead, and so are changes of such rows.
const TRIGGERS: &str = "
    create table kept (name text);
    create function keep() returns trigger language plpgsql as $$ begin
        insert into kept values (coalesce(new.name, old.name));
        return null;
    end $$;
    create trigger on_insert before insert on users for each row when (new.name like 'else%') execute function keep();
    create trigger on_change before update or delete on users for each row when (old.name like 'else%')
        execute function keep();";

async fn kept(world: &World) -> i64 {
    world
        .primary
        .query_one("with gone as (delete from kept returning 1) select count(*) from gone", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn row_stored_elsewhere_is_committed() {
    let world = World::shared().await;
    world.primary.batch_execute(TRIGGERS).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo();
        let new = |name: &str| NewUser::named(&format!("{name} {region}"));
        let error = repo.insert(&new("else")).await.unwrap_err();
        assert!(error.is_committed() && error.is_not_found() && !error.is_rejected(), "{error:?}");
        assert_eq!((kept(&world).await, world.users_on_primary().await), (1, 0));

        let mut error = repo.insert_all(&[new("Ada"), new("else"), new("Grace")]).await.unwrap_err();
        assert!(error.is_committed() && !error.is_not_found(), "{error:?}");
        assert!(error.to_string().contains("2 rows for the 3"), "{error}");
        assert_eq!(error.take_value::<Vec<User>>().unwrap().len(), 2);
        assert_eq!((kept(&world).await, world.users_on_primary().await), (1, 2));

        let conflict = Conflict::on(["name"]).update(["age"]);
        let error = repo.insert_or_update(&new("else"), &conflict).await.unwrap_err();
        assert!(error.is_committed() && error.is_not_found(), "{error:?}");
        let error = repo.insert_or_update_all(&[new("Ada"), new("else")], &conflict).await.unwrap_err();
        assert!(error.is_committed(), "{error:?}");
        let keep = Conflict::on(["name"]).update_nothing();
        let error = repo.insert_or_update(&new("else"), &keep).await.unwrap_err();
        assert!(error.is_committed() && error.is_not_found(), "{error:?}");
        assert!(error.to_string().contains("a trigger"), "{error}");
        assert_eq!((kept(&world).await, world.users_on_primary().await), (3, 2));
        world.primary.execute("truncate users", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn kept_row_is_not_a_missing_row() {
    let world = World::shared().await;
    let other = world.iad.repo().insert(&NewUser::named("else")).await.unwrap();
    world.primary.batch_execute(TRIGGERS).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo();
        for error in [repo.update(&other).await.unwrap_err(), repo.delete(&other).await.unwrap_err()] {
            assert!(error.is_committed() && error.is_not_found(), "{region}: {error:?}");
        }
        assert_eq!(kept(&world).await, 2);
        let missing = User { id: -1, name: "Nobody".into(), age: None };
        for error in [repo.update(&missing).await.unwrap_err(), repo.delete(&missing).await.unwrap_err()] {
            assert!(error.is_rejected() && error.is_not_found(), "{region}: {error:?}");
        }
        assert_eq!((kept(&world).await, world.users_on_primary().await), (0, 1));
    }
}

#[tokio::test]
async fn batch_with_kept_rows_is_undone() {
    let world = World::shared().await;
    world.primary.batch_execute(TRIGGERS).await.unwrap();
    for (region, node) in world.both() {
        let new = |name: &str| NewUser::named(&format!("{name} {region}"));
        let mut batch = Batch::new();
        batch.insert_all("users", [new("Ada"), new("else"), new("Grace")]).unwrap();
        let error = node.repo().batch(&batch).await.unwrap_err();
        assert!(error.is_rejected() && error.step() == Some("users"), "{error:?}");
        assert_eq!((kept(&world).await, world.users_on_primary().await), (0, 0));
    }
}
