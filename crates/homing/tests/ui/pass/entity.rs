use homing::Entity;

#[derive(Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
    name: String,
    #[entity(column = "Years Old")]
    age: Option<i32>,
    r#type: String,
}

#[derive(Entity)]
#[entity(table = "shop.parts")]
struct Part {
    #[entity(key)]
    shop: i64,
    title: String,
    #[entity(key, column = "no")]
    number: String,
}

#[derive(Entity)]
#[entity(table = "orders")]
struct Order {
    #[entity(key)]
    id: i64,
    #[entity(read_only)]
    total: i64,
    #[entity(column = "changed at", read_only)]
    changed: String,
}

fn main() {
    assert_eq!(User::TABLE, "users");
    assert_eq!(User::COLUMNS, ["id", "name", "Years Old", "type"]);
    assert_eq!(User::KEY, ["id"]);
    let user = User { id: 7, name: "Ada".into(), age: None, r#type: "admin".into() };
    assert_eq!(format!("{:?}", user.values()), r#"[7, "Ada", None, "admin"]"#);
    assert_eq!(format!("{:?}", User::key_values(&7)), "[7]");

    assert_eq!(Part::TABLE, "shop.parts");
    assert_eq!(Part::COLUMNS, ["shop", "title", "no"]);
    assert_eq!(Part::KEY, ["shop", "no"]);
    let part = Part { shop: 1, title: "nut".into(), number: "A 1".into() };
    assert_eq!(format!("{:?}", part.values()), r#"[1, "nut", "A 1"]"#);
    assert!(Part::READ_ONLY.is_empty());
    let order = Order { id: 7, total: 1, changed: "now".into() };
    assert_eq!(Order::READ_ONLY, ["total", "changed at"]);
    assert_eq!(order.values().len(), Order::COLUMNS.len());
    let key: <Part as Entity>::Key = (1, "A 1".to_owned());
    assert_eq!(format!("{:?}", Part::key_values(&key)), r#"[1, "A 1"]"#);
}
