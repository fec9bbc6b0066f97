//! Batches: named steps, one transaction, one round trip.

use homing::batch::Step;
use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::{Batch, Entity, Error, Insert, Repo, params};
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, recorded, start, wait_until_running};

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "books")]
struct Book {
    #[entity(key)]
    id: i64,
    author_id: i64,
    title: String,
}

/// The author comes from another step.
#[derive(Debug, Insert)]
#[insert(into = Book)]
struct NewBook {
    title: String,
}

async fn world() -> World {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create table books (id bigserial primary key, title text not null,
                                 author_id bigint not null references users deferrable);
             create table counters (author_id bigint primary key, books bigint not null);
             create table small (id int primary key, name varchar)",
        )
        .await
        .unwrap();
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    world
}

fn both(world: &World) -> [(&'static str, Repo); 2] {
    world.both().map(|(name, node)| (name, node.repo()))
}

async fn rows_on_primary(world: &World) -> i64 {
    let sql = "select (select count(*) from users) + (select count(*) from books) + (select count(*) from counters)";
    world.primary.query_one(sql, &[]).await.unwrap().get(0)
}

/// The step is misuse, which is reported before anything is sent.
fn assert_refused(error: &Error, step: &str, expected: &str) {
    assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
    assert_eq!(error.step(), Some(step), "{error:?}");
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn steps_use_columns_of_earlier_steps() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let (repo, reports) = recorded(&repo);
        let title = "Sketch".to_owned();
        let mut batch = Batch::new();
        let author = batch.insert("author", NewUser::named(name)).unwrap();
        let book =
            batch.insert_with("book", NewBook { title: "Notes".into() }, [("author_id", author.column("id"))]).unwrap();
        let sql = "insert into books (title, author_id) values ($1, $2) returning id, title";
        let other = batch.query_one("other", sql, params![&title, author.column("id")]).unwrap();
        let counter = batch
            .execute("counter", "insert into counters values ($1, $2)", params![author.column("id"), 2_i64])
            .unwrap();
        let sql = "select title from books where author_id = $1 and id >= $2 order by id";
        let titles = batch.query("titles", sql, params![author.column("id"), book.column("id")]).unwrap();
        batch.expect_rows(&titles, 2).unwrap();

        let mut results = repo.batch(&batch).await.unwrap();
        let author: User = results.take(&author);
        let book: &Book = results.get(&book);
        assert_eq!((author.name.as_str(), author.id), (name, book.author_id));
        assert_eq!(results.get(&other).get::<_, &str>("title"), "Sketch");
        assert_eq!(*results.get(&counter), 1);
        let titles: Vec<String> = results.get(&titles).iter().map(|row| row.get(0)).collect();
        assert_eq!(titles, ["Notes", "Sketch"], "{name}");
        assert_eq!(reports.last().operation, "batch");
        assert_eq!(repo.get::<User>(author.id).await.unwrap(), Some(author), "it is waited for");
    }
}

#[tokio::test]
async fn steps_insert_update_delete_entities() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let old = repo.insert(&NewUser::named(&format!("{name} old"))).await.unwrap();
        let kept = repo.insert(&NewUser::named(&format!("{name} kept"))).await.unwrap();
        let changed = User { name: format!("{name} changed"), ..kept };
        let names: Vec<_> = (0..5).map(|number| NewUser::named(&format!("{name} {number}"))).collect();
        let mut batch = Batch::new();
        let all = batch.insert_all("all", &names).unwrap();
        let none = batch.insert_all("none", Vec::<NewUser>::new()).unwrap();
        let deleted = batch.delete("deleted", &old).unwrap();
        let updated = batch.update("updated", &changed).unwrap();
        let sql = "select length($1::text)";
        let length = batch.query_one("length", sql, params![updated.column("name")]).unwrap();
        let aged = batch.update_with("aged", &changed, [("age", length.column("length"))]).unwrap();

        let results = repo.batch(&batch).await.unwrap();
        assert_eq!(results.get(&all).len(), 5);
        assert!(results.get(&none).is_empty());
        assert_eq!(results.get(&deleted), &old);
        assert_eq!(results.get(&updated), &changed);
        assert_eq!(results.get(&aged).age, Some(i32::try_from(changed.name.len()).unwrap()));
        assert_eq!(repo.get::<User>(old.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn failed_step_is_named_rolls_back() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let before = rows_on_primary(&world).await;
        let mut batch = Batch::new();
        let author = batch.insert("author", NewUser::named(name)).unwrap();
        batch.insert("again", NewUser::named(name)).unwrap();
        batch.insert_with("book", NewBook { title: "T".into() }, [("author_id", author.column("id"))]).unwrap();
        let error = repo.batch(&batch).await.unwrap_err();
        assert!(error.is_rejected(), "{name}: {error:?}");
        assert_eq!((error.step(), error.code()), (Some("again"), Some(&SqlState::UNIQUE_VIOLATION)), "{name}");
        assert!(error.to_string().starts_with("step \"again\": "), "{error}");
        assert_eq!(rows_on_primary(&world).await, before);
    }
}

