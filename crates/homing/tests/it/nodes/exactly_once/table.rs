//! The table of outcomes: who may create it, what is in it, and how it is pruned.

use homing::outcome::Outcome;
use homing::{Node, migration_sql};
use tokio_postgres::Client;

use crate::fixture::{NewUser, Servers, World, in_iad};

async fn rows(client: &Client) -> i64 {
    client.query_one("select count(*) from homing.outcome", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn only_writes_leave_rows() {
    let world = World::shared().await;
    for (number, (region, node)) in (1..).zip(world.both()) {
        let repo = node.repo();
        repo.insert(&NewUser::named(region)).await.unwrap();
        repo.execute("update users set age = 1 where false", &[]).await.unwrap();
        repo.query("select nextval('users_id_seq')", &[]).await.unwrap();
        repo.query("select * from users", &[]).await.unwrap();
        repo.transaction(|tx| async move { tx.query("select 1", &[]).await }).await.unwrap();
        repo.execute("insert into users (name) values ($1)", &[&region]).await.unwrap_err();
        assert_eq!(rows(&world.primary).await, number, "{region}");
    }
}

/// The transaction may have any role, schema and search path.
#[tokio::test]
async fn narrow_roles_are_protected() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let role = format!("narrow_{}", world.database);
    let sql = format!(
        "create role {role}; create schema tenant; create table tenant.notes (note text);
         grant usage on schema tenant to {role}; grant insert on tenant.notes to {role}"
    );
    world.primary.batch_execute(&sql).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo().with_schema("tenant").unwrap().with_setting("role", &role).unwrap();
        let before = world.primary.query_one("select count(*) from tenant.notes", &[]).await.unwrap().get::<_, i64>(0);
        for _ in 0..2 {
            let repo = repo.with_key(region);
            assert_eq!(repo.execute("insert into notes values ($1)", &[&region]).await.unwrap(), 1, "{region}");
        }
        let after = world.primary.query_one("select count(*) from tenant.notes", &[]).await.unwrap().get::<_, i64>(0);
        assert_eq!(after, before + 1, "{region}");
    }
}

#[tokio::test]
async fn role_without_table_writes_at_most_once() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let role = format!("plain_{}", world.database);
    let sql = format!(
        "create role {role} login; grant insert, select on users to {role}; grant usage on sequence users_id_seq to {role}"
    );
    world.primary.batch_execute(&sql).await.unwrap();
    let as_role = |url: String| url.replace("postgres@", &format!("{role}@"));
    let mut config = servers.primary_config(&world.database);
    config.database_url = config.database_url.map(as_role);
    let start = async || {
        let iad = Node::with_config(config.clone()).start().await.unwrap();
        let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
        (iad, syd)
    };
    let (iad, syd) = start().await;
    for (region, node) in [("iad", &iad), ("syd", &syd)] {
        let repo = node.repo();
        repo.insert(&NewUser::named(region)).await.unwrap();
        let tx = |tx: homing::Repo| async move { tx.insert(&NewUser::named(&format!("{region} 2"))).await };
        repo.transaction(tx).await.unwrap();
        let error = repo.with_key("order 6").insert(&NewUser::named("Ada")).await.unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("migration_sql"), "{region}: {error:?}");
        let error = repo.with_key("order 6").transaction(tx).await.unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("migration_sql"), "{region}: {error:?}");
        assert!(repo.outcome("order 6").await.unwrap_err().is_misuse(), "{region}");
    }
    assert_eq!(world.users_on_primary().await, 4);

    // As an administrator would.
    world.primary.batch_execute(migration_sql()).await.unwrap();
    world.primary.batch_execute(migration_sql()).await.unwrap();
    let (iad, syd) = start().await;
    for (region, node) in [("iad", &iad), ("syd", &syd)] {
        let repo = node.repo();
        repo.with_key(region).insert(&NewUser::named(&format!("{region} 3"))).await.unwrap();
        assert_eq!(repo.outcome(region).await.unwrap(), Outcome::Committed);
    }
    assert_eq!(rows(&world.primary).await, 2);
}

/// Expired slots are emptied as a whole. Young keys stay, wherever they are.
#[tokio::test]
async fn expired_rows_are_pruned() {
    let world = World::shared().await;
    world.primary.batch_execute(migration_sql()).await.unwrap();
    let fill = "
        insert into homing.outcome (slot, key, fingerprint, at)
        select slot, gen_random_uuid(), 0, now() - age
        from generate_series(0, 8) as slot, unnest($1::text[]::interval[]) as age";
    let left = async |slot: i16| {
        let sql = "select count(*) from homing.outcome where slot = $1";
        world.primary.query_one(sql, &[&slot]).await.unwrap().get::<_, i64>(0)
    };
    let prune = async |slot: i16| world.primary.execute("select homing.prune($1)", &[&slot]).await.map(drop);
    world.primary.execute(fill, &[&vec!["16 minutes", "2 hours"]]).await.unwrap();
    prune(3).await.unwrap();
    prune(0).await.unwrap();
    assert_eq!((left(3).await, left(4).await, left(0).await), (0, 2, 2));
    world.primary.execute(fill, &[&vec!["14 minutes", "25 hours"]]).await.unwrap();
    prune(3).await.unwrap();
    prune(4).await.unwrap();
    prune(0).await.unwrap();
    assert_eq!((left(3).await, left(4).await, left(0).await), (1, 1, 3));

    let other = Servers::shared().await.primary.connect_to(&world.database).await.unwrap();
    other.batch_execute("begin; select from homing.outcome where slot = 5").await.unwrap();
    prune(5).await.unwrap_err();
    assert_eq!(left(5).await, 4, "a slot in use is left alone");
}

/// The first claim prunes the slot that comes next.
#[tokio::test]
async fn claims_prune_the_table() {
    let world = World::shared().await;
    world.primary.batch_execute(migration_sql()).await.unwrap();
    let fill = "insert into homing.outcome (slot, key, fingerprint, at)
                select slot, gen_random_uuid(), 0, now() - interval '2 days' from generate_series(0, 8) as slot";
    world.primary.execute(fill, &[]).await.unwrap();
    world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    homing_testbed::wait_until("two slots are pruned", async || rows(&world.primary).await == 8).await;
}

/// Somebody removes the schema under a running node.
#[tokio::test]
async fn removed_table_is_made_again() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        repo.insert(&NewUser::named(&format!("{region} 1"))).await.unwrap();
        world.primary.batch_execute("drop schema homing cascade").await.unwrap();
        repo.insert(&NewUser::named(&format!("{region} 2"))).await.unwrap();
        assert_eq!(rows(&world.primary).await, 1, "{region}");
    }
}
