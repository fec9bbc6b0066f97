//! Statements that carry the claim of their key.

use homing::{Node, migration_sql};
use tokio_postgres::Client;

use crate::fixture::{NewUser, Servers, User, World, in_iad};

/// Notes the text of each statement that changes users.
const NOTING: &str = "
    create table notes (text text);
    create function note() returns trigger language plpgsql as $$
        begin insert into notes values (current_query()); return null; end $$;
    create trigger note after insert or update or delete on users for each row execute function note();";

/// Returns how many statements carried their claim, and how many did not.
async fn noted(client: &Client) -> (i64, i64) {
    let sql = "select count(*) filter (where text ilike 'with homing_rows%'), count(*) from notes";
    let row = client.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get::<_, i64>(1) - row.get::<_, i64>(0))
}

async fn keys(client: &Client) -> i64 {
    client.query_one("select count(*) from homing.outcome", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn returning_writes_carry_their_claims() {
    let world = World::shared().await;
    world.primary.batch_execute(NOTING).await.unwrap();
    for (number, (region, node)) in (1..).zip(world.both()) {
        let repo = node.repo();
        let ada: User = repo.insert(&NewUser::named(region)).await.unwrap();
        let kept = "select count(*) from homing.outcome where position(convert_to($1, 'UTF8') in result) > 0";
        assert_eq!(world.primary.query_one(kept, &[&region]).await.unwrap().get::<_, i64>(0), 1, "{region}");
        let older: User = repo.update(&User { age: Some(36), ..ada }).await.unwrap();
        assert_eq!(older.age, Some(36), "{region}");
        let sql =
            "insert into users (name, age) select name || $1, 1 from users where id = $2 returning name, age, age";
        let rows = repo.query(sql, &[&" again", &older.id]).await.unwrap();
        assert_eq!((rows.len(), rows[0].get::<_, String>(0)), (1, format!("{region} again")));
        assert_eq!(repo.query("delete from users returning id -- all", &[]).await.unwrap().len(), 2, "{region}");
        assert_eq!(repo.execute("insert into users (name) values ($1)", &[&region]).await.unwrap(), 1);
        repo.execute("delete from users", &[]).await.unwrap();
        assert_eq!(noted(&world.primary).await, (5 * number, 2 * number), "{region}");
        assert_eq!(keys(&world.primary).await, 6 * number, "{region}");
    }
}

/// Without a row, only a trigger for the end of the statement may write after the claim.
#[tokio::test]
async fn late_trigger_makes_empty_writes_claim() {
    let world = World::shared().await;
    world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let update = "update users set age = 1 where false returning id";
    for (_, node) in world.both() {
        assert_eq!(node.repo().query(update, &[]).await.unwrap().len(), 0);
    }
    assert_eq!(keys(&world.primary).await, 1);
    let late = "create table audit (at timestamptz);
        create function audit() returns trigger language plpgsql as $$
            begin insert into audit values (now()); return null; end $$;
        create trigger audit after update on users execute function audit();";
    world.primary.batch_execute(late).await.unwrap();
    for (number, (region, node)) in (1..).zip(world.both()) {
        assert_eq!(node.repo().query(update, &[]).await.unwrap().len(), 0, "{region}");
        let audited: i64 = world.primary.query_one("select count(*) from audit", &[]).await.unwrap().get(0);
        assert_eq!((audited, keys(&world.primary).await), (number, number + 1), "{region}");
    }
}

/// PostgreSQL takes no such table within another statement.
#[tokio::test]
async fn table_with_rule_is_written_in_block() {
    let world = World::shared().await;
    let rule = "create table doubled (name text);
        create rule doubled as on insert to users do also insert into doubled values (new.name)";
    world.primary.batch_execute(rule).await.unwrap();
    world.primary.batch_execute(NOTING).await.unwrap();
    for (number, (region, node)) in (1..).zip(world.both()) {
        let user: User = node.repo().insert(&NewUser::named(region)).await.unwrap();
        assert_eq!(user.name, region);
        assert_eq!((noted(&world.primary).await, keys(&world.primary).await), ((0, number), number), "{region}");
    }
}

#[tokio::test]
async fn own_duplicate_is_told_from_claim() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        node.repo().insert(&NewUser::named(region)).await.unwrap();
        let error = node.repo().insert(&NewUser::named(region)).await.unwrap_err();
        assert!(error.is_rejected(), "{region}: {error:?}");
        assert_eq!(error.db().unwrap().constraint(), Some("users_name_key"), "{region}");
    }
    assert_eq!((world.users_on_primary().await, keys(&world.primary).await), (2, 2));
}

/// A table that an older version made lets nobody insert.
#[tokio::test]
async fn role_without_insert_calls_functions() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let role = format!("functions_{}", world.database);
    let sql = format!(
        "{}; {NOTING}
         create role {role} login; grant insert, select, update on users to {role}; grant usage on sequence users_id_seq to {role};
         grant insert on notes to {role}",
        migration_sql()
    );
    world.primary.batch_execute(&sql).await.unwrap();
    let mut config = servers.primary_config(&world.database);
    config.database_url = config.database_url.map(|url| url.replace("postgres@", &format!("{role}@")));
    let iad = Node::with_config(config).start().await.unwrap();
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    let slots: Vec<String> = (1..=8).map(|slot| format!("homing.outcome_{slot}")).collect();
    let may_not = format!("revoke insert (slot, key, fingerprint, result) on {} from public", slots.join(", "));
    for (may, carried, alone) in [(true, 2, 0), (false, 2, 2)] {
        if !may {
            world.primary.batch_execute(&may_not).await.unwrap();
        }
        for (region, node) in [("iad", &iad), ("syd", &syd)] {
            node.repo().insert(&NewUser::named(&format!("{region} {may}"))).await.unwrap();
        }
        assert_eq!(noted(&world.primary).await, (carried, alone));
        assert_eq!(keys(&world.primary).await, carried + alone);
    }
    let client = world.primary;
    client.batch_execute(&format!("set role {role}")).await.unwrap();
    for sql in [
        "select from homing.outcome_1",
        "delete from homing.outcome_1",
        "insert into homing.outcome_1 (at) values (now())",
    ] {
        client.batch_execute(sql).await.unwrap_err();
    }
}
