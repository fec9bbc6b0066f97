use homing::Entity;

#[derive(Entity)]
#[entity(table = "orders", read_only)]
struct Order {
    #[entity(key, read_only)]
    id: i64,
    #[entity(read_only = true)]
    total: i64,
    #[entity(read_only, column = "changed_at", read_only)]
    changed: String,
}

fn main() {}
