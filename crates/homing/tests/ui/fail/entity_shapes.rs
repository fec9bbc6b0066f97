use homing::Entity;

#[derive(Entity)]
#[entity(table = "users")]
struct Tuple(i64, String);

#[derive(Entity)]
#[entity(table = "users")]
struct Unit;

#[derive(Entity)]
#[entity(table = "users")]
enum Enum {
    Variant { id: i64 },
}

#[derive(Entity)]
#[entity(table = "users")]
union Union {
    id: i64,
}

#[derive(Entity)]
#[entity(table = "users")]
struct Borrowed<'a> {
    #[entity(key)]
    id: i64,
    name: &'a str,
}

#[derive(Entity)]
#[entity(table = "users")]
struct Generic<T, const N: usize> {
    #[entity(key)]
    id: i64,
    value: [T; N],
}

fn main() {}
