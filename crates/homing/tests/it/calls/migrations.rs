//! Migrations under running nodes: their connections have prepared statements before, with other types.

use bytes::BytesMut;
use futures_util::future::try_join_all;
use homing::{Node, Repo, Result};
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World};

/// A value of an enum type of that name.
#[derive(Debug)]
struct Mood(&'static str);

impl ToSql for Mood {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "mood"
    }

    to_sql_checked!();
}

impl World {
    async fn migrate(&self, sql: &str) {
        self.primary.batch_execute(sql).await.unwrap();
        let servers = Servers::shared().await;
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
    }
}

/// Runs the calls of a closure on all connections of a pool, more or less: many at once, twice.
async fn everywhere<T>(node: &Node, call: impl AsyncFn(Repo) -> Result<T>) -> Vec<T> {
    let mut values = Vec::new();
    for _ in 0..2 {
        values.extend(try_join_all((0..12).map(|_| call(node.repo()))).await.unwrap());
    }
    values
}

#[tokio::test]
async fn added_column_appears_everywhere() {
    let world = World::shared().await;
    world.primary.batch_execute("create table notes (id bigserial, text text)").await.unwrap();
    world.migrate("insert into notes (text) values ('first')").await;
    let read =
        async |repo: Repo| Ok(repo.query_one("select * from notes where text = 'first'", &[]).await?.columns().len());
    let write = async |repo: Repo| {
        let row = repo.query_one("insert into notes (text) values ($1) returning *", &[&"more"]).await?;
        Ok(row.columns().len())
    };
    for (_, node) in world.both() {
        assert_eq!((everywhere(node, read).await, everywhere(node, write).await), (vec![2; 24], vec![2; 24]));
    }
    world.migrate("alter table notes add column more int").await;
    for (region, node) in world.both() {
        assert_eq!(everywhere(node, write).await, [3; 24], "{region}");
        assert_eq!(everywhere(node, read).await, [3; 24], "{region}");
    }
}

#[tokio::test]
async fn recreated_type_is_found_again() {
    let world = World::shared().await;
    world.migrate("create type mood as enum ('good'); create table moods (mood mood)").await;
    let write = async |repo: Repo| repo.execute("insert into moods values ($1)", &[&Mood("good")]).await;
    let read = async |repo: Repo| repo.query("select 1 from moods where mood = $1 limit 1", &[&Mood("good")]).await;
    for (_, node) in world.both() {
        everywhere(node, write).await;
        everywhere(node, read).await;
    }
    let rename = "alter type mood rename to mood_old; create type mood as enum ('good', 'bad');
                  alter table moods alter column mood type mood using mood::text::mood;";
    for step in [rename, "drop type mood_old"] {
        world.migrate(step).await;
        for (_, node) in world.both() {
            assert_eq!(everywhere(node, write).await, [1; 24], "after {step}");
            assert!(everywhere(node, read).await.iter().all(|rows| rows.len() == 1), "after {step}");
        }
    }
}

#[tokio::test]
async fn changed_type_of_column_is_learned() {
    let world = World::shared().await;
    world.migrate("create table numbers (n int)").await;
    let write = async |repo: Repo| repo.execute("insert into numbers values ($1)", &[&7_i64]).await;
    let read = async |repo: Repo| repo.query("select 1 from numbers where n = $1", &[&7_i64]).await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let errors = [write(repo.clone()).await.unwrap_err(), read(repo.clone()).await.unwrap_err()];
        assert!(errors.iter().all(|error| error.is_misuse() && error.is_not_sent()), "{errors:?}");
        let error = repo.stream("select 1 from numbers where n = $1", &[&7_i64]).await.map(drop).unwrap_err();
        assert!(error.is_misuse(), "{error:?}");
        everywhere(node, async |repo| repo.execute("insert into numbers values ($1)", &[&7]).await).await;
        everywhere(node, async |repo| repo.query("select 1 from numbers where n = $1", &[&7]).await).await;
    }
    world.migrate("alter table numbers alter column n type bigint").await;
    for (region, node) in world.both() {
        assert_eq!(everywhere(node, write).await, [1; 24], "{region}");
        everywhere(node, read).await;
        everywhere(node, async |repo| {
            repo.stream("select 1 from numbers where n = $1", &[&7_i64]).await?.next().await.unwrap()
        })
        .await;
        let within = |tx: Repo| async move { tx.execute("insert into numbers values ($1)", &[&7_i64]).await };
        node.repo().transaction(within).await.unwrap();
    }
}

