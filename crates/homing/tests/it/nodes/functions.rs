//! Named functions: their context, their region, and calls between two builds.

use std::time::Duration;

use homing::error::SqlState;
use homing::{Context, Fate, Node, Repo};
use tokio::sync::oneshot;

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

pub(super) async fn node_with(
    world: &World,
    register: impl FnOnce(homing::NodeBuilder) -> homing::NodeBuilder,
) -> (Node, Repo) {
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
    assert!(failed.is_rejected() && failed.to_string().contains("told to"), "{failed}");
    assert_eq!(world.users_on_primary().await, 0);
    both_or_none::call(&repo, false).await.unwrap();
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 2);
    // The second call conflicts with the first: it stores nothing and returns PostgreSQL's error.
    let failed = both_or_none::call(&repo, false).await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::UNIQUE_VIOLATION), "{failed}");
    assert_eq!(failed.fate(), Fate::Rejected);
    assert_eq!(world.users_on_primary().await, 2);
}

/// Stores a user, and then waits for the database or for something else.
#[homing::remote(transactional)]
async fn endless(context: Context, in_database: bool) -> homing::Result<()> {
    context.repo().insert(&NewUser::named("Ada")).await?;
    match in_database {
        true => context.repo().execute("select pg_sleep(60)", &[]).await.map(drop),
        false => std::future::pending().await,
    }
}

#[tokio::test]
async fn late_transactional_function_is_rejected() {
    let world = World::shared().await;
    let (iad, syd) = node_with(&world, |iad| iad.register(endless)).await;
    for (region, repo) in [("iad", iad.repo()), ("syd", syd)] {
        let repo = repo.with_call_timeout(Duration::from_secs(2));
        for in_database in [true, false] {
            let error = endless::call(&repo, in_database).await.unwrap_err();
            assert!(error.is_rejected() && error.is_timed_out(), "{region} {in_database}: {error:?}");
            assert_eq!(world.users_on_primary().await, 0);
        }
    }
}

/// Stores a user, and then has a bug.
#[homing::remote(transactional)]
async fn buggy(context: Context) -> homing::Result<()> {
    context.repo().insert(&NewUser::named("Ada")).await?;
    panic!("a bug of the application")
}

#[tokio::test]
async fn panicked_transactional_function_is_rejected() {
    let world = World::shared().await;
    let (iad, syd) = node_with(&world, |iad| iad.register(buggy)).await;
    for (region, repo) in [("iad", iad.repo()), ("syd", syd)] {
        let error = buggy::call(&repo).await.unwrap_err();
        assert!(error.is_rejected() && !error.is_function_failed(), "{region}: {error:?}");
        assert!(error.to_string().contains("a bug of the application"), "{region}: {error}");
        assert_eq!(world.users_on_primary().await, 0);
    }
}

/// Stores a user, and returns more than a message holds.
#[homing::remote(transactional)]
async fn verbose(context: Context) -> homing::Result<String> {
    context.repo().insert(&NewUser::named("Ada")).await?;
    Ok("x".repeat(2 * homing_rpc::DEFAULT_MAX_MESSAGE_BYTES))
}

#[tokio::test]
async fn function_with_oversized_answer_is_committed() {
    let world = World::shared().await;
    let (iad, syd) = node_with(&world, |iad| iad.register(verbose)).await;
    for (region, repo) in [("iad", iad.repo()), ("syd", syd)] {
        let error = verbose::call(&repo).await.unwrap_err();
        assert!(error.is_committed() && !error.is_function_failed(), "{region}: {error:?}");
        assert!(error.to_string().contains("over the limit"), "{region}: {error}");
        assert_eq!(repo.delete_all::<User>("", &[]).await.unwrap(), 1, "{region}");
    }
}

/// Uses the time that its caller gives it.
#[homing::remote]
async fn patient(context: Context) -> homing::Result<Duration> {
    context.repo().execute("select 1", &[]).await?;
    Ok(context.repo().options().call_timeout)
}

#[tokio::test]
async fn function_has_its_callers_time() {
    let world = World::shared().await;
    let (_iad, repo) = node_with(&world, |iad| iad.register(patient)).await;
    let time = patient::call(&repo.with_call_timeout(Duration::from_secs(60))).await.unwrap();
    assert!(time > Duration::from_secs(50), "{time:?}");
}

#[homing::remote]
async fn in_transaction(context: Context) -> homing::Result<()> {
    context.repo().transaction(|tx| async move { tx.insert(&NewUser::named("one too many")).await }).await.map(drop)
}

#[tokio::test]
async fn functions_say_that_node_is_full() {
    let world = World::shared().await;
    let (iad, syd) = node_with(&world, |iad| iad.register(both_or_none).register(in_transaction)).await;
    let mut open = Vec::new();
    // The pool has four connections, and three places for transactions.
    for number in 0..3 {
        let (repo, (begun, wait), (done, finish)) = (iad.repo(), oneshot::channel(), oneshot::channel::<()>());
        let task = tokio::spawn(async move {
            let hold = |tx: Repo| async move {
                tx.insert(&NewUser::named(&format!("user {number}"))).await?;
                begun.send(()).unwrap();
                let _ = finish.await;
                Ok(())
            };
            repo.transaction(hold).await
        });
        wait.await.unwrap();
        open.push((done, task));
    }
    for (region, repo) in [("iad", iad.repo()), ("syd", syd)] {
        let repo = repo.with_call_timeout(Duration::from_secs(1));
        let error = both_or_none::call(&repo, false).await.unwrap_err();
        assert!(error.is_overloaded() && error.is_not_sent(), "{region}: {error:?}");
        assert!(error.retry_after().is_some());
        let error = in_transaction::call(&repo).await.unwrap_err();
        assert!(error.is_overloaded() && error.is_function_failed(), "{region}: {error:?}");
        assert!(error.retry_after().is_some());
    }
    for (done, task) in open {
        done.send(()).unwrap();
        task.await.unwrap().unwrap();
    }
}
