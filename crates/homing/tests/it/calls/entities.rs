//! The calls with entities, in both regions.

use homing::error::SqlState;
use homing::report::Report;
use homing::{Aggregate, Conflict, Entity, Error, Insert, Repo};

use crate::fixture::{NewUser, PATIENCE, User, World, recorded};

fn user(name: &str, age: i32) -> NewUser {
    NewUser { name: name.into(), age: Some(age) }
}

/// The message of a misuse that was noticed before anything was sent.
fn misuse(error: &Error) -> String {
    assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn upsert_returns_stored_row() {
    let world = World::shared().await;
    let conflict = Conflict::on(["name"]);
    for (node, name) in [(&world.iad, "Ada"), (&world.syd, "Grace")] {
        let repo = node.repo();
        let first = repo.insert_or_update(&user(name, 36), &conflict).await.unwrap();
        let second = repo.insert_or_update(&user(name, 37), &conflict).await.unwrap();
        assert_eq!((second.id, second.age), (first.id, Some(37)));
        assert_eq!(repo.reload(&first).await.unwrap(), second);

        let constraint = Conflict::on_constraint("users_name_key").update(["age"]);
        let third = repo.insert_or_update(&user(name, 38), &constraint).await.unwrap();
        assert_eq!((third.id, third.age), (first.id, Some(38)));

        let kept = repo.insert_or_update(&user(name, 99), &conflict.clone().update_nothing()).await.unwrap();
        assert_eq!(kept, third);
        let new = repo.insert_or_update(&user(&format!("{name}'s"), 1), &conflict.clone().update_nothing()).await;
        assert_eq!(new.unwrap().age, Some(1));
    }
    assert_eq!(world.users_on_replica().await, 4);
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "visits")]
struct Visit {
    #[entity(key)]
    name: String,
    changes: i32,
}

#[derive(Debug, Insert)]
#[insert(into = Visit)]
struct NewVisit {
    name: &'static str,
}

#[tokio::test]
async fn update_nothing_runs_no_trigger() {
    let world = World::shared().await;
    let script = "create table visits (name text primary key, changes int not null default 0);
        create function count_changes() returns trigger language plpgsql as
            $$ begin new.changes := old.changes + 1; return new; end $$;
        create trigger count_changes before update on visits for each row execute function count_changes();";
    world.iad.repo().batch_execute(script).await.unwrap();
    for node in [&world.iad, &world.syd] {
        let repo = node.repo();
        // The conflict is on all written columns, so none is left to update.
        for conflict in [Conflict::on(["name"]), Conflict::on(["name"]).update_nothing()] {
            let visit = repo.insert_or_update(&NewVisit { name: "Ada" }, &conflict).await.unwrap();
            assert_eq!(visit, Visit { name: "Ada".into(), changes: 0 });
        }
    }
}

#[tokio::test]
async fn bulk_upsert_keeps_order() {
    let world = World::shared().await;
    for (node, first) in [(&world.iad, 0), (&world.syd, 20_000)] {
        let (repo, reports) = recorded(&node.repo().with_call_timeout(PATIENCE));
        let names = |range: std::ops::Range<i32>, age| {
            range.map(|number| user(&format!("user {}", first + number), age)).collect::<Vec<_>>()
        };
        let before = repo.insert_all(&names(0..5_000, 1)).await.unwrap();
        let conflict = Conflict::on(["name"]);
        let after = repo.insert_or_update_all(&names(0..10_000, 2), &conflict).await.unwrap();
        assert_eq!(after.len(), 10_000);
        assert!(after[..5_000].iter().zip(&before).all(|(after, before)| after.id == before.id));
        assert!(after.iter().enumerate().all(|(number, user)| user.name == format!("user {}", first + number as i32)));
        assert!(after.iter().all(|user| user.age == Some(2)));
        let Report { attempts, .. } = reports.last();
        assert!(attempts <= 1);

        let kept = repo.insert_or_update_all(&names(9_000..10_100, 3), &conflict.update_nothing()).await.unwrap();
        assert_eq!(kept[..1_000], after[9_000..]);
        assert!(kept[1_000..].iter().all(|user| user.age == Some(3)));
        let none: [NewUser; 0] = [];
        assert_eq!(repo.insert_or_update_all(&none, &Conflict::on(["name"])).await.unwrap(), []);
    }
}

