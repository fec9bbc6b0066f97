use homing::Entity;

#[derive(Entity)]
#[entity(table = users, name = "people", key)]
struct User {
    #[entity(key = "id")]
    id: i64,
    #[entity(key, key, column = 5)]
    name: String,
    #[entity(rename = "years", table = "ages")]
    age: i32,
    #[entity]
    city: String,
    #[entity(column = "a" "b")]
    street: String,
    #[entity(column = "\"zip\"")]
    zip: String,
}

#[derive(Entity)]
#[entity(table = "a.b.c", table = "")]
struct Named {
    #[entity(key)]
    id: i64,
}

fn main() {}
