use homing::Entity;

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: Option<i64>,
    name: String,
    #[entity(column = "name")]
    nick: String,
    motto: &'static str,
}

fn main() {}
