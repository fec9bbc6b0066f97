//! Entities with every kind of column, in both regions.

use std::collections::HashMap;

use homing::error::SqlState;
use homing::types::ToSql;
use homing::{Aggregate, Conflict, Entity, Error, Insert};
use postgres_types::{FromSql as DeriveFromSql, ToSql as DeriveToSql};
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::types::Mood;
use crate::fixture::{NewUser, PATIENCE, User, World};

#[derive(Debug, Clone, PartialEq, DeriveToSql, DeriveFromSql)]
#[postgres(name = "address")]
struct Address {
    street: String,
    moods: Vec<Mood>,
}

#[derive(Debug, Clone, PartialEq, Entity)]
#[entity(table = "people")]
struct Person {
    #[entity(key)]
    id: Uuid,
    mood: Mood,
    address: Option<Address>,
    nicknames: Vec<Option<String>>,
    data: Json,
    raw: Option<postgres_types::Json<HashMap<String, i32>>>,
    balance: Decimal,
    born: chrono::NaiveDate,
    #[entity(column = "seen at")]
    seen: chrono::DateTime<chrono::Utc>,
    wakes: time::Time,
    #[entity(column = "JOINED")]
    joined: jiff::Timestamp,
    #[entity(read_only)]
    debt: Decimal,
}

#[derive(Debug, Clone, Insert)]
#[insert(into = Person)]
struct NewPerson {
    id: Uuid,
    mood: Mood,
    address: Option<Address>,
    nicknames: Vec<Option<String>>,
    data: Json,
    raw: Option<postgres_types::Json<HashMap<String, i32>>>,
    balance: Decimal,
    born: chrono::NaiveDate,
    #[insert(column = "seen at")]
    seen: chrono::DateTime<chrono::Utc>,
    wakes: time::Time,
    #[insert(column = "JOINED")]
    joined: jiff::Timestamp,
}

const PEOPLE: &str = r#"
    create type mood as enum ('sad', 'happy');
    create type address as (street text, moods mood[]);
    create table people (
        id uuid primary key, mood mood not null, address address, nicknames text[] not null, data jsonb not null,
        raw json, balance numeric not null, born date not null, "seen at" timestamptz not null, wakes time not null,
        "JOINED" timestamptz not null, debt numeric generated always as (-balance) stored
    );"#;

fn person(id: u128) -> NewPerson {
    NewPerson {
        id: Uuid::from_u128(id),
        mood: Mood::Happy,
        address: Some(Address { street: "Main".into(), moods: vec![Mood::Sad, Mood::Happy] }),
        nicknames: vec![Some("Al".into()), None],
        data: json!({"deep": [1, null, {"x": "\u{1F49A}"}]}),
        raw: Some(postgres_types::Json(HashMap::from([("a".into(), 1)]))),
        balance: Decimal::new(-12345, 2),
        born: chrono::NaiveDate::from_ymd_opt(1815, 12, 10).unwrap(),
        seen: chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
        wakes: time::Time::from_hms_micro(6, 30, 0, 1).unwrap(),
        joined: jiff::Timestamp::from_microsecond(-1).unwrap(),
    }
}

#[tokio::test]
async fn columns_of_each_type_round_trip() {
    let world = World::shared().await;
    world.iad.repo().batch_execute(PEOPLE).await.unwrap();
    for (node, id) in [(&world.iad, 1), (&world.syd, 2)] {
        let repo = node.repo();
        let new = person(id);
        let stored = repo.insert(&new).await.unwrap();
        assert_eq!((&stored.data, &stored.raw, &stored.nicknames), (&new.data, &new.raw, &new.nicknames));
        assert_eq!(
            (stored.seen, stored.wakes, stored.joined, stored.born),
            (new.seen, new.wakes, new.joined, new.born)
        );
        assert_eq!(stored.debt, Decimal::new(12345, 2));
        assert_eq!(repo.get::<Person>(stored.id).await.unwrap().as_ref(), Some(&stored));
        let found = repo.get_by::<Person>(&[("seen at", &new.seen), ("mood", &Mood::Happy)]).await.unwrap();
        assert_eq!(found.as_ref(), Some(&stored));

        // A read-only column is not written, whatever the field holds.
        let mut changed = stored.clone();
        changed.debt = Decimal::ZERO;
        changed.balance = Decimal::ONE;
        changed.address = None;
        changed.mood = Mood::Sad;
        let updated = repo.update(&changed).await.unwrap();
        assert_eq!(updated, Person { debt: Decimal::NEGATIVE_ONE, ..changed.clone() });
        assert_eq!(repo.reload(&stored).await.unwrap(), updated);

        let upserted = repo.insert_or_update(&person(id), &Conflict::on(["id"])).await.unwrap();
        assert_eq!(upserted, stored);
        assert_eq!(repo.delete(&upserted).await.unwrap(), stored);
    }
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "numbers")]
struct Numbers {
    #[entity(key)]
    id: i64,
    small: Option<i16>,
    integer: Option<i32>,
    big: Option<i64>,
    real: Option<f32>,
    double: Option<f64>,
    exact: Option<Decimal>,
    day: Option<chrono::NaiveDate>,
    name: Option<String>,
}