#[tokio::test]
async fn failed_commit_names_no_step() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let mut batch = Batch::new();
        batch.execute("deferred", "set constraints all deferred", []).unwrap_err();
        batch.insert("user", NewUser::named(name)).unwrap();
        let sql = "create table late (id bigint references users deferrable initially deferred)";
        repo.execute(&sql.replace("late", &format!("late_{name}")), &[]).await.unwrap();
        batch.execute("late", format!("insert into late_{name} values (-1)"), []).unwrap();
        let error = repo.batch(&batch).await.unwrap_err();
        assert_eq!((error.step(), error.code()), (None, Some(&SqlState::FOREIGN_KEY_VIOLATION)), "{error:?}");
        assert!(error.is_rejected());
        assert_eq!(world.users_on_primary().await, 0);
    }
}

#[tokio::test]
async fn missing_row_rolls_back_batch() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let missing = User { id: -1, name: "nobody".into(), age: None };
        type Fails = fn(&mut Batch<'static>) -> Result<(), Error>;
        let steps: [Fails; 4] = [
            |batch| batch.query_one("fails", "select 1 where false", []).map(drop),
            |batch| {
                let step = batch.execute("fails", "update users set age = 1 where id = $1", params![-1_i64])?;
                batch.expect_rows(step, 1)
            },
            |batch| {
                let none = batch.query("none", "select id from users where id = -1", [])?;
                batch.execute("fails", "insert into counters values ($1, 1)", params![none.column("id")]).map(drop)
            },
            |batch| {
                let none = batch.execute("none", "update users set age = 1 where id = -1 returning id", [])?;
                batch.insert_with("fails", NewBook { title: "T".into() }, [("author_id", none.column("id"))]).map(drop)
            },
        ];
        for (number, step) in steps.into_iter().enumerate() {
            let mut batch = Batch::new();
            batch.insert("first", NewUser::named(name)).unwrap();
            step(&mut batch).unwrap();
            let error = repo.batch(&batch).await.unwrap_err();
            assert!(error.is_not_found() && error.is_rejected() && !error.is_committed(), "{number}: {error:?}");
            assert_eq!(error.step(), Some("fails"), "{number}");
        }
        let mut batch = Batch::new();
        batch.insert("first", NewUser::named(name)).unwrap();
        batch.update("fails", &missing).unwrap();
        let error = repo.batch(&batch).await.unwrap_err();
        assert!(error.is_not_found() && error.step() == Some("fails"), "{error:?}");
        let mut batch = Batch::new();
        batch.delete("alone", &missing).unwrap();
        let error = repo.batch(&batch).await.unwrap_err();
        assert!(error.is_not_found() && error.step() == Some("alone"), "{error:?}");
        assert_eq!(rows_on_primary(&world).await, 0);
    }
}

#[tokio::test]
async fn unexpected_row_count_rolls_back() {
    let world = world().await;
    for (name, repo) in both(&world) {
        for (expected, too_many) in [(1, true), (3, false)] {
            let mut batch = Batch::new();
            let sql = "insert into users (name) values ($1), ($1 || '2')";
            let step = batch.execute("two", sql, params![name]).unwrap();
            batch.expect_rows(&step, expected).unwrap();
            let error = repo.batch(&batch).await.unwrap_err();
            assert!(error.is_rejected() && error.step() == Some("two"), "{error:?}");
            assert_eq!(error.is_too_many_rows(), too_many, "{error:?}");
            assert!(error.to_string().contains("found 2"), "{error}");
        }
        assert_eq!(world.users_on_primary().await, 0);
    }
}

