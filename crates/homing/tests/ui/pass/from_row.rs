use homing::FromRow;

#[derive(FromRow)]
struct Total {
    name: String,
    #[from_row(column = "n")]
    count: i64,
    r#type: Option<String>,
}

#[derive(homing::Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
}

fn is_read<T: FromRow>() {}

fn main() {
    is_read::<Total>();
    is_read::<User>();
    let _ = (Total { name: String::new(), count: 1, r#type: None }.count, User { id: 1 }.id);
}