/// The names of two columns change places, and the types stay.
#[tokio::test]
async fn renamed_columns_do_not_change_places() {
    let world = World::shared().await;
    world.migrate("create table pairs (a text, b text)").await;
    let write = async |repo: Repo| repo.query_one("insert into pairs values ('1', '2') returning *", &[]).await;
    let read = async |repo: Repo| repo.query_one("select * from pairs limit 1", &[]).await;
    let stream = async |repo: Repo| {
        repo.transaction(|tx| async move { tx.stream("select * from pairs", &[]).await?.next().await.unwrap() }).await
    };
    for (_, node) in world.both() {
        everywhere(node, write).await;
        everywhere(node, read).await;
        stream(node.repo()).await.unwrap();
    }
    world
        .migrate("alter table pairs rename a to c; alter table pairs rename b to a; alter table pairs rename c to b")
        .await;
    for (region, node) in world.both() {
        let mut rows = [everywhere(node, write).await, everywhere(node, read).await].concat();
        rows.push(stream(node.repo()).await.unwrap());
        assert!(rows.iter().all(|row| row.get::<_, &str>("a") == "2"), "{region}");
    }
}

/// Three nodes read and write all the time while columns are added.
#[tokio::test]
async fn added_columns_fail_no_call() {
    let world = World::shared().await;
    let other = Servers::shared().await.replica_node(&world.database, world.peers()).await;
    let (done, _) = watch::channel(());
    let rounds: Vec<_> = [("iad", &world.iad), ("syd", &world.syd), ("other", &other)]
        .into_iter()
        .flat_map(|(region, node)| [(format!("{region} 1"), node.repo()), (format!("{region} 2"), node.repo())])
        .map(|(name, repo)| {
            let (rounds, seen) = watch::channel(0);
            let ended = done.subscribe();
            let load = async move {
                while ended.has_changed().is_ok() {
                    let round = *rounds.borrow();
                    one_round(&repo.with_call_timeout(PATIENCE), &name, round).await?;
                    rounds.send_modify(|rounds| *rounds += 1);
                }
                Ok(())
            };
            let load: JoinHandle<Result<()>> = tokio::spawn(load);
            (load, seen)
        })
        .collect();
    for number in 0..8 {
        world.migrate(&format!("alter table users add column more_{number} int")).await;
        for (_, seen) in &rounds {
            let (mut seen, before) = (seen.clone(), *seen.borrow());
            // The load ends with the first call that fails.
            let _ = seen.wait_for(|now| *now > before + 3).await;
        }
    }
    drop(done);
    for (load, _) in rounds {
        load.await.unwrap().unwrap();
    }
}

async fn one_round(repo: &Repo, name: &str, round: u32) -> Result<()> {
    let user = repo.insert(&NewUser::named(&format!("{name}, {round}"))).await?;
    assert_eq!(repo.get::<User>(user.id).await?.as_ref(), Some(&user));
    let sql = "insert into users (name) values ($1) returning *";
    let row = repo.query_one(sql, &[&format!("{name}, {round}, too")]).await?;
    let read = repo.query_one("select * from users where id = $1", &[&row.get::<_, i64>("id")]).await?;
    assert_eq!(read.get::<_, &str>("name"), row.get::<_, &str>("name"));
    Ok(())
}
