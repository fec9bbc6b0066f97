//! How does an axum handler get its session, and how does it answer if a call fails?
//!
//! Add a `SessionLayer`, and let the handler take a `RequestRepo`: the visitor's next request sees this one's writes,
//! on any node. Turn an error into a status with `status_of`, and show the visitor `client_message` only.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example axum_handler
//! curl --data hello --cookie-jar jar http://127.0.0.1:8080; curl --cookie jar http://127.0.0.1:8080
//! ```

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use homing::{Error, Node, Repo};
use homing_http::{Health, RequestRepo, SessionLayer, status_of};

async fn post(RequestRepo(repo): RequestRepo, text: String) -> Result<&'static str, Failure> {
    repo.execute("insert into posts (text) values ($1)", &[&text]).await?;
    Ok("stored")
}

async fn list(RequestRepo(repo): RequestRepo) -> Result<String, Failure> {
    let rows = repo.query("select text from posts order by id", &[]).await?;
    Ok(rows.iter().map(|row| row.get::<_, String>("text") + "\n").collect())
}

/// Routes with a session for each request.
pub fn app(repo: &Repo) -> Router {
    let app = Router::new().route("/", get(list).post(post)).layer(SessionLayer::new(repo));
    app.route_service("/healthz", Health::new(repo))
}

struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // The full message may name servers and tables: it is for the log.
        tracing::warn!(error = &self.0 as &dyn std::error::Error, "a request failed");
        (status_of(&self.0), self.0.client_message().to_owned()).into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::from_env()?.start().await?;
    node.repo().batch_execute("create table if not exists posts (id bigserial primary key, text text unique)").await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    Ok(axum::serve(listener, app(&node.repo())).await?)
}
