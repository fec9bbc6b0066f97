use homing::{Entity, FromRow};

#[derive(FromRow)]
#[from_row(table = "totals")]
struct Total<'a, T> {
    name: &'a str,
    #[from_row(key)]
    count: T,
    #[from_row(column = "count")]
    sum: i64,
}

#[derive(FromRow)]
struct Pair(i64, String);

#[derive(FromRow)]
struct Nothing;

#[derive(Entity, FromRow)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
}

fn main() {}
