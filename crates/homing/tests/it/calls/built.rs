//! Statements built with sea-query, in both regions.

use homing::built::Begin;
use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::sea_query::{
    Alias, Asterisk, Cond, Expr, ExprTrait, Func, OnConflict, Order, Query, SelectStatement, SimpleExpr,
};
use homing::{Entity, Insert};

use crate::fixture::{NewUser, User, World, recorded};

fn user(name: &str, age: Option<i32>) -> NewUser {
    NewUser { name: name.into(), age }
}

async fn world() -> World {
    let world = World::shared().await;
    let users = [user("Ada", Some(36)), user("Grace", Some(85)), user("Edsger", Some(72)), user("it's", None)];
    world.syd.repo().insert_all(&users).await.unwrap();
    world
}

fn older_than(age: i64) -> SelectStatement {
    // The number has another size than the column: PostgreSQL decides its type.
    User::select().and_where(Expr::col("age").gt(age)).order_by("name", Order::Desc).take()
}

#[tokio::test]
async fn built_condition_reads_entities() {
    let world = world().await;
    for node in [&world.iad, &world.syd] {
        let (repo, reports) = recorded(&node.repo());
        let users: Vec<User> = repo.all_built(&older_than(40)).await.unwrap();
        assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["Grace", "Edsger"]);
        assert_eq!(reports.last().answered_by, AnsweredBy::Local);
        let either = Cond::any().add(Expr::col("name").eq("it's")).add(Expr::col("age").between(30, 40));
        let users: Vec<User> =
            repo.all_built(User::select().cond_where(either).order_by("id", Order::Asc)).await.unwrap();
        assert_eq!(users.len(), 2);
        assert_eq!(users[1], User { age: None, ..repo.get_by::<User>(&[("name", &"it's")]).await.unwrap().unwrap() });

        let one: User = repo.one_built(User::select().and_where(Expr::col("name").eq("Ada"))).await.unwrap();
        assert_eq!(one.age, Some(36));
        assert!(repo.one_built::<User>(&older_than(99)).await.unwrap_err().is_not_found());
        assert!(repo.one_built::<User>(&older_than(1)).await.unwrap_err().is_too_many_rows());
        assert_eq!(repo.count_built(&older_than(40)).await.unwrap(), 2);
        assert_eq!(repo.count_built(User::select().limit(3)).await.unwrap(), 3);
        assert!(repo.exists_built(&older_than(84)).await.unwrap());
        assert!(!repo.exists_built(&older_than(85)).await.unwrap());
    }
}

#[tokio::test]
async fn built_condition_updates_and_deletes() {
    let world = world().await;
    for (node, left) in [(&world.iad, 3), (&world.syd, 2)] {
        let (repo, reports) = recorded(&node.repo());
        let mut update = User::update();
        update.value("age", Expr::col("age").add(1)).and_where(Expr::col("name").is_in(["Ada", "Grace", "nobody"]));
        assert_eq!(repo.update_all_built(&update).await.unwrap(), 2);
        assert!(reports.last().wrote);
        let mut delete = User::delete();
        delete.and_where(Expr::col("id").eq(repo.all::<User>("order by id desc limit 1", &[]).await.unwrap()[0].id));
        assert_eq!(repo.delete_all_built(&delete).await.unwrap(), 1);
        assert_eq!(repo.count::<User>("", &[]).await.unwrap(), left);
        let error = repo.update_all_built(&User::update()).await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
    }
    let ada = world.iad.repo().get_by::<User>(&[("name", &"Ada")]).await.unwrap().unwrap();
    assert_eq!(ada.age, Some(38));
}