#[tokio::test]
async fn wrong_steps_fail_when_added() {
    let user = User { id: 1, name: "Ada".into(), age: None };
    let mut other = Batch::new();
    let stranger = other.insert("author", NewUser::named("Ada")).unwrap();
    let mut batch = Batch::new();
    let author = batch.insert("author", NewUser::named("Ada")).unwrap();
    let none = batch.insert_all("none", Vec::<NewUser>::new()).unwrap();
    let book = || NewBook { title: "T".into() };

    let refused: [(Error, &str, &str); 9] = [
        (batch.insert("author", NewUser::named("B")).unwrap_err(), "author", "already"),
        (batch.execute("a", "select $1", params![stranger.column("id")]).unwrap_err(), "a", "another batch"),
        (batch.execute("b", "select $1", params![author.column("nme")]).unwrap_err(), "b", "id, name, age"),
        (batch.execute("c", "select $1", params![none.column("id")]).unwrap_err(), "c", "\"none\" stores no rows"),
        (batch.execute("d", "begin", []).unwrap_err(), "d", "BEGIN"),
        (batch.insert_with("e", book(), [("auhtor_id", author.column("id"))]).unwrap_err(), "e", "auhtor_id"),
        (batch.insert_with("f", book(), [("id", 1.into()), ("id", 2.into())]).unwrap_err(), "f", "twice"),
        (batch.update_with("g", &user, [("id", author.column("id"))]).unwrap_err(), "g", "key"),
        (batch.expect_rows(&none, 1).unwrap_err(), "none", "insert_all"),
    ];
    for (error, step, expected) in &refused {
        assert_refused(error, step, expected);
    }
    let error = batch.column("later", "id").unwrap_err();
    assert!(error.is_misuse() && error.to_string().contains("no step named \"later\" yet"), "{error}");
    assert!(batch.expect_rows(&stranger, 1).unwrap_err().is_misuse());
    assert_eq!(batch.len(), 2, "what was refused was not added");
    let by_name = batch.column("author", "id").unwrap();
    batch.execute("by name", "select $1::bigint", [by_name]).unwrap();
}

#[tokio::test]
async fn wrong_types_fail_before_sending() {
    let world = world().await;
    for (_, repo) in both(&world) {
        let (repo, reports) = recorded(&repo);
        repo.query("select 1", &[]).await.unwrap();
        type Wrong = fn(&mut Batch<'static>, &Step<User>) -> Result<(), Error>;
        let wrong: [(Wrong, &str); 6] = [
            (
                |batch, author| {
                    batch.execute("it", "insert into small values ($1)", params![author.column("id")]).map(drop)
                },
                "parameter $1 has PostgreSQL's type int4, but column \"id\" of step \"author\" is int8: cast the parameter, as \
                 in $1::int8",
            ),
            (|batch, _| batch.execute("it", "insert into small values ($1)", params!["seven"]).map(drop), "int4"),
            (
                |batch, _| batch.execute("it", "insert into small values ($1)", []).map(drop),
                "takes 1, the call gives 0",
            ),
            (|batch, _| batch.execute("it", "select 1", params![1]).map(drop), "takes 0, the call gives 1"),
            (
                |batch, _| {
                    let rows = batch.query("rows", "select 1 as one, 2 as two", [])?;
                    batch.execute("it", "select $1::int", params![rows.column("three")]).map(drop)
                },
                "the result of step \"rows\": column \"three\" does not exist: the row has one, two",
            ),
            (
                |batch, _| {
                    let rows = batch.execute("rows", "update users set age = 1", [])?;
                    batch.execute("it", "select $1::int", params![rows.column("id")]).map(drop)
                },
                "returning",
            ),
        ];
        for (wrong, expected) in wrong {
            let mut batch = Batch::new();
            let author = batch.insert("author", NewUser::named("Ada")).unwrap();
            wrong(&mut batch, &author).unwrap();
            assert_refused(&repo.batch(&batch).await.unwrap_err(), "it", expected);
        }
        let mut batch = Batch::new();
        batch.execute("it", "selec 1", []).unwrap();
        let error = repo.batch(&batch).await.unwrap_err();
        assert_eq!((error.step(), error.code()), (Some("it"), Some(&SqlState::SYNTAX_ERROR)), "{error:?}");
        assert_eq!(reports.last_success().operation, "query", "no batch was run");
        assert_eq!(world.users_on_primary().await, 0);
    }
}

#[tokio::test]
async fn text_types_pass_between_steps() {
    let world = world().await;
    world
        .primary
        .batch_execute("create domain title as text check (value <> ''); create table t (t title)")
        .await
        .unwrap();
    Servers::shared().await.replica.caught_up_with(&Servers::shared().await.primary).await.unwrap();
    for (name, repo) in both(&world) {
        let mut batch = Batch::new();
        let user = batch.insert("user", NewUser::named(name)).unwrap();
        let id = params![i32::from(name == "iad"), user.column("name")];
        let small = batch.query_one("small", "insert into small values ($1, $2) returning name", id).unwrap();
        let sql = "insert into t values ($1) returning t";
        let title = batch.query_one("title", sql, params![small.column("name")]).unwrap();
        let back =
            batch.query_one("back", "select $1::title, $2::varchar", params![title.column("t"), title.column("t")]);
        let back = back.unwrap();
        let results = repo.batch(&batch).await.unwrap();
        assert_eq!(results.get(&back).get::<_, &str>(1), name);
    }
}

#[tokio::test]
async fn null_passes_between_steps() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let mut batch = Batch::new();
        let ageless = batch.insert("ageless", NewUser { name: name.into(), age: None }).unwrap();
        let sql = "select $1::int is null";
        let null = batch.query_one("null", sql, params![ageless.column("age")]).unwrap();
        let results = repo.batch(&batch).await.unwrap();
        assert!(results.get(&null).get::<_, bool>(0));
    }
}

