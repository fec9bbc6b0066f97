use homing::Update;

#[derive(Update)]
struct Forgotten {
    name: String,
}

#[derive(Update)]
#[update(of = "users", into = User)]
struct Edit {
    #[update(key)]
    id: i64,
    #[update(version, column = "v")]
    seen: i32,
    #[update(version)]
    again: i32,
    #[update(column = "id")]
    name: String,
}

#[derive(Update)]
#[update(of = User)]
struct Nothing;

fn main() {}