#[tokio::test]
async fn raw_calls_take_built_statements() {
    let world = world().await;
    for (node, name) in [(&world.iad, "Barbara"), (&world.syd, "Frances")] {
        let repo = node.repo();
        let mut insert = Query::insert();
        insert.into_table("users").columns(["name", "age"]).values_panic([name.into(), 70.into()]).returning_col("id");
        let id: i64 = repo.query_one_built(&insert).await.unwrap().get("id");
        let mut upsert = Query::insert();
        upsert.into_table("users").columns(["name", "age"]).values_panic([name.into(), 71.into()]);
        upsert.on_conflict(OnConflict::column("name").update_column("age").to_owned());
        assert_eq!(repo.execute_built(&upsert).await.unwrap(), 1);
        let mut select = Query::select();
        select
            .expr_as(Func::upper(Expr::col("name")), Alias::new("loud"))
            .from("users")
            .and_where(Expr::col("id").eq(id));
        assert_eq!(repo.query_built(&select).await.unwrap()[0].get::<_, String>("loud"), name.to_uppercase());
        assert!(
            repo.query_opt_built(Query::select().column(Asterisk).from("users").and_where(Expr::col("age").lt(0)))
                .await
                .unwrap()
                .is_none()
        );
        let with = Query::with()
            .cte(homing::sea_query::CommonTableExpression::new().table_name("old").query(older_than(70)).to_owned())
            .to_owned();
        let from_old = Query::select().expr(Func::count(Expr::col(Asterisk))).from("old").to_owned().with(with);
        assert!(repo.query_one_built(&from_old).await.unwrap().get::<_, i64>(0) >= 3);
    }
}

#[tokio::test]
async fn empty_list_and_wrong_values() {
    let world = world().await;
    for node in [&world.iad, &world.syd] {
        let repo = node.repo();
        let none: [i64; 0] = [];
        assert_eq!(repo.count_built(User::select().and_where(Expr::col("id").is_in(none))).await.unwrap(), 0);
        assert_eq!(repo.count_built(User::select().and_where(Expr::col("id").is_not_in(none))).await.unwrap(), 4);
        for wrong in
            [Expr::col("age").eq("Ada!"), Expr::col("age").eq(i64::MAX), Expr::col("age").eq(vec![7_u8, 7, 7, 7])]
        {
            let error = repo.all_built::<User>(User::select().and_where(wrong)).await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
            let (call, message) = ("all_built of \"SELECT", ": parameter $1 does not fit PostgreSQL's int4");
            assert!(error.to_string().starts_with(call) && error.to_string().ends_with(message), "{error}");
        }
        let error = repo.all_built::<User>(User::select().and_where(Expr::col("nick").eq(1))).await.unwrap_err();
        assert!(error.is_rejected() && error.code() == Some(&SqlState::UNDEFINED_COLUMN), "{error:?}");
        let injection = SimpleExpr::from("Ada'; truncate users; --");
        assert_eq!(repo.count_built(User::select().and_where(Expr::col("name").eq(injection))).await.unwrap(), 0);
        let other = repo.all_built::<User>(Query::select().column("id").column("age").from("users")).await.unwrap_err();
        assert!(other.is_decode(), "{other:?}");
        let message = "cannot read User: column \"name\" does not exist: the row has id, age";
        assert!(other.to_string().ends_with(message), "{other}");
        let many: Vec<i64> = (0..65_536).collect();
        let error = repo.all_built::<User>(User::select().and_where(Expr::col("id").is_in(many))).await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
    }
    assert_eq!(world.users_on_primary().await, 4);
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "we ird.order")]
struct Weird {
    #[entity(key, column = "select")]
    id: i64,
    #[entity(column = "Größe")]
    size: String,
}

#[derive(Debug, Insert)]
#[insert(into = Weird)]
struct NewWeird {
    #[insert(column = "select")]
    id: i64,
    #[insert(column = "Größe")]
    size: String,
}

#[tokio::test]
async fn names_are_quoted() {
    let world = World::shared().await;
    let script =
        "create schema \"we ird\"; create table \"we ird\".\"order\" (\"select\" bigint primary key, \"Größe\" text)";
    world.iad.repo().batch_execute(script).await.unwrap();
    for (node, id) in [(&world.iad, 1), (&world.syd, 2)] {
        let repo = node.repo();
        repo.insert(&NewWeird { id, size: "XL".into() }).await.unwrap();
        let all: Vec<Weird> = repo.all_built(Weird::select().and_where(Expr::col("Größe").eq("XL"))).await.unwrap();
        assert_eq!(all, [Weird { id, size: "XL".into() }]);
        let mut update = Weird::update();
        update.value("Größe", "XXL").and_where(Expr::col("select").eq(id));
        assert_eq!(repo.update_all_built(&update).await.unwrap(), 1);
    }
    assert_eq!(world.syd.repo().delete_all_built(&Weird::delete()).await.unwrap(), 2);
}