#[tokio::test]
async fn empty_batch_needs_no_round_trip() {
    let node = start(crate::fixture::config("syd")).await.unwrap();
    let mut batch = Batch::new();
    node.repo().batch(&batch).await.unwrap();
    let none = batch.insert_all("none", Vec::<NewUser>::new()).unwrap();
    assert!(node.repo().batch(&batch).await.unwrap().get(&none).is_empty());
    batch.insert("one", NewUser::named("Ada")).unwrap();
    assert!(node.repo().batch(&batch).await.unwrap_err().is_not_sent(), "nobody is there");
}

#[tokio::test]
async fn batch_may_run_again() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let mut batch = Batch::new();
        let sql = "insert into users (name) select $1 || count(*) from users returning id";
        let user = batch.query_one("user", sql, params![name]).unwrap();
        let first: i64 = repo.batch(&batch).await.unwrap().take(&user).get("id");
        let second: i64 = repo.batch(&batch).await.unwrap().take(&user).get("id");
        assert!(second > first);
    }
}

#[tokio::test]
async fn ten_thousand_steps_are_one_request() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let (repo, reports) = recorded(&repo.with_call_timeout(PATIENCE));
        let mut batch = Batch::new();
        let mut last = batch.query_one("0", "select 0::bigint as n", []).unwrap();
        for number in 1..10_000 {
            let sql = "select $1::bigint + 1 as n";
            last = batch.query_one(number.to_string(), sql, params![last.column("n")]).unwrap();
        }
        let results = repo.batch(&batch).await.unwrap();
        assert_eq!(results.get(&last).get::<_, i64>(0), 9_999);
        let report = reports.last();
        println!("{name}: {} steps, {} attempts, {:?}", batch.len(), report.attempts, report.stages);
        match report.answered_by {
            AnsweredBy::Local => assert_eq!(report.attempts, 0),
            _ => assert_eq!(report.attempts, 1),
        }
    }
}

