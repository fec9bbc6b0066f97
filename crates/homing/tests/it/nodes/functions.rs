//! Named functions: their context, their region, and calls between two builds.

use homing::{Context, Node, Repo};

use crate::fixture::{NewUser, Servers, User, World, in_iad};

/// The function `greet` of one build of an application.
mod old {
    use homing::Context;

    #[homing::remote]
    pub(super) async fn greet(_: Context, name: String) -> homing::Result<String> {
        Ok(format!("Hello {name}"))
    }
}

/// The function of the next build: with one more argument, and a longer result.
mod new {
    use homing::Context;

    #[homing::remote]
    pub(super) async fn greet(_: Context, name: String, title: Option<String>) -> homing::Result<String> {
        Ok(format!("Hello {} {name}", title.as_deref().unwrap_or("dear")))
    }
}

/// Returns what the context says about the call.
#[homing::remote]
async fn told(context: Context) -> homing::Result<(String, String, bool)> {
    let row = context.repo().query_one("select pg_is_in_recovery()", &[]).await?;
    Ok((context.caller().to_string(), context.trace().trace_id(), row.get(0)))
}

#[homing::remote(idempotent)]
#[expect(clippy::too_many_arguments, reason = "as many as there may be")]
async fn sixteen(
    _: Context,
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    e: u8,
    f: u8,
    g: u8,
    h: u8,
    i: u8,
    j: u8,
    k: u8,
    l: u8,
    m: u8,
    n: u8,
    o: u8,
    p: String,
) -> homing::Result<(u32, String)> {
    Ok(([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o].into_iter().map(u32::from).sum(), p))
}

async fn node_with(world: &World, register: impl FnOnce(homing::NodeBuilder) -> homing::NodeBuilder) -> (Node, Repo) {
    let servers = Servers::shared().await;
    let iad = Node::with_config(servers.primary_config(&world.database));
    let iad = register(iad).start().await.unwrap();
    let peers = in_iad([iad.local_addr().unwrap()]);
    let syd = servers.replica_node(&world.database, peers).await;
    (iad, syd.repo())
}

#[tokio::test]
async fn builds_agree_on_optional_argument() {
    let world = World::shared().await;
    let name = || "Ada".to_owned();

    let (_iad, repo) = node_with(&world, |iad| iad.register(new::greet)).await;
    assert_eq!(old::greet::call(&repo, name()).await.unwrap(), "Hello dear Ada");
    assert_eq!(new::greet::call(&repo, name(), Some("Countess".into())).await.unwrap(), "Hello Countess Ada");

    let (_iad, repo) = node_with(&world, |iad| iad.register(old::greet)).await;
    assert_eq!(new::greet::call(&repo, name(), None).await.unwrap(), "Hello Ada");
    // The old build rejects an argument that it does not know, before it runs anything.
    let error = new::greet::call(&repo, name(), Some("Countess".into())).await.unwrap_err();
    assert!(error.is_misuse() && error.is_not_sent(), "{error}");
}

#[tokio::test]
async fn function_knows_caller_and_trace() {
    let world = World::shared().await;
    let (_iad, repo) = node_with(&world, |iad| iad.register(told)).await;
    let trace = homing::rpc::TraceContext::root();
    let seen = trace.clone().scope(told::call(&repo)).await.unwrap();
    assert_eq!(seen, ("syd".to_owned(), trace.trace_id(), false));
}

#[tokio::test]
async fn function_runs_in_place_at_primary() {
    let world = World::shared().await;
    let iad = Node::with_config(Servers::shared().await.primary_config(&world.database)).register(told);
    let iad = iad.start().await.unwrap();
    let (repo, reports) = crate::fixture::recorded(&iad.repo());
    assert_eq!(told::call(&repo).await.unwrap().0, "iad");
    assert_eq!(reports.last().answered_by, homing::report::AnsweredBy::Local);
}

#[tokio::test]
async fn sixteen_arguments_travel() {
    let world = World::shared().await;
    let (_iad, repo) = node_with(&world, |iad| iad.register(sixteen)).await;
    let called = sixteen::call(&repo, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, "p".into());
    assert_eq!(called.await.unwrap(), (120, "p".to_owned()));
}

/// Stores two users, and fails between them if asked to.
#[homing::remote(transactional)]
async fn both_or_none(context: Context, fail: bool) -> homing::Result<()> {
    assert!(context.repo().in_transaction());
    context.repo().insert(&NewUser::named("Ada")).await?;
    if fail {
        return Err(homing::Error::failed("told to"));
    }
    context.repo().insert(&NewUser::named("Grace")).await?;
    Ok(())
}

#[tokio::test]
async fn transactional_function_is_atomic() {
    let world = World::shared().await;
    let (_iad, repo) = node_with(&world, |iad| iad.register(both_or_none)).await;
    let failed = both_or_none::call(&repo, true).await.unwrap_err();
    assert!(failed.is_function_failed() && failed.to_string().contains("told to"), "{failed}");
    assert_eq!(world.users_on_primary().await, 0);
    both_or_none::call(&repo, false).await.unwrap();
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 2);
    // The second call conflicts with the first: it stores nothing and returns PostgreSQL's error.
    let failed = both_or_none::call(&repo, false).await.unwrap_err();
    assert_eq!(failed.code(), Some(&homing::error::SqlState::UNIQUE_VIOLATION), "{failed}");
    assert_eq!(world.users_on_primary().await, 2);
}