#[tokio::test]
async fn aggregates_have_typed_results() {
    let world = World::shared().await;
    let script = "create table numbers (id bigserial primary key, small smallint, integer int, big bigint, real real,
            double double precision, exact numeric, day date, name text);
        insert into numbers (small, integer, big, real, double, exact, day, name) values
            (1, 2, 9223372036854775807, 0.5, 0.25, 1.10, '2026-01-01', 'a'),
            (2, 3, 9223372036854775807, 1.5, 0.75, 2.20, '2026-01-02', 'b'),
            (null, null, null, null, null, null, null, null);";
    world.syd.repo().batch_execute(script).await.unwrap();
    for node in [&world.iad, &world.syd] {
        let repo = node.repo();
        macro_rules! aggregate {
            ($function:ident($column:literal) as $ty:ty) => {
                repo.aggregate::<Numbers, $ty>(Aggregate::$function($column), "where id > $1", &[&0_i64]).await.unwrap()
            };
        }
        assert_eq!(aggregate!(count("small") as i64), Some(2));
        assert_eq!(aggregate!(count("id") as i64), Some(3));
        assert_eq!(aggregate!(sum("small") as i64), Some(3));
        assert_eq!(aggregate!(sum("integer") as i64), Some(5));
        assert_eq!(aggregate!(sum("big") as f64), Some(2.0 * i64::MAX as f64));
        assert_eq!(aggregate!(sum("big") as Decimal), Some(Decimal::from(i64::MAX) * Decimal::TWO));
        assert_eq!(aggregate!(sum("id") as i64), Some(6));
        assert_eq!(aggregate!(sum("real") as f32), Some(2.0));
        assert_eq!(aggregate!(sum("exact") as Decimal), Some(Decimal::new(330, 2)));
        assert_eq!(aggregate!(sum("exact") as f64), Some(3.3));
        assert_eq!(aggregate!(avg("integer") as f64), Some(2.5));
        assert_eq!(aggregate!(avg("big") as f64), Some(i64::MAX as f64));
        assert_eq!(aggregate!(avg("real") as f64), Some(1.0));
        assert_eq!(aggregate!(avg("exact") as Decimal), Some(Decimal::new(165, 2)));
        assert_eq!(aggregate!(min("name") as String), Some("a".into()));
        assert_eq!(aggregate!(max("day") as chrono::NaiveDate), chrono::NaiveDate::from_ymd_opt(2026, 1, 2));
        assert_eq!(aggregate!(max("big") as i64), Some(i64::MAX));

        let sum = repo.aggregate::<Numbers, i64>(Aggregate::sum("big"), "", &[]).await.unwrap_err();
        assert!(sum.is_decode(), "{sum:?}");
        let mean = repo.aggregate::<Numbers, i64>(Aggregate::avg("integer"), "", &[]).await.unwrap_err();
        assert_eq!(
            mean.to_string(),
            "aggregate of numbers: 2.5 is not a whole number in the range of bigint: read it as f64"
        );
        let text = repo.aggregate::<Numbers, String>(Aggregate::sum("big"), "", &[]).await.unwrap_err();
        assert!(text.is_decode() && text.to_string().contains("numeric"), "{text:?}");
        let none = repo.aggregate::<Numbers, i64>(Aggregate::sum("big"), "where false", &[]).await.unwrap();
        assert_eq!(none, None);
        let none = repo.aggregate::<Numbers, i64>(Aggregate::count("big"), "where false", &[]).await.unwrap();
        assert_eq!(none, Some(0));
        let limited = repo.aggregate::<Numbers, i64>(Aggregate::sum("id"), "order by id limit 2", &[]).await.unwrap();
        assert_eq!(limited, Some(3));
        let distinct = Aggregate::count("big").distinct();
        assert_eq!(repo.aggregate::<Numbers, i64>(distinct, "", &[]).await.unwrap(), Some(1));
        let unknown = repo.aggregate::<Numbers, i64>(Aggregate::sum("age\")"), "", &[]).await.unwrap_err();
        assert!(unknown.is_misuse() && unknown.is_not_sent(), "{unknown:?}");
        let unsummable = repo.aggregate::<Numbers, i64>(Aggregate::sum("name"), "", &[]).await.unwrap_err();
        assert!(unsummable.is_rejected(), "{unsummable:?}");
    }
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "pairs")]
struct Pair {
    #[entity(key)]
    left: i32,
    #[entity(key)]
    right: String,
    #[entity(read_only)]
    both: Option<String>,
}

