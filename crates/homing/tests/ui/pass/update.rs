use homing::{Entity, Update};

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
    name: String,
    #[entity(version, column = "changes")]
    version: i16,
}

#[derive(Update)]
#[update(of = User)]
struct Edit<'a, T> {
    name: Option<&'a str>,
    #[update(column = "Years Old")]
    age: Option<Option<T>>,
    r#type: T,
    #[update(version)]
    seen: i16,
}

fn shown(update: &impl Update) -> String {
    format!("{:?} {:?}", update.changes(), update.version())
}

fn main() {
    assert_eq!(User::VERSION, Some("changes"));
    let user = User { id: 7, name: "Ada".into(), version: 1 };
    assert_eq!(user.values().len(), 3);
    let edit = Edit { name: None, age: Some(None), r#type: 5_i64, seen: 2 };
    assert_eq!(shown(&edit), r#"[("Years Old", None), ("type", 5)] Some(2)"#);
    let edit = Edit { name: Some("Grace"), age: None, ..edit };
    assert_eq!(shown(&&edit), r#"[("name", "Grace"), ("type", 5)] Some(2)"#);
}
