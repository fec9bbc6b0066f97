//! Rows of raw SQL as structs, in both regions.

use homing::error::SqlState;
use homing::{Entity, Error, FromRow, Repo};

use crate::fixture::{NewUser, User, World};

/// Two columns of one type, in another order than in the table.
#[derive(Debug, PartialEq, Entity)]
#[entity(table = "routes")]
struct Route {
    #[entity(key)]
    id: i64,
    to: String,
    #[entity(column = "from")]
    start: String,
}

#[derive(Debug, PartialEq, FromRow)]
struct Traffic {
    name: String,
    #[from_row(column = "n")]
    routes: i64,
    last: Option<String>,
}

const TRAFFIC: &str = "select max(r.to) as last, count(r.id) as n, u.name
    from users u left join routes r on r.from = u.name group by u.name order by u.name";

async fn world() -> World {
    let world = World::shared().await;
    let script = "create table routes (\"from\" text, \"to\" text, id bigserial primary key);
        insert into routes values ('Ada', 'Bob'), ('Ada', 'Cleo');
        insert into users (name) values ('Ada'), ('Bob');";
    world.syd.repo().batch_execute(script).await.unwrap();
    world
}

fn route(id: i64, from: &str, to: &str) -> Route {
    Route { id, start: from.into(), to: to.into() }
}

/// Makes the same calls by themselves and in a transaction.
async fn everywhere<T: Send + 'static>(
    world: &World,
    call: fn(Repo) -> futures_util::future::BoxFuture<'static, T>,
) -> Vec<T> {
    let mut found = Vec::new();
    for (_, node) in world.both() {
        found.push(call(node.repo()).await);
        found.push(node.repo().transaction(|tx| async move { Ok(call(tx).await) }).await.unwrap());
    }
    found
}

#[tokio::test]
async fn columns_find_their_fields() {
    let world = world().await;
    let routes = [route(1, "Ada", "Bob"), route(2, "Ada", "Cleo")];
    let read = everywhere(&world, |repo| {
        Box::pin(async move {
            let all: Vec<Route> = repo.query_as("select * from routes order by id", &[]).await.unwrap();
            let one: Route =
                repo.query_one_as("select *, 1 as more from routes where id = $1", &[&2_i64]).await.unwrap();
            let none: Option<Route> = repo.query_opt_as("select * from routes where id = 0", &[]).await.unwrap();
            let mut rows = repo.stream_as::<Route>("select * from routes order by id", &[]).await.unwrap();
            let mut streamed = Vec::new();
            while let Some(row) = rows.next().await {
                streamed.push(row.unwrap());
            }
            assert_eq!(none, None);
            (all, one, streamed)
        })
    });
    for (all, one, streamed) in read.await {
        assert_eq!((&all[..], &one, &streamed[..]), (&routes[..], &routes[1], &routes[..]));
    }
    let written = everywhere(&world, |repo| {
        Box::pin(async move {
            let sql = "insert into routes values ('Cleo', 'Ada') returning *";
            let Route { id: _, to, start } = repo.query_one_as(sql, &[]).await.unwrap();
            (start, to)
        })
    });
    assert!(written.await.iter().all(|(from, to)| (&**from, &**to) == ("Cleo", "Ada")));
}

#[tokio::test]
async fn joins_and_aggregates_are_structs() {
    let world = world().await;
    let expected = [
        Traffic { name: "Ada".into(), routes: 2, last: Some("Cleo".into()) },
        Traffic { name: "Bob".into(), routes: 0, last: None },
    ];
    let read =
        everywhere(&world, |repo| Box::pin(async move { repo.query_as::<Traffic>(TRAFFIC, &[]).await.unwrap() }));
    for traffic in read.await {
        assert_eq!(traffic, expected);
    }
}

/// The message without the name of the call, if the row did not fit and nothing was written.
fn misfit(error: &Error) -> String {
    assert!(error.is_decode() && error.is_rejected(), "{error:?}");
    let message = error.to_string();
    message[message.find("cannot read").unwrap()..].to_owned()
}

#[tokio::test]
async fn misfits_name_struct_and_columns() {
    let world = world().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let error = repo.query_as::<Route>("select id, \"to\" from routes", &[]).await.unwrap_err();
        assert_eq!(misfit(&error), "cannot read Route: column \"from\" does not exist: the row has id, to");
        let joined = "select * from routes a join routes b using (id)";
        let error = repo.query_as::<Route>(joined, &[]).await.unwrap_err();
        assert_eq!(
            misfit(&error),
            "cannot read Route: column \"to\" is there more than once, so give each a name of its own (AS): the row has \
             id, from, to, from, to"
        );
        let row = repo.query(joined, &[]).await.unwrap().remove(0);
        assert!(row.try_get::<_, String>("to").unwrap_err().is_decode());
        assert_eq!((row.get::<_, i64>("id"), row.get::<_, String>(2)), (1, "Bob".into()));

        let null = "select 1::bigint as n, null::text as name, null::text as last";
        let error = repo.query_one_as::<Traffic>(null, &[]).await.unwrap_err();
        assert!(misfit(&error).starts_with("cannot read Traffic: column \"name\" is NULL"), "{error}");
        let several = repo.query_opt_as::<Route>("select * from routes", &[]).await.unwrap_err();
        assert!(several.is_too_many_rows(), "{several:?}");
        let none = repo.query_one_as::<Route>("select * from routes where id = 0", &[]).await.unwrap_err();
        assert!(none.is_not_found(), "{none:?}");
        let refused = repo.query_as::<Route>("select * from roads", &[]).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::UNDEFINED_TABLE));

        let mut rows = repo.stream_as::<Route>("select id from routes", &[]).await.unwrap();
        misfit(&rows.next().await.unwrap().unwrap_err());
        let written = repo.query_as::<Route>("insert into routes values ('x', 'y') returning id", &[]).await;
        assert!(written.unwrap_err().is_committed());
    }
}

/// Two structs read the rows of one statement, which remembers the columns of the first.
#[tokio::test]
async fn structs_share_a_statement() {
    let world = World::shared().await;
    world.syd.repo().insert(&NewUser::named("Ada")).await.unwrap();
    for (_, node) in world.both() {
        for _ in 0..2 {
            let sql = "select age, name, id, 0::bigint as n, null::text as last from users";
            let traffic: Traffic = node.repo().query_one_as(sql, &[]).await.unwrap();
            let user: User = node.repo().query_one_as(sql, &[]).await.unwrap();
            assert_eq!((traffic.name, user.name, user.age), ("Ada".into(), "Ada".into(), Some(36)));
        }
    }
}
