use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use homing::Repo;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::failure::Failure;
use crate::functions::{import, insert_each};
use crate::user::{NewUser, User};

type Reply = Result<Json<Value>, Failure>;

pub(crate) fn router(repo: Repo) -> Router {
    Router::new()
        .route("/", get(node))
        .route("/users", get(list).post(create))
        .route("/users/{id}", get(read).put(replace).delete(remove))
        .route("/birthdays", post(birthdays))
        .route("/import", post(import_by_function))
        .route("/import/loop", post(import_in_a_loop))
        .with_state(repo)
}

async fn node(State(repo): State<Repo>) -> Json<Value> {
    let role = repo.database().and_then(|database| database.role()).map(|role| role.to_string());
    Json(json!({
        "region": repo.region().as_str(),
        "primary_region": repo.primary_region().as_str(),
        "role": role,
    }))
}

async fn create(call: Call, Json(new): Json<NewUser>) -> Result<(StatusCode, Json<Value>), Failure> {
    let user = call.repo.insert(&new).await?;
    Ok((StatusCode::CREATED, Json(call.reply(json!({ "user": user })))))
}

async fn read(call: Call, Path(id): Path<i64>) -> Reply {
    let user = call.repo.get::<User>(id).await?.ok_or(Failure::NoSuchUser)?;
    Ok(Json(call.reply(json!({ "user": user }))))
}

#[derive(Debug, Deserialize)]
struct Filter {
    older_than: Option<i32>,
    /// The beginning of the name.
    name: Option<String>,
}

async fn list(call: Call, Query(filter): Query<Filter>) -> Reply {
    let (older_than, name) = (filter.older_than.unwrap_or(-1), filter.name.unwrap_or_default());
    let users: Vec<User> =
        call.repo.all("where age > $1 and starts_with(name, $2) order by id limit 1000", &[&older_than, &name]).await?;
    Ok(Json(call.reply(json!({ "users": users }))))
}

async fn replace(call: Call, Path(id): Path<i64>, Json(new): Json<NewUser>) -> Reply {
    let user = call.repo.update(&User { id, name: new.name, age: new.age }).await?;
    Ok(Json(call.reply(json!({ "user": user }))))
}

async fn remove(call: Call, Path(id): Path<i64>) -> Reply {
    let user = call.repo.get::<User>(id).await?.ok_or(Failure::NoSuchUser)?;
    let user = call.repo.delete(&user).await?;
    Ok(Json(call.reply(json!({ "user": user }))))
}

#[derive(Debug, Deserialize)]
struct Birthdays {
    /// The beginning of the names.
    name: String,
}

/// Runs SQL that writes. It needs no marking: the local replica refuses it, and Homing forwards it.
async fn birthdays(call: Call, Json(who): Json<Birthdays>) -> Reply {
    let count = call.repo.execute("update users set age = age + 1 where starts_with(name, $1)", &[&who.name]).await?;
    Ok(Json(call.reply(json!({ "birthdays": count }))))
}

#[derive(Debug, Deserialize)]
struct Names {
    names: Vec<String>,
}

/// Takes one round trip for any number of names.
async fn import_by_function(call: Call, Json(Names { names }): Json<Names>) -> Reply {
    let imported: u64 = import::call(&call.repo, names).await?;
    Ok(Json(call.reply(json!({ "imported": imported }))))
}

/// Takes a round trip for each name. `import_by_function` is the better way.
async fn import_in_a_loop(call: Call, Json(Names { names }): Json<Names>) -> Reply {
    let imported = insert_each(&call.repo, &names).await?;
    Ok(Json(call.reply(json!({ "imported": imported }))))
}
