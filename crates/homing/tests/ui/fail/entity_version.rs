use homing::Entity;

#[derive(Entity)]
#[entity(table = "docs", version)]
struct Doc {
    #[entity(key, version)]
    id: i64,
    #[entity(read_only, version)]
    changes: i32,
}

fn main() {}
