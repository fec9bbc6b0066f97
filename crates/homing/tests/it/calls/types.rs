//! Values of every type that the driver knows come back unchanged from the replica and from the primary.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use homing::Repo;
use homing::types::{FromSql, ToSql};
use postgres_types::{FromSql as DeriveFromSql, ToSql as DeriveToSql};

use crate::fixture::World;

#[derive(Debug, Clone, PartialEq, DeriveToSql, DeriveFromSql)]
#[postgres(name = "mood")]
pub(super) enum Mood {
    #[postgres(name = "sad")]
    Sad,
    #[postgres(name = "happy")]
    Happy,
}

#[derive(Debug, Clone, PartialEq, DeriveToSql, DeriveFromSql)]
#[postgres(name = "address")]
struct Address {
    street: String,
    number: Option<i32>,
    moods: Vec<Mood>,
}

#[derive(Debug, Clone, PartialEq, DeriveToSql, DeriveFromSql)]
#[postgres(name = "email")]
struct Email(String);

/// Sends the value to the primary as a parameter, and reads it from both.
async fn check<T>(repo: &Repo, ty: &str, value: T)
where
    T: ToSql + Sync + PartialEq + std::fmt::Debug + for<'a> FromSql<'a>,
{
    let table = format!("\"of {}\"", ty.replace('"', ""));
    repo.execute(&format!("create table if not exists {table} (id serial, value {ty})"), &[]).await.unwrap();
    let insert = format!("insert into {table} (value) values ($1) returning id, value");
    let row = repo.query_one(&insert, &[&value]).await.unwrap_or_else(|error| panic!("{ty}: {error:?}"));
    assert_eq!(row.get::<_, T>("value"), value, "{ty} from the primary");
    let select = format!("select value from {table} where id = $1");
    let row = repo.query_one(&select, &[&row.get::<_, i32>("id")]).await.unwrap();
    assert_eq!(row.get::<_, T>(0), value, "{ty} from the replica");
}

#[tokio::test]
async fn built_in_types_round_trip() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    check(&repo, "bool", true).await;
    check(&repo, "\"char\"", -7_i8).await;
    for value in [i16::MIN, 0, i16::MAX] {
        check(&repo, "smallint", value).await;
    }
    for value in [i32::MIN, i32::MAX] {
        check(&repo, "integer", value).await;
    }
    for value in [i64::MIN, i64::MAX] {
        check(&repo, "bigint", value).await;
    }
    check(&repo, "oid", u32::MAX).await;
    for value in [f32::MIN, f32::INFINITY, -0.0] {
        check(&repo, "real", value).await;
    }
    for value in [f64::MAX, f64::NEG_INFINITY, f64::MIN_POSITIVE] {
        check(&repo, "double precision", value).await;
    }
    for value in ["", "Ada", "ünïcödé 💚", &"long ".repeat(10_000)] {
        check(&repo, "text", value.to_owned()).await;
        check(&repo, "varchar", value.to_owned()).await;
    }
    check(&repo, "name", "name".to_owned()).await;
    for value in [vec![], vec![0_u8, 255, 1], vec![7; 100_000]] {
        check(&repo, "bytea", value).await;
    }
    check(&repo, "timestamptz", SystemTime::UNIX_EPOCH + Duration::from_micros(1_234_567_890_123_456)).await;
    check(&repo, "inet", IpAddr::from(Ipv4Addr::new(10, 0, 0, 1))).await;
    check(&repo, "integer", None::<i32>).await;
    check(&repo, "text", Some("some".to_owned())).await;
    check(&repo, "integer[]", vec![1, 2, 3]).await;
    check(&repo, "integer[]", Vec::<i32>::new()).await;
    check(&repo, "text[]", vec![Some("a".to_owned()), None]).await;
}

#[tokio::test]
async fn application_types_round_trip() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create extension hstore;
             create type mood as enum ('sad', 'happy');
             create domain email as text check (value like '%@%');
             create type address as (street text, number int, moods mood[]);",
        )
        .await
        .unwrap();
    let repo = world.syd.repo();
    let address = Address { street: "Main".into(), number: None, moods: vec![Mood::Happy, Mood::Sad] };
    check(&repo, "mood", Mood::Happy).await;
    check(&repo, "mood[]", vec![Mood::Sad, Mood::Happy]).await;
    check(&repo, "email", Email("ada@example.com".into())).await;
    check(&repo, "address", address.clone()).await;
    check(&repo, "address[]", vec![address.clone(), address]).await;
    let pairs = HashMap::from([("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)]);
    check(&repo, "hstore", pairs).await;

    let error =
        repo.execute("insert into \"of email\" (value) values ($1)", &[&Email("nobody".into())]).await.unwrap_err();
    assert!(error.is_rejected(), "{error:?}");
}

#[tokio::test]
async fn application_types_need_no_replica() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create type mood as enum ('sad', 'happy'); create type address as (street text, number int, moods mood[])",
        )
        .await
        .unwrap();
    let node = world.node_without_replica(world.peers()).await;
    let address = Address { street: "Main".into(), number: Some(7), moods: vec![Mood::Happy] };
    check(&node.repo(), "mood", Mood::Sad).await;
    check(&node.repo(), "address", address).await;
}
