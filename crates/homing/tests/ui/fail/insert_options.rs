use homing::{Entity, Insert};

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
    name: String,
}

#[derive(Insert)]
struct NoEntity {
    name: String,
}

#[derive(Insert)]
#[insert(into = "users", table = "users")]
struct Quoted {
    #[insert(into = User)]
    name: String,
    #[insert(column)]
    age: i32,
    #[insert(column = "name")]
    nick: String,
}

#[derive(Insert)]
#[insert(into = User)]
struct Tuple(String);

#[derive(Insert)]
#[insert(into = User)]
enum Enum {
    Variant,
}

fn main() {}