#[tokio::test]
async fn rows_conflicting_among_themselves_are_rejected() {
    let world = World::shared().await;
    let twins = [user("Ada", 1), user("Ada", 2)];
    for node in [&world.iad, &world.syd] {
        let error = node.repo().insert_or_update_all(&twins, &Conflict::on(["name"])).await.unwrap_err();
        assert!(error.is_rejected(), "{error:?}");
        assert_eq!(error.code(), Some(&SqlState::CARDINALITY_VIOLATION));
        assert_eq!(world.users_on_primary().await, 0);
    }
    let twins = [user("Ada", 1), user("Grace", 2), user("Ada", 3)];
    let kept = world.syd.repo().insert_or_update_all(&twins, &Conflict::on(["name"]).update_nothing()).await.unwrap();
    assert_eq!(kept.iter().map(|user| user.age).collect::<Vec<_>>(), [Some(1), Some(2), Some(1)]);
}

#[tokio::test]
async fn concurrent_upserts_return_stored_row() {
    let world = World::shared().await;
    for conflict in [Conflict::on(["name"]), Conflict::on(["name"]).update_nothing()] {
        let name = format!("{conflict:?}");
        let writers: Vec<_> = (0..24)
            .map(|age| {
                let repo = if age % 2 == 0 { world.syd.repo() } else { world.iad.repo() };
                let (conflict, new) = (conflict.clone(), user(&name, age));
                tokio::spawn(async move { repo.insert_or_update(&new, &conflict).await.unwrap().id })
            })
            .collect();
        let mut ids = Vec::new();
        for writer in writers {
            ids.push(writer.await.unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{conflict:?}");
    }
    assert_eq!(world.users_on_primary().await, 2);
}

#[derive(Debug, Insert)]
#[insert(into = User)]
struct Unnamed {}

#[tokio::test]
async fn invalid_conflicts_fail_before_sending() {
    let world = World::shared().await;
    let none: [&str; 0] = [];
    let cases = [
        (Conflict::on(["nick"]), "users has no column \"nick\": its columns are id, name, age"),
        (Conflict::on(none), "Conflict::on names no column: name at least one"),
        (Conflict::on(["name", "name"]), "Conflict::on names the column \"name\" twice: name it once"),
        (Conflict::on_constraint(""), "the constraint of a conflict has an empty name: name one"),
        (
            Conflict::on(["name"]).update(["id"]),
            "the new row of users has no column \"id\", so there is no value to update it to: its columns are name, \
             age",
        ),
        (Conflict::on(["name"]).update(["age", "age"]), "update names the column \"age\" twice: name it once"),
        (
            Conflict::on(["name"]).update(none),
            "update names no column: use update_nothing to leave the stored row unchanged",
        ),
        (
            Conflict::on_constraint("users_name_key").update_nothing(),
            "without an update, the stored row is found by the columns of the conflict, and a constraint does not name \
             them: use Conflict::on",
        ),
        (
            Conflict::on(["id"]).update_nothing(),
            "without an update, the stored row is found by the columns of the conflict, and the new row of users has \
             no column \"id\": its columns are name, age",
        ),
    ];
    for node in [&world.iad, &world.syd] {
        for (conflict, expected) in &cases {
            let error = node.repo().insert_or_update(&user("Ada", 36), conflict).await.unwrap_err();
            assert_eq!(misuse(&error), *expected);
            let error = node.repo().insert_or_update_all(&[user("Ada", 36)], conflict).await.unwrap_err();
            assert_eq!(misuse(&error), *expected);
        }
        let error = node.repo().insert_or_update(&Unnamed {}, &Conflict::on(["name"])).await.unwrap_err();
        misuse(&error);
    }
    let unknown = Conflict::on_constraint("none \"of\" these");
    let error = world.syd.repo().insert_or_update(&user("Ada", 36), &unknown).await.unwrap_err();
    assert!(error.is_rejected() && error.code() == Some(&SqlState::UNDEFINED_OBJECT), "{error:?}");
    let error = world.syd.repo().insert_or_update(&user("Ada", 36), &Conflict::on(["age"])).await.unwrap_err();
    assert!(error.is_rejected() && error.code() == Some(&SqlState::INVALID_COLUMN_REFERENCE), "{error:?}");
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn condition_updates_and_deletes() {
    let world = World::shared().await;
    for (node, at) in [(&world.iad, "iad"), (&world.syd, "syd")] {
        let repo = node.repo();
        let new: Vec<_> = (0..100).map(|age| user(&format!("{at} {age}"), age)).collect();
        repo.insert_all(&new).await.unwrap();
        let pattern = format!("{at}%");
        let which = "where name like $2 and age >= $3";
        assert_eq!(repo.update_all::<User>("age = age + $1", which, &[&1000, &pattern, &90]).await.unwrap(), 10);
        assert_eq!(repo.count::<User>("where name like $1 and age >= 1090", &[&pattern]).await.unwrap(), 10);
        assert_eq!(repo.delete_all::<User>("where name like $1 and age > $2", &[&pattern, &1000]).await.unwrap(), 10);
        assert_eq!(repo.delete_all::<User>("where age = -1", &[]).await.unwrap(), 0);
        assert_eq!(repo.count::<User>("where name like $1", &[&pattern]).await.unwrap(), 90);
    }
    assert_eq!(world.syd.repo().update_all::<User>("age = 1", "", &[]).await.unwrap(), 180);
    assert_eq!(world.syd.repo().delete_all::<User>("", &[]).await.unwrap(), 180);
    for set in ["", " \n"] {
        misuse(&world.syd.repo().update_all::<User>(set, "", &[]).await.unwrap_err());
    }
}

/// Makes each call that takes raw SQL, with this suffix.
async fn with_suffix(repo: &Repo, suffix: &str) -> Vec<Result<i64, Error>> {
    vec![
        repo.all::<User>(suffix, &[]).await.map(|users| users.len() as i64),
        repo.one::<User>(suffix, &[]).await.map(|_| 1),
        repo.exists::<User>(suffix, &[]).await.map(i64::from),
        repo.count::<User>(suffix, &[]).await,
        repo.aggregate::<User, i64>(Aggregate::count("age"), suffix, &[]).await.map(Option::unwrap),
        repo.update_all::<User>("age = age -- ;)", suffix, &[]).await.map(u64::cast_signed),
        repo.delete_all::<User>(&format!("{suffix} -- '"), &[]).await.map(u64::cast_signed),
    ]
}

#[tokio::test]
async fn trailing_comment_hides_no_sql() {
    let world = World::shared().await;
    for (node, name) in [(&world.iad, "Ada"), (&world.syd, "Grace")] {
        let repo = node.repo();
        repo.insert(&user(name, 1)).await.unwrap();
        for outcome in with_suffix(&repo, "where age = 1 -- the young ones").await {
            assert_eq!(outcome.unwrap(), 1);
        }
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn second_statement_is_rejected() {
    let world = World::shared().await;
    world.syd.repo().insert(&user("Ada", 1)).await.unwrap();
    let suffixes =
        ["; delete from users", "where age = 1; truncate users; --", ") as rows; truncate users; --", "'", "/*"];
    for node in [&world.iad, &world.syd] {
        for suffix in suffixes {
            for outcome in with_suffix(&node.repo(), suffix).await {
                let error = outcome.unwrap_err();
                assert!(error.is_rejected(), "{suffix}: {error:?}");
                assert_eq!(error.code(), Some(&SqlState::SYNTAX_ERROR), "{suffix}: {error:?}");
            }
        }
        let error = node.repo().update_all::<User>("age = 2; truncate users", "", &[]).await.unwrap_err();
        assert!(error.is_rejected(), "{error:?}");
        let error = node.repo().delete_all::<User>("where pg_advisory_lock(1) is null", &[]).await.unwrap_err();
        misuse(&error);
    }
    assert_eq!(world.users_on_primary().await, 1);
}

#[tokio::test]
async fn reload_reads_current_row() {
    let world = World::shared().await;
    for node in [&world.iad, &world.syd] {
        let repo = node.repo();
        let ada = repo.insert(&user("Ada", 36)).await.unwrap();
        repo.update_all::<User>("age = 37", "where id = $1", &[&ada.id]).await.unwrap();
        assert_eq!(repo.reload(&ada).await.unwrap().age, Some(37));
        repo.delete(&ada).await.unwrap();
        let error = repo.reload(&ada).await.unwrap_err();
        assert!(error.is_not_found() && error.is_rejected(), "{error:?}");
    }
}