#[derive(Debug, Insert)]
#[insert(into = Pair)]
struct NewPair {
    left: i32,
    right: String,
}

#[tokio::test]
async fn table_of_key_and_computed_columns() {
    let world = World::shared().await;
    let script = "create table pairs (\"left\" int, \"right\" text, primary key (\"left\", \"right\"),
        \"both\" text generated always as (\"left\"::text || \"right\") stored)";
    world.iad.repo().batch_execute(script).await.unwrap();
    for (node, left) in [(&world.iad, 1), (&world.syd, 2)] {
        let repo = node.repo();
        let new = NewPair { left, right: "a".into() };
        let pair = repo.insert(&new).await.unwrap();
        assert_eq!(pair.both.as_deref(), Some(format!("{left}a").as_str()));
        assert_eq!(repo.update(&pair).await.unwrap(), pair);
        assert_eq!(repo.get::<Pair>((left, "a".into())).await.unwrap().as_ref(), Some(&pair));
        assert_eq!(repo.insert_or_update(&new, &Conflict::on(["right", "left"])).await.unwrap(), pair);
        repo.delete(&pair).await.unwrap();
        assert!(repo.update(&pair).await.unwrap_err().is_not_found());
        assert!(repo.reload(&pair).await.unwrap_err().is_not_found());
    }
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "order.select \u{1F49A}")]
struct Reserved {
    #[entity(key, column = "where")]
    id: i64,
    #[entity(column = "it's; --")]
    text: String,
}

#[derive(Debug, Insert)]
#[insert(into = Reserved)]
struct NewReserved {
    #[insert(column = "it's; --")]
    text: &'static str,
}

