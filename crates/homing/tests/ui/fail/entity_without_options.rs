use homing::Entity;

#[derive(Entity)]
struct OrderItem {
    id: i64,
}

#[derive(Entity)]
#[entity]
struct Country {
    code: String,
}

#[derive(Entity)]
#[entity(table)]
struct City {
    #[entity(key)]
    name: String,
}

fn is_entity<E: Entity>() {}

fn main() {
    // Known in spite of the errors: these are no errors of their own.
    is_entity::<OrderItem>();
    is_entity::<Country>();
    is_entity::<City>();
}
