//! Errors say the same in another region as next to the database.

use std::time::Duration;

use homing::Repo;
use homing::error::SqlState;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, User, World, duplicate, half, wait_until_running};

#[tokio::test]
async fn forwarded_errors_keep_all_fields() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create table pets (owner bigint references users deferrable initially deferred, name varchar(3));
             create function refuse() returns trigger language plpgsql as
                 $$ begin raise exception 'not today' using errcode = 'HM001', detail = 'closed', hint = 'come back'; end $$;
             create table shop (id int);
             create trigger refuse before insert on shop for each row execute function refuse();
             insert into users (name) values ('Ada');",
        )
        .await
        .unwrap();
    let cases = [
        ("insert into users (name) values ('Ada')", SqlState::UNIQUE_VIOLATION),
        ("insert into users (name) values (null)", SqlState::NOT_NULL_VIOLATION),
        ("insert into users (name, age) values ('x', -1)", SqlState::CHECK_VIOLATION),
        ("insert into pets values (999999, 'x')", SqlState::FOREIGN_KEY_VIOLATION),
        ("insert into pets values (null, 'long')", SqlState::STRING_DATA_RIGHT_TRUNCATION),
        ("insert into shop values (1)", SqlState::from_code("HM001")),
        ("insert into nowhere values (1)", SqlState::UNDEFINED_TABLE),
        ("update users set agee = 1", SqlState::UNDEFINED_COLUMN),
        ("select nope()", SqlState::UNDEFINED_FUNCTION),
        ("insert into users (name, age) values ('x', 1 / (length('') ))", SqlState::DIVISION_BY_ZERO),
        ("selec 1", SqlState::SYNTAX_ERROR),
        ("select 'x'::int", SqlState::INVALID_TEXT_REPRESENTATION),
        ("insert into users (name, age) values ('x', 3000000000)", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
    ];
    for (region, node) in world.both() {
        for (sql, code) in &cases {
            let error = node.repo().execute(sql, &[]).await.unwrap_err();
            assert_eq!(error.code(), Some(code), "{sql} in {region}: {error}");
            assert!(
                error.is_rejected() && !error.is_not_sent() && !error.is_committed(),
                "{sql} in {region}: {error:?}"
            );
        }
    }
    assert_eq!(world.users_on_primary().await, 1);
}

#[tokio::test]
async fn error_has_fields_of_postgresql() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let _ = repo.insert(&NewUser::named("Ada")).await;
        let error = repo.insert(&NewUser::named("Ada")).await.unwrap_err();
        let database = error.db().unwrap();
        assert_eq!(database.constraint(), Some("users_name_key"));
        assert_eq!(database.table(), Some("users"));
        assert_eq!(database.schema(), Some("public"));
        assert_eq!(database.detail(), Some("Key (name)=(Ada) already exists."));
        assert!(error.to_string().contains("duplicate key value"), "{error}");
    }
}

#[tokio::test]
async fn values_are_shown_on_request() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let _ = repo.insert(&NewUser::named("Ada")).await;
        for error in [
            repo.insert(&NewUser::named("Ada")).await.unwrap_err(),
            repo.insert(&NewUser { name: "Ada II".into(), age: Some(-1) }).await.unwrap_err(),
            duplicate::call(&repo, "Ada".into()).await.unwrap_err(),
        ] {
            let shown = [error.to_string(), format!("{error:?}"), error.client_message().to_owned()];
            assert!(shown.iter().all(|text| !text.contains("Ada")), "{shown:?}");
            assert!(error.db().unwrap().detail().unwrap().contains("Ada"));
            assert!(format!("{error:#?}").contains("Ada"), "{error:#?}");
        }
    }
}