#[tokio::test]
async fn oversized_batch_fails_before_sending() {
    let world = world().await;
    let mut batch = Batch::new();
    for number in 0..16_384 {
        batch.execute(number.to_string(), "select 1", []).unwrap();
    }
    assert_refused(&batch.execute("more", "select 1", []).unwrap_err(), "more", "16384 statements");

    for (name, repo) in both(&world) {
        let mut batch = Batch::new();
        for number in 0..17 {
            let sql = "insert into users (name) values ($1)";
            batch.execute(number.to_string(), sql, params![format!("{number}{}", "x".repeat(1 << 20))]).unwrap();
        }
        let error = repo.batch(&batch).await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{name}: {error:?}");
        assert!(error.to_string().contains("bytes"), "{error}");
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn slow_step_is_named_rolls_back() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let mut batch = Batch::new();
        batch.insert("user", NewUser::named(name)).unwrap();
        batch.execute("slow", "select pg_sleep(60)", []).unwrap();
        let repo = repo.with_call_timeout(std::time::Duration::from_secs(2));
        let error = repo.batch(&batch).await.unwrap_err();
        assert!(error.is_rejected() && error.step() == Some("slow"), "{name}: {error:?}");
        assert_eq!(world.users_on_primary().await, 0);
    }
}

#[tokio::test]
async fn primary_describes_steps_without_replica() {
    let world = world().await;
    let node = world.node_without_replica(world.peers()).await;
    let mut batch = Batch::new();
    let user = batch.insert("user", NewUser::named("Ada")).unwrap();
    batch.insert_with("book", NewBook { title: "T".into() }, [("author_id", user.column("id"))]).unwrap();
    node.repo().batch(&batch).await.unwrap();
    assert_eq!(rows_on_primary(&world).await, 2);
}

#[tokio::test]
async fn steps_survive_schema_change() {
    let world = world().await;
    let repo = world.syd.repo();
    let mut batch = Batch::new();
    let sql = "insert into users (name) select $1 || count(*) from users returning age";
    let user = batch.query_one("user", sql, params!["Ada"]).unwrap();
    batch.query_one("age", "select $1", params![user.column("age")]).unwrap_or_else(|error| panic!("{error}"));
    let error = repo.batch(&batch).await.unwrap_err();
    assert!(error.is_misuse(), "text is no int4: {error}");

    let mut batch = Batch::new();
    let user = batch.query_one("user", sql, params!["Ada"]).unwrap();
    repo.batch(&batch).await.unwrap();
    repo.execute("alter table users alter column age type bigint", &[]).await.unwrap();
    assert_eq!(repo.batch(&batch).await.unwrap().get(&user).get::<_, Option<i64>>(0), None);
}

#[tokio::test]
#[should_panic(expected = "no result of step \"a\"")]
async fn step_of_other_batch_panics() {
    let mut batch = Batch::new();
    let step = batch.insert_all("a", Vec::<NewUser>::new()).unwrap();
    let node = start(crate::fixture::config("syd")).await.unwrap();
    let results = node.repo().batch(&Batch::new()).await.unwrap();
    results.get(&step);
}

#[tokio::test]
async fn dropped_batch_leaves_nothing() {
    let world = world().await;
    for (name, repo) in both(&world) {
        let task = tokio::spawn(async move {
            let mut batch = Batch::new();
            let user = batch.insert("user", NewUser::named(name)).unwrap();
            batch.query("sleep", "select pg_sleep(59), $1::bigint", params![user.column("id")]).unwrap();
            repo.with_call_timeout(PATIENCE * 2).batch(&batch).await.map(drop)
        });
        wait_until_running(&world.primary, "%pg_sleep(59)%", 1).await;
        task.abort();
        wait_until_running(&world.primary, "%pg_sleep(59)%", 0).await;
        assert_eq!(world.users_on_primary().await, 0, "{name}");
    }
}

#[tokio::test]
async fn concurrent_batches_do_not_mix() {
    let world = world().await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (_, repo) = both(&world).into_iter().nth(number % 2).unwrap();
        tasks.push(tokio::spawn(async move {
            let mut batch = Batch::new();
            let author = batch.insert("author", NewUser::named(&format!("author {number}"))).unwrap();
            let book = NewBook { title: format!("book {number}") };
            let book = batch.insert_with("book", book, [("author_id", author.column("id"))]).unwrap();
            let results = repo.batch(&batch).await.unwrap();
            assert_eq!(results.get(&book).author_id, results.get(&author).id);
            assert_eq!(results.get(&book).title, format!("book {number}"));
        }));
    }
    for task in tasks {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert_eq!(rows_on_primary(&world).await, 40);
}
