use homing::{Entity, Insert};

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
    name: String,
}

struct Color;

#[derive(Insert)]
#[insert(into = User)]
struct NewUser {
    name: String,
    age: u64,
}

#[derive(Insert)]
#[insert(into = Color)]
struct NewColor {
    name: String,
}

fn main() {}
