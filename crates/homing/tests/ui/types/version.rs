use homing::{Entity, Update};

#[derive(Entity)]
#[entity(table = "docs")]
struct Doc {
    #[entity(key)]
    id: i64,
    #[entity(version)]
    changed_at: String,
}

#[derive(Update)]
#[update(of = Doc)]
struct Edit {
    title: String,
    #[update(version)]
    seen: Option<i32>,
}

fn main() {}