/// The call returns the first error, not the later one of asking an aborted transaction for its position (25P02).
#[tokio::test]
async fn first_error_of_transaction_is_returned() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let mut new: Vec<_> = (0..1500).map(|number| NewUser::named(&format!("user {number}"))).collect();
    new.push(NewUser::named("user 3"));
    let error = repo.insert_all(&new).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn wrong_parameters_fail_locally() {
    let world = World::shared().await;
    let insert = "insert into users (name, age) values ($1, $2)";
    for (_, node) in world.both() {
        let repo = node.repo();
        for parameters in [&[&"a" as &(dyn homing::types::ToSql + Sync)][..], &[&"a", &"b"], &[&"a", &1_i64]] {
            let error = repo.execute(insert, parameters).await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
        }
        let error = repo.query("select $1::int4", &[&"a"]).await.unwrap_err();
        assert!(error.is_misuse(), "{error:?}");
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn errors_name_call_and_entity() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let nobody = User { id: -1, name: "Nobody".into(), age: None };
        let error = repo.update(&nobody).await.unwrap_err();
        assert!(error.to_string().starts_with("update of users: "), "{error}");
        let sql = "select name from users where name = 'secret' and age = $1";
        let error = repo.query(sql, &[&"old"]).await.unwrap_err();
        let expected =
            "query of \"select name from users where name = …\": parameter $1 does not fit PostgreSQL's int4";
        assert_eq!(error.to_string(), expected);
        let within = |tx: Repo| async move { tx.update(&nobody).await };
        let error = repo.transaction(within).await.unwrap_err();
        assert!(error.to_string().starts_with("update of users: "), "{error}");
        let error = repo.stream("select * from nowhere", &[]).await.map(drop).unwrap_err();
        assert!(error.to_string().starts_with("stream of \"select * from nowhere\": "), "{error}");
        let mut rows = repo.stream("select 1 / (3000 - n) from generate_series(1, 3000) as n", &[]).await.unwrap();
        let error = loop {
            if let Err(error) = rows.next().await.unwrap() {
                break error;
            }
        };
        assert!(
            error.to_string().starts_with("stream of \"select 1 / (3000 - n) from generate_series(1, …\": "),
            "{error}"
        );
        let error = repo.execute("listen news", &[]).await.unwrap_err();
        assert!(error.to_string().starts_with("execute of \"listen news\": LISTEN "), "{error}");
    }
}

#[tokio::test]
async fn copy_by_the_client_is_refused() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        for sql in ["copy users from stdin", "copy users to stdout"] {
            let errors = [
                node.repo().execute(sql, &[]).await.unwrap_err(),
                node.repo().query(sql, &[]).await.unwrap_err(),
                node.repo().batch_execute(sql).await.unwrap_err(),
            ];
            assert!(errors.iter().all(|error| error.is_misuse() && error.to_string().contains("COPY")), "{errors:?}");
        }
    }
}

#[tokio::test]
async fn functions_return_their_own_errors() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        let error = half::call(&repo, format!("half {region}"), "no more".into()).await.unwrap_err();
        assert!(error.is_function_failed() && error.to_string().contains("no more"), "{error}");
        let remains = repo.get_by::<User>(&[("name", &format!("half {region}"))]).await.unwrap();
        assert!(remains.is_some(), "what it had committed is seen");

        let error = duplicate::call(&repo, format!("twice {region}")).await.unwrap_err();
        assert!(error.is_function_failed(), "{error:?}");
        assert_eq!(error.db().unwrap().constraint(), Some("users_name_key"));

        let error = repo.rpc::<u64>("imports", ()).await.unwrap_err();
        assert!(error.is_unknown_function() && error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains("import"), "{error}");

        let error = repo.rpc::<u64>("import", &7).await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
        let error = repo.rpc::<String>("import", &Vec::<String>::new()).await.unwrap_err();
        assert!(error.is_committed() && error.is_decode(), "{error:?}");
    }
}

#[tokio::test]
async fn statement_past_deadline_is_cancelled() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(Duration::from_millis(500));
        let sql = "with a as (insert into users (name) values ('late')) select pg_sleep(60)";
        let error = timeout(PATIENCE, repo.execute(sql, &[])).await.unwrap().unwrap_err();
        assert!(error.is_rejected(), "{region}: {error:?}");
        assert!(error.to_string().contains("in time"), "{error}");
        wait_until_running(&world.primary, "%pg_sleep(6%", 0).await;
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn dropped_call_cancels_its_statement() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let call = tokio::spawn(async move { sleeping(&repo).await });
        wait_until_running(&world.primary, "%pg_sleep(61)%", 1).await;
        call.abort();
        wait_until_running(&world.primary, "%pg_sleep(6%", 0).await;
    }
    assert_eq!(world.users_on_primary().await, 0);
}

async fn sleeping(repo: &Repo) -> homing::Result<u64> {
    repo.execute("with a as (insert into users (name) values ('late')) select pg_sleep(61)", &[]).await
}

#[tokio::test]
async fn oversized_value_fails_locally() {
    let world = World::shared().await;
    let huge = "x".repeat(17 * 1024 * 1024);
    let error = world.syd.repo().insert(&NewUser::named(&huge)).await.unwrap_err();
    assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().len() < 500);

    // The error of a result that is too large has the fate of the write.
    let sql =
        "insert into users (name) select 'user ' || n from generate_series(1, 20) as n returning repeat('x', 1000000)";
    let error = world.syd.repo().query(sql, &[]).await.unwrap_err();
    assert!(error.is_committed(), "{error:?}");
    assert_eq!(world.users_on_primary().await, 20);
}
