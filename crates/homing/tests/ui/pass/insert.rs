use homing::{Entity, Insert};
use homing::types::ToSql;

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
    name: String,
    r#type: String,
}

#[derive(Insert)]
#[insert(into = User)]
struct NewUser<'a> {
    name: &'a str,
    r#type: String,
}

/// The bounds come with the derive: none is written here.
#[derive(Insert)]
#[insert(into = crate::User)]
struct AnyUser<T, const N: usize> {
    #[insert(column = "name")]
    called: T,
    #[insert(column = "type")]
    kinds: Option<T>,
}

/// A row of defaults.
#[derive(Insert)]
#[insert(into = User)]
struct Nobody;

fn columns<I: Insert>(_: &I) -> (&'static str, &'static [&'static str]) {
    (I::Entity::TABLE, I::COLUMNS)
}

fn shown(values: Vec<&(dyn ToSql + Sync)>) -> String {
    format!("{values:?}")
}

fn main() {
    let name = String::from("Ada");
    let user = NewUser { name: &name, r#type: "admin".into() };
    assert_eq!(columns(&user), ("users", &["name", "type"][..]));
    assert_eq!(shown(user.values()), r#"["Ada", "admin"]"#);

    let user = AnyUser::<_, 3> { called: 5_i64, kinds: None };
    assert_eq!(columns(&user), ("users", &["name", "type"][..]));
    assert_eq!(shown(user.values()), "[5, None]");
    assert_eq!(columns(&Nobody), ("users", &[][..]));
    assert_eq!(shown(Nobody.values()), "[]");
    let _ = User { id: 1, name, r#type: String::new() };
}
