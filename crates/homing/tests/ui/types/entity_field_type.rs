use homing::Entity;

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: u64,
    name: String,
}

fn main() {}
