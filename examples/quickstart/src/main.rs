//! The program in the README, ready to run on a laptop with PostgreSQL.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run -p quickstart
//! ```

use homing::{Context, Entity, Insert, Node};

#[derive(Debug, Entity)]
#[entity(table = "users")]
struct User {
    #[entity(key)]
    id: i64,
    name: String,
    age: i32,
}

#[derive(Debug, Insert)] // the columns to write; the stored row comes back
#[insert(into = User)]
struct NewUser {
    name: String,
    age: i32,
}

#[homing::remote] // a named function, runs in the primary region
async fn import(context: Context, names: Vec<String>) -> homing::Result<u64> {
    let users: Vec<_> = names.into_iter().map(|name| NewUser { name, age: 0 }).collect();
    Ok(context.repo().insert_all(&users).await?.len() as u64)
}

#[tokio::main]
async fn main() -> homing::Result<()> {
    let node = Node::from_env()?.register(import).start().await?;
    let repo = node.repo();
    if repo.region() == repo.primary_region() {
        repo.batch_execute(SCHEMA).await?;
    }

    let ada = repo.insert(&NewUser { name: "Ada".into(), age: 36 }).await?; // any region; returns a User
    let same = repo.get::<User>(ada.id).await?; // local replica; sees Ada
    let adults = repo.query("select id, name from users where age > $1", &[&18]).await?;
    println!("stored {ada:?}\nread   {same:?}\n{} are older than 18", adults.len());

    let names = vec!["Grace".to_owned(), "Edsger".to_owned()];
    let imported: u64 = repo.rpc_and_wait("import", &names).await?; // by name
    let again = import::call(&repo, names).await?; // the same, typed
    println!("imported {imported}, and {again} again");
    node.shutdown().await;
    Ok(())
}

const SCHEMA: &str = "create table if not exists users (
    id bigint generated always as identity primary key,
    name text not null,
    age integer not null
)";