#[tokio::test]
async fn odd_names_are_quoted() {
    let world = World::shared().await;
    let script = "create schema \"order\"; create table \"order\".\"select \u{1F49A}\"
        (\"where\" bigserial primary key, \"it's; --\" text not null unique)";
    world.iad.repo().batch_execute(script).await.unwrap();
    for (node, text) in [(&world.iad, "a"), (&world.syd, "b")] {
        let repo = node.repo();
        let mut row = repo.insert_or_update(&NewReserved { text }, &Conflict::on(["it's; --"])).await.unwrap();
        assert_eq!(repo.insert_or_update(&NewReserved { text }, &Conflict::on(["it's; --"])).await.unwrap(), row);
        assert_eq!(repo.get_by::<Reserved>(&[("it's; --", &text)]).await.unwrap().as_ref(), Some(&row));
        assert_eq!(
            repo.aggregate::<Reserved, String>(Aggregate::max("it's; --"), "", &[]).await.unwrap().as_deref(),
            Some(text)
        );
        row.text = format!("{text}{text}");
        assert_eq!(repo.update(&row).await.unwrap(), row);
        assert_eq!(repo.delete_all::<Reserved>("", &[]).await.unwrap(), 1);
    }
}

/// Of a table in which `age` may be NULL.
#[derive(Debug, Entity)]
#[entity(table = "users")]
struct Strict {
    #[entity(key)]
    id: i64,
    age: i32,
}

#[derive(Debug, Insert)]
#[insert(into = User)]
struct Nameless {
    name: Option<String>,
}

#[derive(Debug, Insert)]
#[insert(into = User)]
struct Wrong {
    name: i32,
}

#[derive(Debug, Insert)]
#[insert(into = User)]
struct Unknown {
    nick: String,
}

#[tokio::test]
async fn unexpected_null_names_column() {
    let world = World::shared().await;
    for (node, name) in [(&world.iad, "Ada"), (&world.syd, "Grace")] {
        let repo = node.repo();
        let user = repo.insert(&NewUser { name: name.into(), age: None }).await.unwrap();
        let reads = [
            repo.get::<Strict>(user.id).await.unwrap_err(),
            repo.all::<Strict>("where id = $1", &[&user.id]).await.unwrap_err(),
        ];
        assert!(reads.iter().all(Error::is_rejected), "{reads:?}");
        // A lock is a write for PostgreSQL: a replica refuses it, and its transaction has an id.
        let lock = repo.one::<Strict>("where id = $1 for update", &[&user.id]).await.unwrap_err();
        for error in reads.iter().chain([&lock]) {
            let message =
                "cannot read Strict: column \"age\" is NULL, which cannot be read as i32: read it as an Option";
            assert!(error.is_decode() && error.to_string().ends_with(message), "{error}");
        }
        let error = repo.insert(&Nameless { name: None }).await.unwrap_err();
        assert!(error.is_rejected(), "{error:?}");
        assert_eq!(error.code(), Some(&SqlState::NOT_NULL_VIOLATION));
        assert_eq!(error.db().and_then(|db| db.column()), Some("name"));
    }
}

#[tokio::test]
async fn wrong_value_fails_before_sending() {
    let world = World::shared().await;
    let parameter = |error: &Error| {
        assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
        let message = error.to_string();
        // Without the call and the entity.
        message.split_once(" of users: ").map_or(message.clone(), |(_, message)| message.to_owned())
    };
    for node in [&world.iad, &world.syd] {
        let repo = node.repo();
        let wrong = Wrong { name: 7 };
        let text = "parameter $1 does not fit PostgreSQL's text";
        assert_eq!(parameter(&repo.insert(&wrong).await.unwrap_err()), text);
        let conflict = Conflict::on(["name"]);
        assert_eq!(parameter(&repo.insert_or_update(&wrong, &conflict).await.unwrap_err()), text);
        let integer = "parameter $2 does not fit PostgreSQL's int4";
        let two: [&(dyn ToSql + Sync); 2] = [&"A%", &"old"];
        let suffix = "where name like $1 and age > $2";
        assert_eq!(parameter(&repo.all::<User>(suffix, &two).await.unwrap_err()), integer);
        assert_eq!(parameter(&repo.count::<User>(suffix, &two).await.unwrap_err()), integer);
        assert_eq!(parameter(&repo.delete_all::<User>(suffix, &two).await.unwrap_err()), integer);
        assert_eq!(parameter(&repo.update_all::<User>("age = 1", suffix, &two).await.unwrap_err()), integer);
        let missing = "wrong number of parameters: the statement takes 2, the call gives 1";
        assert_eq!(parameter(&repo.all::<User>(suffix, &two[..1]).await.unwrap_err()), missing);
        assert_eq!(parameter(&repo.delete_all::<User>(suffix, &two[..1]).await.unwrap_err()), missing);

        for error in [
            repo.insert(&Unknown { nick: "Al".into() }).await.unwrap_err(),
            repo.all::<User>("where nick = 'Al'", &[]).await.unwrap_err(),
            repo.update_all::<User>("nick = 'Al'", "", &[]).await.unwrap_err(),
        ] {
            assert!(error.is_rejected() && error.code() == Some(&SqlState::UNDEFINED_COLUMN), "{error:?}");
            assert!(error.to_string().contains("\"nick\""), "{error}");
        }
        let unknown = repo.get_by::<User>(&[("nick", &"Al")]).await.unwrap_err();
        assert_eq!(parameter(&unknown), "users has no column \"nick\": its columns are id, name, age");
    }
}

#[tokio::test]
async fn too_many_parameters_fail_before_sending() {
    let world = World::shared().await;
    let values: Vec<i32> = (0..65_536).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let list = |count: usize| (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    for node in [&world.iad, &world.syd] {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let suffix = format!("where age in ({})", list(65_536));
        for error in [
            repo.all::<User>(&suffix, &parameters).await.unwrap_err(),
            repo.delete_all::<User>(&suffix, &parameters).await.unwrap_err(),
            repo.query(&format!("select * from users {suffix}"), &parameters).await.unwrap_err(),
        ] {
            assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
            let message = "a statement takes at most 65535 parameters, but 65536 were given: pass an array, or send several \
                           statements";
            assert!(error.to_string().ends_with(message), "{error}");
        }
        // An array is one parameter.
        assert_eq!(repo.count::<User>("where age = any ($1)", &[&values]).await.unwrap(), 0);
        assert_eq!(repo.count::<User>("where age = any ($1)", &[&Vec::<i32>::new()]).await.unwrap(), 0);
    }
    // PostgreSQL takes seconds for so many, so it is asked once.
    let repo = world.syd.repo().with_call_timeout(PATIENCE);
    let suffix = format!("where age in ({})", list(65_535));
    assert_eq!(repo.delete_all::<User>(&suffix, &parameters[..65_535]).await.unwrap(), 0);
}

#[tokio::test]
async fn rows_without_columns_are_counted() {
    let world = World::shared().await;
    world.syd.repo().insert_all(&[NewUser::named("Ada"), NewUser::named("Grace")]).await.unwrap();
    for node in [&world.iad, &world.syd] {
        for sql in ["select from users", "select from users for update"] {
            let rows = node.repo().query(sql, &[]).await.unwrap();
            assert!(rows.len() == 2 && rows.iter().all(homing::Row::is_empty));
        }
    }
}
